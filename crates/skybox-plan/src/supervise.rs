//! What a supervisor does when a child has ended, by OTP's three strategies.
//!
//! Children have an order: they are started from first to last, and stopped from last to first.

use std::time::Duration;

use skybox_core::Restart;

use crate::restart::backoff;

/// Whom the end of a child concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The child alone.
    OneForOne,
    /// All children: they cannot do without one another.
    OneForAll,
    /// The child and those after it, which rest on it.
    RestForOne,
}

/// How many restarts are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// So many restarts within the window are borne; one more, and the supervisor gives up.
    pub max_restarts: u32,
    /// The window.
    pub within: Duration,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEnd {
    /// In order: it has ended itself, or somebody has stopped it.
    Normal,
    /// Any other way.
    Abnormal,
    /// It did not start again.
    NotStarted,
}

/// What to do now. Children are named by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it stays away.
    Leave,
    /// Stop these, in this order; wait (before jitter); start those, in that order.
    Restart {
        /// Which to stop: those that run, from last to first.
        stop: Vec<usize>,
        /// How long to wait then.
        pause: Duration,
        /// Which to start, from first to last.
        start: Vec<usize>,
    },
    /// Stop all, and tell the cause: this goes on too often.
    GiveUp,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    restart: Restart,
    runs: bool,
}

/// The children of one supervisor, and their restarts that still matter.
#[derive(Clone, Debug)]
pub struct Supervision {
    strategy: Strategy,
    intensity: Intensity,
    children: Vec<Child>,
    /// As time since the supervisor's start, oldest first, with the child that had ended.
    restarts: Vec<(Duration, usize)>,
}

impl Supervision {
    /// None of the children runs yet. `restart` of a child says after which of its ends it is started again.
    pub fn new(
        strategy: Strategy,
        intensity: Intensity,
        children: impl IntoIterator<Item = Restart>,
    ) -> Supervision {
        let children = children.into_iter().map(|restart| Child { restart, runs: false }).collect();
        Supervision { strategy, intensity, children, restarts: Vec::new() }
    }

    /// A child runs.
    pub fn started(&mut self, child: usize) {
        self.children[child].runs = true;
    }

    /// A child that was to be stopped has been.
    pub fn stopped(&mut self, child: usize) {
        self.children[child].runs = false;
    }

    /// Those that run, from last to first.
    pub fn running(&self) -> Vec<usize> {
        (0..self.children.len()).rev().filter(|child| self.children[*child].runs).collect()
    }

