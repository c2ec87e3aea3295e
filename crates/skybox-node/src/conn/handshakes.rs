//! Handshakes that are pending over TCP, where anybody can connect: how many there may be, and who goes for whom.
//!
//! A peer needs milliseconds for its handshake, or a few round trips of a slow network; who needs longer is most likely
//! nobody. So when all places are taken, a newcomer gets one, and not the other way round: else whoever holds them for
//! [`HANDSHAKE_WAIT`](super::open) and comes again would keep out everybody else. What it costs is asked of those that
//! have the most:
//!
//! 1. An origin with more than its share of the places makes room itself: of the one that has most, the oldest goes.
//!    Others lose nothing by it, however fast it comes again.
//! 2. If none has, the oldest of all goes, once it has had its time.
//! 3. If it has not, all of them are new, as when a whole cloud connects at once, and the newcomer goes: what has begun
//!    is brought to an end, and who was refused comes again.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};

use super::dial::DialError;
use super::open::in_time;
use crate::host::lock;

/// Handshakes that may be pending at once. One costs a socket, and at most what a hello may be long; a machine does
/// thousands a second.
const PENDING_MAX: usize = 256;
/// Places that an origin may have before it makes room by itself: more than the nodes of one machine, so that their
/// restart together is none.
const SHARE: usize = 32;
/// How long any handshake may take where no origin has more than its share. Round trips between continents, and a busy
/// machine, are within it.
const GRACE: Duration = Duration::from_secs(1);
/// Handshakes that are worked at in the same moment. Each step of TLS computes for as long as many calls take, and calls
/// of the peers that are there should not have to wait behind hundreds of them: so they wait for each other first, and
/// all of them together have at most one core.
const WORKED_AT: usize = 1;

/// The handshakes that a node has taken over TCP.
#[derive(Debug)]
pub(crate) struct Handshakes {
    places: Mutex<Places>,
    turns: Semaphore,
    open: AtomicU64,
    refused: AtomicU64,
    late: AtomicU64,
    no_room: AtomicU64,
}

/// What a node has counted of the connections that others have opened to it over TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeCounts {
    /// Handshakes that are pending now, at most 256.
    pub pending: u64,
    /// Those that ended well.
    pub open: u64,
    /// Peers that were refused, or went away.
    pub refused: u64,
    /// Peers that took longer than 5 s, and were closed.
    pub late: u64,
    /// Peers that were closed because too many were pending.
    pub no_room: u64,
}

impl Default for Handshakes {
    fn default() -> Handshakes {
        Handshakes {
            places: Mutex::default(),
            turns: Semaphore::new(WORKED_AT),
            open: AtomicU64::default(),
            refused: AtomicU64::default(),
            late: AtomicU64::default(),
            no_room: AtomicU64::default(),
        }
    }
}

impl Handshakes {
    /// A place for one more; none if it is the newcomer that goes.
    pub(super) fn begin(self: &Arc<Handshakes>, from: IpAddr) -> Option<Place> {
        let (origin, now) = (Origin::of(from), Instant::now());
        let mut places = lock(&self.places);
        let goes = places.who_goes(origin, now);
        // Whoever goes is told when nothing is locked any more.
        let told = match goes {
            Goes::Nobody => None,
            Goes::Newcomer => None,
            Goes::Pending(at) => Some(places.taken.remove(at)),
        };
        let taken = (goes != Goes::Newcomer).then(|| places.take(origin, now));
        drop(places);
        if goes != Goes::Nobody {
            self.no_room.fetch_add(1, Ordering::Relaxed);
            let of = told.as_ref().map_or(origin, |taken| taken.origin);
            let line = format!(
                "{PENDING_MAX} connections are in their handshake: one from {of} was closed for want of room"
            );
            crate::log_limit::warn("handshakes-full", &line);
        }
        // Its end is what it waits for.
        drop(told);
        taken.map(|(id, closed)| Place { handshakes: self.clone(), id, closed })
    }

