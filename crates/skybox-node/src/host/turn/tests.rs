//! Turns, step by step.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use skybox_core::{Chain, Mode};

use super::turn::{NoTurn, Turn, Wait};

fn poll(wait: &mut Wait<'_>) -> bool {
    Pin::new(wait).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn readers_share_and_writers_come_in_their_turn() {
    let turn = Turn::new(None, 8);
    assert!(turn.try_take(Mode::Shared, false) && turn.try_take(Mode::Shared, false));
    assert!(!turn.try_take(Mode::Exclusive, false));
    let mut writer = turn.wait(Mode::Exclusive, &Chain::none()).unwrap();
    assert!(!poll(&mut writer));
    assert!(!turn.try_take(Mode::Shared, false), "newcomers stay behind a waiting writer");
    assert!(turn.try_take(Mode::Shared, true), "a call whose chain holds it passes");
    let mut reader = turn.wait(Mode::Shared, &Chain::none()).unwrap();
    (0..3).for_each(|_| turn.give_back(Mode::Shared));
    assert!(poll(&mut writer) && !poll(&mut reader));
    turn.give_back(Mode::Exclusive);
    assert!(poll(&mut reader));
    turn.give_back(Mode::Shared);
    assert!(turn.try_take(Mode::Exclusive, false), "nothing is left behind");
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_behind_it_through() {
    let turn = Turn::new(None, 8);
    assert!(turn.try_take(Mode::Shared, false));
    let writer = turn.wait(Mode::Exclusive, &Chain::none()).unwrap();
    let mut reader = turn.wait(Mode::Shared, &Chain::none()).unwrap();
    assert!(!poll(&mut reader));
    drop(writer);
    assert!(poll(&mut reader));
}

#[test]
fn a_granted_turn_that_nobody_takes_goes_on() {
    let turn = Turn::new(None, 8);
    assert!(turn.try_take(Mode::Exclusive, false));
    let first = turn.wait(Mode::Exclusive, &Chain::none()).unwrap();
    let mut second = turn.wait(Mode::Exclusive, &Chain::none()).unwrap();
    turn.give_back(Mode::Exclusive);
    drop(first);
    assert!(poll(&mut second));
}

#[test]
fn the_queue_is_bounded_and_concurrency_is_exact() {
    let turn = Turn::new(Some(2), 1);
    assert!(turn.try_take(Mode::Shared, false) && turn.try_take(Mode::Shared, false));
    assert!(!turn.try_take(Mode::Shared, false));
    let waiting = turn.wait(Mode::Shared, &Chain::none()).unwrap();
    assert_eq!(turn.wait(Mode::Shared, &Chain::none()).map(|_| ()), Err(NoTurn::Full));
    assert_eq!((turn.holding(), turn.waiting()), (2, 1));
    drop(waiting);
    assert_eq!(turn.waiting(), 0);
}

#[test]
fn a_closed_turn_is_nobodys_any_more() {
    let turn = Turn::new(None, 8);
    assert!(turn.try_take(Mode::Exclusive, false));
    let mut waiting = turn.wait(Mode::Exclusive, &Chain::none()).unwrap();
    assert!(!poll(&mut waiting));
    turn.close();
    turn.give_back(Mode::Exclusive);
    let outcome = Pin::new(&mut waiting).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(outcome, Poll::Ready(Err(NoTurn::Closed)));
    assert_eq!(turn.wait(Mode::Shared, &Chain::none()).map(|_| ()), Err(NoTurn::Closed));
    assert!(!turn.try_take(Mode::Shared, false) && !turn.try_take(Mode::Shared, true));
    assert_eq!((turn.holding(), turn.waiting()), (0, 0));
}
