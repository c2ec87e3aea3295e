//! Order: by first poll, for one handle and one activation.

use futures_util::FutureExt;
use futures_util::future::{Either, join_all, select};

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

/// Many frames, of which a few are on their way at a time.
const LOAD_BYTES: usize = 16 << 20;

pub async fn a_small_call_does_not_pass_a_large_one_of_its_handle(stage: Stage) {
    let desk = stage.get::<Desk>();
    let load = bytes::Bytes::from(vec![7; LOAD_BYTES]);
    for before in 0..5 {
        let (small, weight, swallowed) =
            tokio::join!(biased; desk.swallowed(), desk.swallow(load.clone()), desk.swallowed());
        assert_eq!(weight.unwrap(), LOAD_BYTES);
        assert_eq!((small.unwrap(), swallowed.unwrap()), (before, before + 1));
    }
}

/// The large one is first in the connection's queue, and still under way when the small one is answered.
pub async fn a_small_call_passes_a_large_one_of_another_module(stage: Stage) {
    let desk = stage.get::<Desk>();
    let load = bytes::Bytes::from(vec![7; LOAD_BYTES]);
    desk.swallow(load.clone()).await.unwrap();
    for before in 1..5 {
        let (weight, swallowed) = tokio::join!(biased; desk.swallow(load.clone()), stage.count("swallowed"));
        assert_eq!((weight.unwrap(), swallowed), (LOAD_BYTES, before));
    }
}

pub async fn a_small_reply_passes_a_large_one(stage: Stage) {
    let desk = stage.get::<Desk>();
    desk.fill(LOAD_BYTES).await.unwrap();
    for _ in 0..5 {
        let (large, small) = (Box::pin(desk.fill(LOAD_BYTES)), Box::pin(desk.pages()));
        let Either::Right((_, large)) = select(large, small).await else { panic!("the large one was first") };
        assert_eq!(large.await.unwrap().len(), LOAD_BYTES);
    }
}

/// The peer hears of a call that was dropped half sent, and of the calls behind it.
pub async fn a_large_call_that_is_dropped_lets_the_others_on(stage: Stage) {
    let desk = stage.get::<Desk>();
    let load = bytes::Bytes::from(vec![7; LOAD_BYTES]);
    desk.swallow(load.clone()).await.unwrap();
    // What is dropped too late has been sent as a whole, and is swallowed.
    let (mut swallowed, mut halves) = (1, 0);
    while halves < 5 {
        let large = Box::pin(desk.swallow(load.clone()));
        let (large, behind) = (select(large, Box::pin(stage.count("nothing"))), desk.swallowed());
        let dropping = async { drop(large.await) };
        let ((), behind) = tokio::join!(biased; dropping, behind);
        let behind = behind.unwrap();
        assert!(behind == swallowed || behind == swallowed + 1, "{behind} after {swallowed}");
        halves += u32::from(behind == swallowed);
        swallowed = behind;
    }
}
