//! How long a poll has held its thread, and what the thread has done meanwhile.

use std::fmt;
use std::time::Duration;

use crate::thread::Tid;

/// What the kernel has counted of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// On a CPU.
    computing: Duration,
    /// Ready, without a CPU: others had them, or its group had used its share up.
    waiting: Duration,
}

impl Times {
    /// Nothing, where the kernel does not say.
    pub(super) fn of(tid: Tid) -> Option<Times> {
        Times::parse(&std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?)
    }

    fn parse(text: &str) -> Option<Times> {
        let mut numbers =
            text.split_ascii_whitespace().map(|number| number.parse().map(Duration::from_nanos));
        Some(Times { computing: numbers.next()?.ok()?, waiting: numbers.next()?.ok()? })
    }

    fn since(self, before: Times) -> Times {
        Times {
            computing: self.computing.saturating_sub(before.computing),
            waiting: self.waiting.saturating_sub(before.waiting),
        }
    }
}

/// A poll that was seen at one look and at the next.
#[derive(Debug)]
pub(super) struct Hold {
    before: Option<Times>,
    now: Option<Times>,
    passed: Duration,
    pub(super) is_counted: bool,
    pub(super) is_told: bool,
}

impl Hold {
    pub(super) fn begin(times: Option<Times>) -> Hold {
        Hold { before: times, now: times, passed: Duration::ZERO, is_counted: false, is_told: false }
    }

    /// It was seen again after `passed`, where `every` was meant.
    ///
    /// A look that comes much later says that nobody here has run: the process was stopped, or the whole machine. That
    /// time does not count.
    pub(super) fn goes_on(&mut self, passed: Duration, every: Duration, times: Option<Times>) {
        self.passed += passed.min(2 * every);
        self.now = times;
    }

    /// How long it has held its thread. While that was ready and got no CPU, it was not the code that held it.
    pub(super) fn held(&self) -> Duration {
        self.passed.saturating_sub(self.times().map_or(Duration::ZERO, |times| times.waiting))
    }

    fn times(&self) -> Option<Times> {
        Some(self.now?.since(self.before?))
    }

    /// What the thread has done meanwhile.
    pub(super) fn spent(&self) -> Spent {
        Spent { held: self.held(), times: self.times() }
    }
}

/// What a thread has done while it was held, in words.
pub(super) struct Spent {
    held: Duration,
    times: Option<Times>,
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(times) = self.times else { return Ok(()) };
        let computing = times.computing.min(self.held);
        let blocked = self.held - computing;
        write!(f, " ({computing:.0?} computing, {blocked:.0?} blocked")?;
        if times.waiting >= Duration::from_millis(1) {
            write!(f, "; {:.0?} more waiting for a CPU", times.waiting)?;
        }
        f.write_str(")")
    }
}

/// Whether a debugger, or somebody like it, stops and steps the threads of this process as it likes.
pub(super) fn is_traced() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(25);

    /// A hold of so many looks, each after so many milliseconds, of which the thread computes and waits so many.
    fn hold(looks: u32, after: u64, computing: u64, waiting: u64) -> Hold {
        let ms = Duration::from_millis;
        let mut hold = Hold::begin(Some(Times::default()));
        for look in 1..=looks {
            let times = Times { computing: ms(computing) * look, waiting: ms(waiting) * look };
            hold.goes_on(ms(after), EVERY, Some(times));
        }
        hold
    }

    #[test]
    fn only_what_its_code_does_holds_a_thread() {
        let cases = [
            // It computes, or is blocked: in both cases other calls wait.
            (hold(4, 25, 25, 0), 100, " (100ms computing, 0ns blocked)"),
            (hold(4, 25, 0, 0), 100, " (0ns computing, 100ms blocked)"),
            (hold(4, 25, 20, 0), 100, " (80ms computing, 20ms blocked)"),
            // Others had the CPUs.
            (hold(4, 25, 5, 20), 20, " (20ms computing, 0ns blocked; 80ms more waiting for a CPU)"),
            // The process was stopped for a minute.
            (hold(1, 60_000, 1, 0), 50, " (1ms computing, 49ms blocked)"),
        ];
        for (hold, held_ms, spent) in cases {
            assert_eq!(hold.held(), Duration::from_millis(held_ms), "{hold:?}");
            assert_eq!(hold.spent().to_string(), spent);
        }
        let mut unknown = Hold::begin(None);
        unknown.goes_on(EVERY, EVERY, None);
        assert_eq!((unknown.held(), unknown.spent().to_string()), (EVERY, String::new()));
    }

    #[test]
    fn the_kernels_words_are_read() {
        let times = Times { computing: Duration::from_nanos(1_500), waiting: Duration::from_nanos(20) };
        assert_eq!(Times::parse("1500 20 3\n"), Some(times));
        assert_eq!(Times::parse("1500"), None);
    }
}