    /// What became of one that was not closed for want of room.
    pub(super) fn ended<T>(&self, outcome: &Result<T, DialError>) {
        let counter = match outcome {
            Ok(_) => &self.open,
            Err(DialError::Silent) => &self.late,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> HandshakeCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HandshakeCounts {
            pending: lock(&self.places).taken.len() as u64,
            open: read(&self.open),
            refused: read(&self.refused),
            late: read(&self.late),
            no_room: read(&self.no_room),
        }
    }
}

/// The place of one handshake, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    handshakes: Arc<Handshakes>,
    id: u64,
    closed: oneshot::Receiver<()>,
}

impl Place {
    /// Shakes hands, in the time that there is for it, unless it has to make room first: then `None`, and the handshake is
    /// dropped where it stands.
    pub(super) async fn keeping<T>(
        mut self,
        handshake: impl Future<Output = Result<T, DialError>>,
    ) -> Option<Result<T, DialError>> {
        tokio::select! {
            // In a flood most are closed before they are looked at, and should cost nothing.
            biased;
            _ = &mut self.closed => None,
            shaken = in_time(in_turn(&self.handshakes.turns, handshake)) => Some(shaken),
        }
    }
}

/// Does that, each step of it when it is its turn.
async fn in_turn<T>(turns: &Semaphore, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut next = pin!(None);
    poll_fn(|cx| {
        if next.is_none() {
            next.set(Some(turns.acquire()));
        }
        let asked = next.as_mut().as_pin_mut().expect("it was set just now");
        // Nobody closes it, and without a turn one works as well.
        let Poll::Ready(turn) = asked.poll(cx) else { return Poll::Pending };
        let step = work.as_mut().poll(cx);
        drop(turn);
        next.set(None);
        step
    })
    .await
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.handshakes.places).taken.retain(|taken| taken.id != self.id);
    }
}

/// Where connections come from: an address, or, as whoever has one of these has them all, the 2^64 of one IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Origin(IpAddr);

impl Origin {
    fn of(address: IpAddr) -> Origin {
        Origin(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(network) => write!(f, "{network}/64"),
            IpAddr::V4(address) => write!(f, "{address}"),
        }
    }
}

#[derive(Debug, Default)]
struct Places {
    /// The oldest first.
    taken: Vec<Taken>,
    ids: u64,
}

#[derive(Debug)]
struct Taken {
    id: u64,
    origin: Origin,
    since: Instant,
    /// Its end closes the connection.
    _closed: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    Nobody,
    /// By its place among those that are taken.
    Pending(usize),
    Newcomer,
}

impl Places {
    fn take(&mut self, origin: Origin, now: Instant) -> (u64, oneshot::Receiver<()>) {
        debug_assert!(self.taken.len() < PENDING_MAX);
        let (close, closed) = oneshot::channel();
        self.ids += 1;
        self.taken.push(Taken { id: self.ids, origin, since: now, _closed: close });
        (self.ids, closed)
    }

