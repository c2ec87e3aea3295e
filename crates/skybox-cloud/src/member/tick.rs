//! Whether the program's runtime still runs: a task of it counts, and the thread that speaks to the store looks.
//!
//! Code that does not return holds the runtime's threads. Others see that by their connections and go elsewhere after two
//! seconds. Nobody can end such a node but itself: what it holds would be held for ever, and its lease goes on since that
//! is renewed on another thread. So it aborts, once its peers have given it up as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skybox_core::{Code, NodeName};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// How often it counts, and how often it is looked.
const EVERY: Duration = Duration::from_millis(500);
/// Looks without a count after which it is told that the node is not ready.
const SILENT: u32 = 4;
/// Looks without a count after which the process ends: ten seconds longer than its peers wait for it, so that their calls
/// end with the reason.
const HUNG: u32 = 80;

/// Ends with the last value that counts.
#[derive(Debug, Default)]
pub(super) struct Tick(AtomicU64);

/// Looks for as long as it is awaited, and ends the process if nothing runs any more.
pub(super) async fn watch(node: NodeName, tick: Arc<Tick>, counting: JoinHandle<()>) {
    let (mut looks, mut told) = (Looks::default(), false);
    loop {
        tokio::time::sleep(EVERY).await;
        if counting.is_finished() {
            // The runtime has ended, and its program with it.
            return;
        }
        let seen = looks.look(tick.0.load(Ordering::Relaxed));
        match (seen, std::mem::replace(&mut told, seen != Seen::Runs)) {
            (Seen::Runs, true) => tracing::info!(%node, "the program's runtime runs again"),
            (Seen::Silent, false) => {
                tracing::warn!(
                    code = %Code::HUNG, %node,
                    "the program's runtime has not run for {:?}: others do not call this node meanwhile", EVERY * SILENT
                );
            }
            (Seen::Hung, _) => skybox_node::abort(move || {
                tracing::error!(
                    code = %Code::HUNG, %node,
                    "the program's runtime has not run for {:?}: the process is ended, so that another can serve", EVERY * HUNG
                );
            }),
            _ => {}
        }
    }
}

/// Counts on that runtime.
pub(super) fn count(runtime: &Handle) -> (Arc<Tick>, JoinHandle<()>) {
    let tick = Arc::new(Tick::default());
    let counted = tick.clone();
    let counting = runtime.spawn(async move {
        loop {
            counted.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(EVERY).await;
        }
    });
    (tick, counting)
}

/// What is known after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Runs,
    Silent,
    Hung,
}

/// Looks in a row without a count. A process that was stopped as a whole has not looked meanwhile.
#[derive(Debug, Default)]
struct Looks {
    last: u64,
    silent: u32,
}

impl Looks {
    fn look(&mut self, count: u64) -> Seen {
        if std::mem::replace(&mut self.last, count) != count {
            self.silent = 0;
        } else {
            self.silent = self.silent.saturating_add(1);
        }
        match self.silent {
            0..SILENT => Seen::Runs,
            SILENT..HUNG => Seen::Silent,
            _ => Seen::Hung,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_many_looks_in_a_row_to_end_a_process() {
        let mut looks = Looks::default();
        let silent = |looks: &mut Looks, count| (0..count).map(|_| looks.look(1)).collect::<Vec<_>>();
        assert_eq!(looks.look(1), Seen::Runs);
        let seen = silent(&mut looks, HUNG);
        assert_eq!(seen.iter().filter(|seen| **seen == Seen::Runs).count(), SILENT as usize - 1);
        assert_eq!(seen.last(), Some(&Seen::Hung));
        assert_eq!(looks.look(2), Seen::Runs, "one count is enough");
        assert!(silent(&mut looks, 3)[0] == Seen::Runs);
    }
}