    /// Notes the end of a child at `now`, which nobody had ordered, and decides.
    ///
    /// As in OTP a restart that concerns several children starts those anew, too, that had ended in order before, and
    /// leaves away those that are never restarted. Unlike there, restarts are paced: the first in a window is at once,
    /// the next ones wait ever longer; of children that can do without one another each has its own pace.
    pub fn ended(&mut self, child: usize, end: ChildEnd, now: Duration) -> Decision {
        self.children[child].runs = false;
        let again = match (self.children[child].restart, end) {
            (Restart::Never, _) | (Restart::OnCrash, ChildEnd::Normal) => false,
            (Restart::Always | Restart::OnCrash, _) => true,
        };
        if !again {
            return Decision::Leave;
        }
        let window = now.saturating_sub(self.intensity.within);
        self.restarts.retain(|(at, _)| *at >= window);
        self.restarts.push((now, child));
        if self.restarts.len() > self.intensity.max_restarts as usize {
            return Decision::GiveUp;
        }
        let count = match self.strategy {
            Strategy::OneForOne => self.restarts.iter().filter(|(_, other)| *other == child).count(),
            Strategy::OneForAll | Strategy::RestForOne => self.restarts.len(),
        };
        let concerned = match self.strategy {
            Strategy::OneForOne => child..child + 1,
            Strategy::OneForAll => 0..self.children.len(),
            Strategy::RestForOne => child..self.children.len(),
        };
        let stop = concerned.clone().rev().filter(|other| self.children[*other].runs).collect();
        let start = concerned.filter(|other| self.children[*other].restart != Restart::Never).collect();
        let pause = count.checked_sub(2).map_or(Duration::ZERO, backoff);
        Decision::Restart { stop, pause, start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ChildEnd::{Abnormal, Normal, NotStarted};
    use Restart::{Always, Never, OnCrash};
    use Strategy::{OneForAll, OneForOne, RestForOne};

    const INTENSITY: Intensity = Intensity { max_restarts: 3, within: Duration::from_secs(5) };

    fn all_running(strategy: Strategy, children: &[Restart]) -> Supervision {
        let mut supervision = Supervision::new(strategy, INTENSITY, children.iter().copied());
        (0..children.len()).for_each(|child| supervision.started(child));
        supervision
    }

    /// Of three or more children that all run, one ends: who is stopped, and who is started.
    #[track_caller]
    fn decides(
        strategy: Strategy,
        children: &[Restart],
        (child, end): (usize, ChildEnd),
        expected: Option<(&[usize], &[usize])>,
    ) {
        let decision = all_running(strategy, children).ended(child, end, Duration::ZERO);
        let expected = expected.map_or(Decision::Leave, |(stop, start)| Decision::Restart {
            stop: stop.to_vec(),
            pause: Duration::ZERO,
            start: start.to_vec(),
        });
        assert_eq!(decision, expected, "{strategy:?} {children:?}");
    }

    #[test]
    fn the_strategy_says_whom_an_end_concerns() {
        let children = [Always; 4];
        decides(OneForOne, &children, (1, Abnormal), Some((&[], &[1])));
        decides(OneForAll, &children, (1, Abnormal), Some((&[3, 2, 0], &[0, 1, 2, 3])));
        decides(RestForOne, &children, (1, Abnormal), Some((&[3, 2], &[1, 2, 3])));
        decides(RestForOne, &children, (3, Abnormal), Some((&[], &[3])));
        decides(RestForOne, &children, (0, Abnormal), Some((&[3, 2, 1], &[0, 1, 2, 3])));
    }

    #[test]
    fn a_child_says_after_which_ends_it_comes_back() {
        for strategy in [OneForOne, OneForAll, RestForOne] {
            decides(strategy, &[OnCrash; 3], (0, Normal), None);
            decides(strategy, &[Never; 3], (0, Normal), None);
            decides(strategy, &[Never; 3], (0, Abnormal), None);
        }
        decides(OneForOne, &[Always; 3], (2, Normal), Some((&[], &[2])));
        decides(OneForOne, &[OnCrash; 3], (2, Abnormal), Some((&[], &[2])));
        decides(OneForAll, &[Always, Never, OnCrash], (0, Normal), Some((&[2, 1], &[0, 2])));
        decides(RestForOne, &[Never, Always, Never], (1, Abnormal), Some((&[2], &[1])));
    }

    #[test]
    fn those_that_had_ended_before_are_not_stopped_but_started() {
        let mut supervision = all_running(OneForAll, &[OnCrash, Always, Always]);
        assert_eq!(supervision.ended(0, Normal, Duration::ZERO), Decision::Leave);
        assert_eq!(supervision.running(), [2, 1]);
        let decision = supervision.ended(1, Abnormal, Duration::ZERO);
        let expected = Decision::Restart { stop: vec![2], pause: Duration::ZERO, start: vec![0, 1, 2] };
        assert_eq!(decision, expected);
    }

    #[test]
    fn a_start_that_fails_half_way_begins_anew() {
        let mut supervision = all_running(OneForAll, &[Always; 3]);
        let Decision::Restart { stop, .. } = supervision.ended(2, Abnormal, Duration::ZERO) else { panic!() };
        stop.into_iter().for_each(|child| supervision.stopped(child));
        supervision.started(0);
        let decision = supervision.ended(1, NotStarted, Duration::ZERO);
        let pause = Duration::from_millis(50);
        assert_eq!(decision, Decision::Restart { stop: vec![0], pause, start: vec![0, 1, 2] });
    }

    #[test]
    fn too_many_restarts_in_a_window_are_given_up() {
        let mut supervision = all_running(OneForAll, &[Always; 3]);
        let mut pauses = |ends: &[(usize, u64)]| {
            let decide = |(child, at_ms): &(usize, u64)| {
                supervision.started(*child);
                match supervision.ended(*child, Abnormal, Duration::from_millis(*at_ms)) {
                    Decision::Restart { pause, .. } => Some(pause.as_millis()),
                    Decision::GiveUp => None,
                    Decision::Leave => panic!("it is always restarted"),
                }
            };
            ends.iter().map(decide).collect::<Vec<_>>()
        };
        assert_eq!(pauses(&[(0, 0), (1, 1_000), (2, 4_000)]), [Some(0), Some(50), Some(100)]);
        assert_eq!(pauses(&[(0, 5_500)]), [Some(100)], "the first is forgotten");
        assert_eq!(pauses(&[(0, 5_600)]), [None], "whichever child it is");
    }

    #[test]
    fn those_that_can_do_without_one_another_have_their_own_pace() {
        let mut supervision = all_running(OneForOne, &[Always; 3]);
        let mut pause = |child: usize| match supervision.ended(child, Abnormal, Duration::ZERO) {
            Decision::Restart { pause, start, .. } if start == [child] => Some(pause.as_millis()),
            Decision::GiveUp => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [0, 1, 0, 2].map(&mut pause),
            [Some(0), Some(0), Some(50), None],
            "they are counted together"
        );
    }

    #[test]
    fn none_is_borne_where_none_may_be() {
        let intensity = Intensity { max_restarts: 0, ..INTENSITY };
        let mut supervision = Supervision::new(OneForOne, intensity, [Always]);
        supervision.started(0);
        assert_eq!(supervision.ended(0, Abnormal, Duration::ZERO), Decision::GiveUp);
        assert!(supervision.running().is_empty());
    }
}