    fn who_goes(&self, newcomer: Origin, now: Instant) -> Goes {
        if self.taken.len() < PENDING_MAX {
            return Goes::Nobody;
        }
        let mut counts: HashMap<Origin, usize> = HashMap::from([(newcomer, 1)]);
        for taken in &self.taken {
            *counts.entry(taken.origin).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let oldest = if most > SHARE {
            // Of origins that have equally many, the one with the oldest.
            self.taken.iter().position(|taken| counts[&taken.origin] == most)
        } else {
            self.taken.iter().position(|taken| now.duration_since(taken.since) >= GRACE)
        };
        oldest.map_or(Goes::Newcomer, Goes::Pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Origin {
        Origin::of(text.parse().expect("an address"))
    }

    /// Places, taken one after the other, all of that age.
    fn taken(origins: impl IntoIterator<Item = Origin>, now: Instant, age: Duration) -> Places {
        let mut places = Places::default();
        for origin in origins {
            drop(places.take(origin, now - age));
        }
        places
    }

    fn many(count: usize) -> impl Iterator<Item = Origin> {
        (0..count).map(|at| Origin::of(IpAddr::from([10, 1, (at / 250) as u8, (at % 250) as u8])))
    }

    #[test]
    fn whoever_has_most_makes_room() {
        let (now, hostile, other) = (Instant::now(), ip("10.0.0.9"), ip("10.0.0.1"));
        let new = Duration::ZERO;
        assert_eq!(taken(many(255), now, new).who_goes(other, now), Goes::Nobody);
        let flooded = || many(100).chain((100..256).map(|_| hostile));
        // However new all of them are, and whoever comes.
        for newcomer in [other, hostile] {
            assert_eq!(taken(flooded(), now, new).who_goes(newcomer, now), Goes::Pending(100));
        }
        // Its share is not too much, and the newcomer counts.
        let shared = || (0..32).map(|_| hostile).chain(many(224));
        assert_eq!(taken(shared(), now, new).who_goes(other, now), Goes::Newcomer);
        assert_eq!(taken(shared(), now, new).who_goes(hostile, now), Goes::Pending(0));
    }

    #[test]
    fn of_a_crowd_those_go_that_have_had_their_time() {
        let (now, other) = (Instant::now(), ip("10.0.0.1"));
        assert_eq!(taken(many(256), now, GRACE / 2).who_goes(other, now), Goes::Newcomer);
        assert_eq!(taken(many(256), now, GRACE).who_goes(other, now), Goes::Pending(0));
    }

    #[test]
    fn one_network_is_one_origin() {
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
        assert_eq!(
            (ip("2001:db8::1").to_string(), ip("10.0.0.1").to_string()),
            ("2001:db8::/64".into(), "10.0.0.1".into())
        );
    }

    /// They are many, each comes to its end in several steps, and no two of them compute at the same moment.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn each_step_has_its_turn() {
        let handshakes = Arc::new(Handshakes::default());
        let working = Arc::new(AtomicU64::new(0));
        let running = (0..50u64).map(|n| {
            let place = handshakes.begin([10, 0, 0, 1].into()).expect("there is room");
            let working = working.clone();
            tokio::spawn(place.keeping(async move {
                for _ in 0..3 {
                    assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0);
                    // Who does not wait for a turn has time to come in between.
                    std::thread::yield_now();
                    working.fetch_sub(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                Ok(n)
            }))
        });
        for (n, running) in running.collect::<Vec<_>>().into_iter().enumerate() {
            let shaken = running.await.expect("it does not panic").expect("it stays").expect("it ends well");
            assert_eq!(shaken, n as u64);
        }
        assert_eq!(handshakes.counts().pending, 0);
    }

    #[tokio::test]
    async fn a_place_is_given_back_and_taken_away() {
        let handshakes = Arc::new(Handshakes::default());
        let hostile: IpAddr = [10, 0, 0, 9].into();
        let mut places: Vec<_> =
            (0..PENDING_MAX).map(|_| handshakes.begin(hostile).expect("there is room")).collect();
        let newcomer = handshakes.begin([10, 0, 0, 1].into()).expect("it gets the place of the oldest");
        assert!(places.remove(0).keeping(std::future::pending::<Result<(), _>>()).await.is_none());
        assert_eq!(newcomer.keeping(async { Ok(7) }).await.expect("it stays").expect("it ends well"), 7);
        assert_eq!(handshakes.counts(), HandshakeCounts { pending: 255, no_room: 1, ..Default::default() });
        drop(places);
        handshakes.ended(&Ok(()));
        handshakes.ended::<()>(&Err(DialError::Silent));
        handshakes.ended::<()>(&Err(DialError::Closed));
        let expected = HandshakeCounts { pending: 0, open: 1, refused: 1, late: 1, no_room: 1 };
        assert_eq!(handshakes.counts(), expected);
    }
}
