//! The log of those that are killed by their links: a thousand may fall in the same moment, and for the same reason.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use skybox_core::{Exit, InstanceId};

use super::{HostCore, lock};

/// How often a line is logged of those of one module: at once of the first, then at most as often as this of the last one
/// since, with the number of those that no line is of.
const EVERY: Duration = Duration::from_secs(1);

/// Those of one module since the last line; `None` if that is longer ago than [`EVERY`].
#[derive(Debug, Default)]
pub(super) struct Falls(Mutex<Option<Since>>);

#[derive(Debug, Default)]
struct Since {
    last: Option<(InstanceId, Exit)>,
    /// Those before the last one.
    others: u64,
}

impl Falls {
    /// Notes one; says whether a line is logged of it, and so none of the next ones before it is [`over`](Falls::over).
    fn note(&self, instance: InstanceId, exit: &Exit) -> bool {
        match &mut *lock(&self.0) {
            Some(since) => {
                let another = since.last.replace((instance, exit.clone())).is_some();
                since.others += u64::from(another);
                false
            }
            none => {
                *none = Some(Since::default());
                true
            }
        }
    }

    /// The time of the last line is over. Gives of whom the next one is, and how many it leaves out; without one, the one
    /// after that is logged at once.
    fn over(&self) -> Option<(InstanceId, Exit, u64)> {
        let mut since = lock(&self.0);
        let Since { last, others } = since.take()?;
        let (instance, exit) = last?;
        *since = Some(Since::default());
        Some((instance, exit, others))
    }
}

impl HostCore {
    /// Logs that an instance was killed by a link, or counts it.
    pub(super) fn log_fall(self: &Arc<Self>, instance: InstanceId, exit: &Exit) {
        if !self.falls.note(instance, exit) {
            return;
        }
        let module = self.descriptor.name;
        tracing::warn!(module, %instance, "{exit}");
        let core = Arc::downgrade(self);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some((instance, exit, others)) = core.upgrade().and_then(|core| core.falls.over()) else {
                    return;
                };
                tracing::warn!(module, %instance, others, "{exit}");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::Incarnation;

    use super::*;

    #[test]
    fn a_crowd_is_a_line_and_a_number() {
        let falls = Falls::default();
        let id = |count| InstanceId { node: Incarnation(7), count };
        let exit = |count| Exit::linked("room", id(count), Exit::NoSuchInstance);
        for round in 0..3 {
            assert!(falls.note(id(1), &exit(round)), "of the first a line is logged at once");
            for n in 2..10_000 {
                assert!(!falls.note(id(n), &exit(round + 1)));
            }
            // The last one and the 9,997 between.
            assert_eq!(falls.over(), Some((id(9_999), exit(round + 1), 9_997)));
            assert!(!falls.note(id(1), &exit(7)), "that was a line as well");
            assert_eq!(falls.over(), Some((id(1), exit(7), 0)));
            assert_eq!(falls.over(), None);
        }
    }
}
