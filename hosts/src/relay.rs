//! Distance: a relay in a host's link that keeps frames for a while.
//!
//! The link's end in the bridge gets a bridge of its own, with one of two TAP devices; the other one takes its place in
//! the switch. Whatever the kernel sends to one device is read here, waits, and is written to the other.
//!
//! ```text
//! host ── host-0 ─[side-0]─ near-0 ··· this thread ··· relay-0 ─[switch]─ other hosts
//! ```

mod queue;
mod tap;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use self::queue::{Queue, Side};
use crate::namespace::Namespace;
use crate::run::ip_in;

/// Frames that are read from one device before the other one's turn.
const BATCH: usize = 64;

/// Longer than any frame: our devices take packets of 1,500 bytes.
const FRAME_MAX: usize = 2048;

/// The hardware address of a host.
pub(crate) fn mac(network: u8, host: usize) -> [u8; 6] {
    let host = u8::try_from(host).unwrap_or(u8::MAX);
    [0x02, b's', b'k', b'y', network, host]
}

/// The relay of one host, until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    network: u8,
    /// In nanoseconds, by the number of the host at the other end.
    delays: Vec<AtomicU64>,
    lost: AtomicU64,
}

impl Relay {
    /// Puts one into the link of a host. What is sent in that moment may be lost, as on any line.
    pub(crate) fn insert(switch: &Namespace, network: u8, host: usize, hosts: usize) -> Result<Relay> {
        let delays = (0..hosts).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { network, delays, lost: AtomicU64::new(0) });
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (namespace, theirs, until) = (switch.file(), Arc::clone(&shared), Arc::clone(&stop));
        let (opened, is_open) = mpsc::channel();
        let work = move || {
            let open = || -> std::io::Result<[File; 2]> {
                Namespace::enter_for_good(&namespace)?;
                Ok([tap::open(&format!("near-{host}"))?, tap::open(&format!("relay-{host}"))?])
            };
            match open() {
                Ok(devices) => {
                    drop(opened.send(Ok(())));
                    theirs.carry(&devices, &until);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new().name(format!("relay of host {host}")).spawn(work)?;
        // Whatever fails from here on, the thread ends with this.
        let relay = Relay { shared, stop, thread: Some(thread) };
        is_open
            .recv()
            .context("the relay ends at once")?
            .context("its devices cannot be opened (/dev/net/tun)")?;
        ip_in(
            switch,
            &format!(
                "link add side-{host} type bridge mcast_snooping 0\nlink set side-{host} up\n\
                 link set near-{host} master side-{host}\nlink set near-{host} up\n\
                 link set relay-{host} master switch\nlink set relay-{host} up\n\
                 link set host-{host} master side-{host}\n"
            ),
        )?;
        Ok(relay)
    }

    /// Delays what this host and that one send each other, from now on.
    pub(crate) fn delay(&self, peer: usize, one_way: Duration) {
        let nanoseconds = u64::try_from(one_way.as_nanos()).unwrap_or(u64::MAX);
        self.shared.delays[peer].store(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // An event descriptor takes a write whenever it is not full, and this is the only one.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    /// Carries frames between the devices until it is stopped.
    fn carry(&self, devices: &[File; 2], stop: &OwnedFd) {
        let mut queue = Queue::new(self.delays.len());
        loop {
            let now = Instant::now();
            while let Some((to, frame)) = queue.pop(now) {
                // A device that is full or down loses frames: so does a line.
                if (&devices[to as usize]).write(&frame).is_err() {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            let wait = queue.next().map(|due| due.saturating_duration_since(Instant::now()));
            let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
            let mut ready = [
                PollFd::new(&devices[0], PollFlags::IN),
                PollFd::new(&devices[1], PollFlags::IN),
                PollFd::new(stop, PollFlags::IN),
            ];
            match poll(&mut ready, wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            let [near, far, stopped] = ready.map(|one| !one.revents().is_empty());
            if stopped {
                return;
            }
            for (from, is_ready) in [(Side::Near, near), (Side::Far, far)] {
                if is_ready {
                    self.take(&devices[from as usize], from, &mut queue);
                }
            }
        }
    }

    /// Reads what has come from one side.
    fn take(&self, mut device: &File, from: Side, queue: &mut Queue) {
        let mut frame = [0; FRAME_MAX];
        for _ in 0..BATCH {
            let Ok(length) = device.read(&mut frame) else { return };
            let frame = &frame[..length];
            let peer = self.peer(frame, from);
            let delay = peer.map_or(0, |peer| self.delays[peer].load(Ordering::Relaxed));
            let due = Instant::now() + Duration::from_nanos(delay);
            if !queue.push(from.other(), peer, due, frame) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The host at the other end; none if that is the machine, or everybody.
    fn peer(&self, frame: &[u8], from: Side) -> Option<usize> {
        // A frame begins with the address that it is for; the sender's follows.
        let address = match from {
            Side::Near => frame.get(..6)?,
            Side::Far => frame.get(6..12)?,
        };
        let host = usize::from(*address.last()?);
        (host < self.delays.len() && address == mac(self.network, host)).then_some(host)
    }
}
