//! Whether and when an ended instance is started again.

use std::time::Duration;

use skybox_core::Restart;

/// The first pause before a restart; each further one doubles it.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What a module's annotations say about restarts.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Which endings are followed by a restart.
    pub restart: Restart,
    /// Failed starts within `within` that are borne: one more, and the module is given up.
    pub max_restarts: u32,
    /// The window.
    pub within: Duration,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its `start` failed, or it crashed before its first call succeeded.
    Failed,
    /// It crashed after it had been of use.
    Crashed,
    /// The same, of a task: it has no state that could be wrong, and no `start` that could cost anything.
    CrashedTask,
    /// It ended of itself.
    Normal,
    /// Somebody killed it.
    Killed,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start again after this pause (before jitter).
    After(Duration),
    /// Give it up: callers and operators are told why.
    GiveUp,
}

/// The endings of one module or key that still matter.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Failed starts, as time since the node's start, oldest first.
    failures: Vec<Duration>,
    /// Crashes after success, likewise; they pace but never give up.
    crashes: Vec<Duration>,
}

impl History {
    /// Notes an ending at `now` and decides.
    ///
    /// Only failed starts count towards giving up: a picture that crashes its thumbnail must not end thumbnails
    /// for everyone, however often it is sent. Crashes after success only slow the restarts down.
    pub fn decide(&mut self, policy: &Policy, end: End, now: Duration) -> Decision {
        let window = now.saturating_sub(policy.within);
        self.failures.retain(|at| *at >= window);
        self.crashes.retain(|at| *at >= window);
        match end {
            _ if policy.restart == Restart::Never => return Decision::GiveUp,
            End::Normal if policy.restart == Restart::OnCrash => return Decision::GiveUp,
            // Whoever kills knows why: it says nothing about the module.
            End::Normal | End::Killed => return Decision::After(Duration::ZERO),
            // One bad input in ten must not slow down the other nine.
            End::CrashedTask => return Decision::After(Duration::ZERO),
            End::Failed => self.failures.push(now),
            End::Crashed => self.crashes.push(now),
        }
        if end == End::Failed {
            if self.failures.len() > policy.max_restarts as usize {
                return Decision::GiveUp;
            }
            return Decision::After(backoff(self.failures.len() - 1));
        }
        // The first crashes are replaced at once; a module that goes on crashing is slowed down.
        Decision::After(self.crashes.len().checked_sub(4).map_or(Duration::ZERO, backoff))
    }

    /// The failed starts that counted at the last decision.
    pub fn failed_starts(&self) -> u32 {
        u32::try_from(self.failures.len()).unwrap_or(u32::MAX)
    }

    /// Forgets everything: an operator said "try again".
    pub fn clear(&mut self) {
        *self = History::default();
    }
}

pub(crate) fn backoff(times: usize) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << times.min(16)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { restart: Restart::Always, max_restarts: 3, within: Duration::from_secs(10) };

    fn decide(policy: Policy, ends: &[(End, u64)]) -> Vec<Option<u64>> {
        let mut history = History::default();
        ends.iter()
            .map(|(end, at)| match history.decide(&policy, *end, Duration::from_millis(*at)) {
                Decision::After(pause) => Some(pause.as_millis() as u64),
                Decision::GiveUp => None,
            })
            .collect()
    }

    #[test]
    fn failed_starts_back_off_and_end() {
        let ends = [(End::Failed, 0), (End::Failed, 50), (End::Failed, 150), (End::Failed, 350)];
        assert_eq!(decide(POLICY, &ends), [Some(50), Some(100), Some(200), None]);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let ends = [(End::Failed, 0), (End::Failed, 1), (End::Failed, 2), (End::Failed, 20_000)];
        assert_eq!(decide(POLICY, &ends), [Some(50), Some(100), Some(200), Some(50)]);
    }

    #[test]
    fn crashes_after_success_never_give_up() {
        let ends: Vec<_> = (0..50).map(|n| (End::Crashed, n * 10)).collect();
        let pauses = decide(POLICY, &ends);
        assert_eq!(pauses[..6], [Some(0), Some(0), Some(0), Some(50), Some(100), Some(200)]);
        assert!(pauses.iter().all(Option::is_some));
        assert_eq!(pauses[49], Some(BACKOFF_MAX.as_millis() as u64));
    }

    #[test]
    fn restart_says_which_endings_count() {
        let never = Policy { restart: Restart::Never, ..POLICY };
        assert_eq!(decide(never, &[(End::Crashed, 0)]), [None]);
        let on_crash = Policy { restart: Restart::OnCrash, ..POLICY };
        assert_eq!(decide(on_crash, &[(End::Normal, 0), (End::Crashed, 1)]), [None, Some(0)]);
        assert_eq!(decide(POLICY, &[(End::Normal, 0)]), [Some(0)]);
        assert_eq!(decide(never, &[(End::Killed, 0)]), [None]);
        assert_eq!(decide(on_crash, &[(End::Killed, 0)]), [Some(0)]);
    }

    #[test]
    fn tasks_are_there_again_at_once_however_often_they_crash() {
        let mut ends: Vec<_> = (0..50).map(|n| (End::CrashedTask, n)).collect();
        ends.extend([(End::Failed, 50)]);
        let pauses = decide(POLICY, &ends);
        assert!(pauses[..50].iter().all(|pause| *pause == Some(0)));
        assert_eq!(pauses[50], Some(50), "as if nothing had been before");
        let never = Policy { restart: Restart::Never, ..POLICY };
        assert_eq!(decide(never, &[(End::CrashedTask, 0)]), [None]);
    }

    #[test]
    fn kills_never_give_up_and_pace_nothing() {
        let mut ends: Vec<_> = (0..50).map(|n| (End::Killed, n)).collect();
        ends.extend([(End::Failed, 50), (End::Crashed, 51)]);
        let pauses = decide(POLICY, &ends);
        assert!(pauses[..50].iter().all(|pause| *pause == Some(0)));
        assert_eq!(pauses[50..], [Some(50), Some(0)], "as if nothing had been before");
    }
}
