//! Order: by first poll, for one handle and one activation.

use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::modules::{Desk, Latecomer, Register};
use crate::stage::Stage;

/// Enough to see a race, few enough for every queue.
const CALLS: u32 = 200;

pub async fn calls_of_one_handle_come_in_the_order_of_their_first_poll(stage: Stage) {
    let desk = stage.get::<Desk>();
    desk.pages().await.unwrap();
    join_all((0..CALLS).map(|page| desk.add(page))).await;
    assert_eq!(desk.pages().await.unwrap(), (0..CALLS).collect::<Vec<_>>());
}

pub async fn sync_and_async_calls_share_one_order(stage: Stage) {
    let desk = stage.get::<Desk>();
    desk.pages().await.unwrap();
    let call = |page| if page % 2 == 0 { desk.add(page).boxed() } else { desk.add_now(page).boxed() };
    join_all((0..CALLS).map(call)).await;
    assert_eq!(desk.pages().await.unwrap(), (0..CALLS).collect::<Vec<_>>());
}

pub async fn a_reader_behind_a_writer_sees_what_it_wrote(stage: Stage) {
    let desk = stage.get::<Desk>();
    for page in 0..20 {
        let (added, pages) = tokio::join!(biased; desk.add(page), desk.pages());
        added.unwrap();
        assert_eq!(pages.unwrap().last(), Some(&page));
    }
}

pub async fn calls_that_wake_an_instance_keep_their_order(stage: Stage) {
    for name in ["a", "b", "c", "d"] {
        let register = stage.at::<Register>(name);
        join_all((0..CALLS).map(|entry| register.enter(entry))).await;
        assert_eq!(register.entries().await.unwrap(), (0..CALLS).collect::<Vec<_>>());
    }
}

pub async fn calls_that_wait_for_a_start_keep_their_order(stage: Stage) {
    let late = stage.get::<Latecomer>();
    let adding = join_all((0..CALLS).map(|page| late.add(page)));
    tokio::join!(adding, stage.open("latecomer"));
    assert_eq!(late.pages().await.unwrap(), (0..CALLS).collect::<Vec<_>>());
}
