//! Frames that wait for their time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Frames that wait in one relay, in both directions: 12 MB of them at most, or 100 ms of 80,000 a second. What comes
/// then is lost, as in a router.
pub(crate) const FRAMES_MAX: usize = 8192;

/// One of the two ends of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// That of the host.
    Near,
    /// That of all others.
    Far,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Near => Side::Far,
            Side::Far => Side::Near,
        }
    }
}

/// What waits, and for what time.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: BinaryHeap<Waiting>,
    /// When the last frame goes that came for each side, by the host at the other end. Where none is, the last.
    last: [Vec<Option<Instant>>; 2],
    count: u64,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    /// Of several that are due at the same time, the one goes first that came first.
    number: u64,
    to: Side,
    frame: Box<[u8]>,
}

impl Queue {
    pub(crate) fn new(hosts: usize) -> Queue {
        let none = || vec![None; hosts + 1];
        Queue { waiting: BinaryHeap::new(), last: [none(), none()], count: 0 }
    }

    /// False if there is no room. A frame goes no earlier than the one before it on the same way, even if the delay has
    /// become shorter: TCP takes frames that pass each other for losses.
    pub(crate) fn push(&mut self, to: Side, peer: Option<usize>, due: Instant, frame: &[u8]) -> bool {
        if self.waiting.len() >= FRAMES_MAX {
            return false;
        }
        let last = &mut self.last[to as usize];
        let way = peer.unwrap_or(last.len() - 1);
        let due = last[way].map_or(due, |last| last.max(due));
        last[way] = Some(due);
        self.count += 1;
        self.waiting.push(Waiting { due, number: self.count, to, frame: frame.into() });
        true
    }

    /// When the next one goes.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.peek().map(|next| next.due)
    }

    /// One whose time has come.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Side, Box<[u8]>)> {
        self.next().filter(|due| *due <= now)?;
        self.waiting.pop().map(|next| (next.to, next.frame))
    }
}

impl Ord for Waiting {
    /// The greatest is the next.
    fn cmp(&self, other: &Waiting) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn all(queue: &mut Queue, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop(now)).map(|(_, frame)| frame[0]).collect()
    }

    #[test]
    fn each_goes_when_it_is_due() {
        let (mut queue, now) = (Queue::new(2), Instant::now());
        let after = |milliseconds| now + Duration::from_millis(milliseconds);
        queue.push(Side::Far, Some(0), after(20), &[1]);
        queue.push(Side::Near, Some(0), after(10), &[2]);
        queue.push(Side::Far, Some(1), after(5), &[3]);
        queue.push(Side::Far, None, now, &[4]);
        assert_eq!(all(&mut queue, now), [4]);
        assert_eq!(queue.next(), Some(after(5)));
        assert_eq!(all(&mut queue, after(19)), [3, 2]);
        assert_eq!(all(&mut queue, after(20)), [1]);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn nothing_passes_what_was_sent_before_on_the_same_way() {
        let (mut queue, now) = (Queue::new(1), Instant::now());
        queue.push(Side::Far, Some(0), now + Duration::from_millis(20), &[1]);
        queue.push(Side::Far, Some(0), now, &[2]);
        assert!(all(&mut queue, now).is_empty());
        assert_eq!(all(&mut queue, now + Duration::from_millis(20)), [1, 2]);
    }

    #[test]
    fn what_finds_no_room_is_lost() {
        let (mut queue, now) = (Queue::new(1), Instant::now());
        assert!((0..FRAMES_MAX).all(|_| queue.push(Side::Far, Some(0), now, &[1])));
        assert!(!queue.push(Side::Far, Some(0), now, &[2]));
        assert_eq!(all(&mut queue, now).len(), FRAMES_MAX);
    }
}
