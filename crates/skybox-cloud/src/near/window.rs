//! The last samples, and the one figure that they give.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// So many samples are kept of each method.
pub(super) const SAMPLES: usize = 16;

/// A method that has so many samples counts, even if the one before has more.
const ENOUGH: usize = 4;

/// How a round trip was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By the kernel, on connections of this program's user that are in use: the shortest that their usual round trips
    /// agree with.
    Kernel {
        /// How many connections there were at the last look.
        connections: usize,
    },
    /// The handshake of a connection that was made for it, as the kernel timed it; by the process's clock where the kernel
    /// does not tell.
    Tcp,
    /// Until Postgres answered whether it encrypts, by the process's clock.
    Postgres,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Method::Kernel { connections: 1 } => f.write_str("kernel, 1 connection in use"),
            Method::Kernel { connections } => write!(f, "kernel, {connections} connections in use"),
            Method::Tcp => f.write_str("handshakes of TCP"),
            Method::Postgres => f.write_str("answers of Postgres"),
        }
    }
}

/// A figure, and how it came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) round_trip: Duration,
    pub(super) method: Method,
    pub(super) samples: usize,
    /// When the last sample was taken.
    pub(super) at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    round_trip: Duration,
    at: Instant,
}

/// The last samples of one resource. Those of the kernel and those of probes are kept apart: where a proxy stands on the
/// way they measure different distances.
#[derive(Debug, Default)]
pub(super) struct Window {
    of_kernel: Kept,
    of_probes: Kept,
    is_last_of_kernel: bool,
}

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Sample>,
    /// Of the last one.
    method: Option<Method>,
}

impl Window {
    pub(super) fn push(&mut self, method: Method, round_trip: Duration, at: Instant) {
        self.is_last_of_kernel = matches!(method, Method::Kernel { .. });
        let kept = if self.is_last_of_kernel { &mut self.of_kernel } else { &mut self.of_probes };
        if kept.samples.len() == SAMPLES {
            kept.samples.pop_front();
        }
        kept.samples.push_back(Sample { round_trip, at });
        kept.method = Some(method);
    }

    /// Forgets samples that were taken before.
    pub(super) fn forget_before(&mut self, oldest: Instant) {
        for kept in [&mut self.of_kernel, &mut self.of_probes] {
            kept.samples.retain(|sample| sample.at >= oldest);
        }
    }

    /// What the samples of one method say: of that of the last sample, once it has enough or no other has any.
    pub(super) fn figure(&self) -> Option<Figure> {
        let (last, other) = match self.is_last_of_kernel {
            true => (&self.of_kernel, &self.of_probes),
            false => (&self.of_probes, &self.of_kernel),
        };
        let is_enough = last.samples.len() >= ENOUGH || other.samples.is_empty();
        let Kept { samples, method } = if is_enough { last } else { other };
        Some(Figure {
            round_trip: low(samples.iter().map(|sample| sample.round_trip))?,
            method: (*method)?,
            samples: samples.len(),
            at: samples.back()?.at,
        })
    }
}

/// The lower quartile. Whatever disturbs a measurement makes it longer, so the truth is among the short ones; the very
/// shortest would not be left for long after a resource has moved away.
fn low(samples: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut sorted: Vec<_> = samples.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 4).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Method = Method::Kernel { connections: 2 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_figure_is_among_the_short_ones() {
        let check = |samples: &[u64], expected: u64| {
            assert_eq!(low(samples.iter().map(|n| ms(*n))), Some(ms(expected)), "{samples:?}");
        };
        check(&[7], 7);
        check(&[9, 1], 1);
        check(&[9, 8, 1, 7], 1);
        check(&[9, 8, 1, 7, 2], 2);
        check(&[1, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20], 20);
        assert_eq!(low(std::iter::empty()), None);
    }

    #[test]
    fn a_resource_that_moves_is_followed() {
        let start = Instant::now();
        let mut window = Window::default();
        let mut push = |count: u32, round_trip: u64| {
            for _ in 0..count {
                window.push(Method::Tcp, ms(round_trip), start);
            }
            window.figure().map(|figure| (figure.round_trip, figure.samples))
        };
        assert_eq!(push(1, 1), Some((ms(1), 1)));
        assert_eq!(push(30, 1), Some((ms(1), SAMPLES)));
        // A few that are late say nothing; it takes thirteen to be far, and four to be close again.
        assert_eq!(push(12, 20), Some((ms(1), SAMPLES)));
        assert_eq!(push(1, 20), Some((ms(20), SAMPLES)));
        assert_eq!(push(3, 1), Some((ms(20), SAMPLES)));
        assert_eq!(push(1, 1), Some((ms(1), SAMPLES)));
    }

    #[test]
    fn another_method_counts_once_it_has_enough_samples() {
        let start = Instant::now();
        let mut window = Window::default();
        assert_eq!(window.figure(), None);
        window.push(Method::Postgres, ms(20), start);
        window.push(Method::Postgres, ms(20), start);
        for _ in 0..3 {
            window.push(KERNEL, ms(1), start + ms(500));
        }
        let of_probes = Figure { round_trip: ms(20), method: Method::Postgres, samples: 2, at: start };
        assert_eq!(window.figure(), Some(of_probes));
        window.push(KERNEL, ms(1), start + ms(500));
        let of_kernel = Figure { round_trip: ms(1), method: KERNEL, samples: 4, at: start + ms(500) };
        assert_eq!(window.figure(), Some(of_kernel));
        window.push(Method::Postgres, ms(20), start + ms(600));
        assert_eq!(window.figure(), Some(of_kernel));
        // What is forgotten stands in nobody's way.
        window.forget_before(start + ms(600));
        let last = Figure { samples: 1, at: start + ms(600), ..of_probes };
        assert_eq!(window.figure(), Some(last));
        window.forget_before(start + ms(601));
        assert_eq!(window.figure(), None);
    }
}
