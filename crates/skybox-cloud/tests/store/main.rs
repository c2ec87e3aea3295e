//! What a store means, over each of them: in memory, served by another process's socket, and a real etcd.

mod cases;
mod cut_off;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod member;
mod stage;

use stage::{Kind, Stage};

macro_rules! suite {
    ($($case:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::run(super::Kind::Memory, super::cases::$case).await; })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::run(super::Kind::Embedded, super::cases::$case).await; })*
        }
        #[cfg(feature = "etcd")]
        mod real_etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { super::run(super::Kind::Etcd, super::cases::$case).await; })*
        }
    };
}

suite! {
    what_is_written_is_read
    a_transaction_is_carried_out_wholly_or_not_at_all
    what_changes_nothing_is_no_step
    one_of_many_wins
    a_number_that_many_count_up_misses_none
    a_watch_tells_all_from_a_revision_on
    a_watch_that_hears_nothing_says_so
    a_watch_beside_which_much_happens_says_how_far_it_is
    a_watch_from_the_beginning_tells_all
    large_values_are_read_and_told
    a_watch_whose_beginning_is_forgotten_says_so
    a_lease_that_is_not_renewed_takes_its_keys_along
    a_lease_that_is_renewed_stays
    a_revoked_lease_is_gone_at_once
    nothing_is_put_on_a_lease_that_has_ended
    a_key_goes_with_its_last_lease_alone
    what_is_too_large_is_refused
    many_keys_are_read_as_they_were_at_one_revision
    a_view_follows
    a_view_outlives_its_connection
}

async fn run<F: Future<Output = ()>>(kind: Kind, case: impl FnOnce(Stage) -> F) {
    let stage = Stage::of(kind).await;
    let played = tokio::time::timeout(stage::PATIENCE, case(stage)).await;
    played.expect("it takes far less, if it does not hang");
}
