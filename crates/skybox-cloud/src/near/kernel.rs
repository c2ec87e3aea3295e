//! What the kernel has measured on connections that there are.
//!
//! It is asked over a netlink socket (`sock_diag(7)`), which needs no privilege and answers for the network namespace it
//! was opened in. The kernel filters by destination, so the answer is as long as there are connections to the resources,
//! however many others the program has. No descriptor is touched: one that is closed meanwhile, and given to something
//! else, is none of our business, as it would be with `getsockopt(TCP_INFO)` over what `/proc/self/fd` lists.
//!
//! Connections count that belong to this process's user, not to this process alone: the nodes of a program on one host
//! are several processes, one of which measures for all. A connection of another program of the same user to the same
//! address is as long.

mod message;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use message::{Answer, Connection, TcpInfo};

/// A connection on which nothing was acknowledged for so long counts no more: what was measured on it is old.
pub(crate) const FRESH: Duration = Duration::from_secs(5);

/// A connection counts if more bytes than these were acknowledged on it. A probe sends eight, and the kernel counts the
/// first packet of a connection as one more: what another prober has under way is no traffic of the program.
const BYTES_OF_A_PROBE: u64 = 16;

/// The usual round trip agrees with the shortest if it is at most twice as long, and this: where all is close, what
/// machines take to answer is the most of it.
const AGREE_WITHIN: Duration = Duration::from_millis(1);

/// As many connections are looked at in one reading; there is no use in more.
const CONNECTIONS_MAX: usize = 4_096;

/// For a page of the answer. The kernel makes them no longer than this.
const PAGE_BYTES: usize = 32 * 1024;

/// The kernel answers at once. This bounds what happens if it does not.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// What the connections to one address tell together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The shortest round trip of those on which the shortest and the usual one agree; `None` if there are none such.
    ///
    /// The kernel remembers the shortest for five minutes, so it says nothing of a resource that has moved away. The
    /// usual one contains what the other end takes to acknowledge: up to 40 ms where it waits for an answer to send along.
    /// Apart, either may be wrong.
    pub(crate) sure: Option<Duration>,
    /// The shortest of their usual, smoothed round trips.
    pub(crate) smoothed: Duration,
    /// How many count.
    pub(crate) connections: usize,
}

impl Reading {
    /// Of one connection, if it counts.
    fn of(info: &TcpInfo) -> Option<Reading> {
        // Kernels before 4.1 do not say how much was acknowledged.
        let is_used = info.bytes_acked.is_none_or(|bytes| bytes > BYTES_OF_A_PROBE);
        if !is_used || info.since_ack? > FRESH {
            return None;
        }
        let smoothed = info.smoothed?;
        // Kernels before 4.6 do not say which was the shortest.
        let shortest = info.shortest.unwrap_or(smoothed);
        let agrees = smoothed <= shortest * 2 + AGREE_WITHIN;
        Some(Reading { sure: agrees.then_some(shortest), smoothed, connections: 1 })
    }

    /// Both together.
    pub(crate) fn with(self, other: Option<Reading>) -> Reading {
        let Some(other) = other else { return self };
        Reading {
            sure: self.sure.into_iter().chain(other.sure).min(),
            smoothed: self.smoothed.min(other.smoothed),
            connections: self.connections + other.connections,
        }
    }
}

/// What established connections to these addresses tell, in their order; `None` where none counts. Takes from tens of
/// microseconds to a few milliseconds, on a host with very many connections, during which the thread is in the kernel.
///
/// # Errors
/// The kernel does not tell: it was built without it, or the process may not ask.
pub(crate) fn read(addresses: &[SocketAddr]) -> io::Result<Vec<Option<Reading>>> {
    let mut readings = vec![None; addresses.len()];
    if addresses.is_empty() {
        return Ok(readings);
    }
    let user = rustix::process::geteuid().as_raw();
    // A socket for IPv6 may be connected to a mapped IPv4 address, so there both are looked for.
    let has_v4 = addresses.iter().any(|address| address.ip().to_canonical().is_ipv4());
    let families = [(has_v4, AddressFamily::INET), (true, AddressFamily::INET6)];
    for (_, family) in families.into_iter().filter(|(wanted, _)| *wanted) {
        let mut left = CONNECTIONS_MAX;
        ask(&message::all(family, addresses), |connection| {
            if connection.user == user
                && let Some(at) = addresses.iter().position(|address| is_same(*address, connection.peer))
                && let Some(one) = Reading::of(&connection.info)
            {
                readings[at] = Some(one.with(readings[at]));
            }
            left -= 1;
            left > 0
        })?;
    }
    Ok(readings)
}

/// The round trip of one connection, by its two ends: after connecting, that of its handshake. `None` if it is gone or has
/// measured none.
///
/// # Errors
/// As for [`read`].
pub(crate) fn of_one(local: SocketAddr, peer: SocketAddr) -> io::Result<Option<Duration>> {
    let mut found = None;
    let asked = ask(&message::one(local, peer), |connection| {
        found = connection.info.smoothed;
        false
    });
    match asked {
        Err(error) if error.kind() == io::ErrorKind::NotFound && found.is_none() && is_there()? => Ok(None),
        asked => asked.map(|()| found),
    }
}

/// That a single connection is not found, and that nobody knows of connections at all, is the same error.
fn is_there() -> io::Result<bool> {
    read(&[SocketAddr::from(([127, 0, 0, 1], 1))]).map(|_| true)
}

/// Port and address, whether or not it is written as one of IPv6.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

/// Sends a question, and hands over each connection of the answer until `more` says that it is enough.
fn ask(question: &[u8], mut more: impl FnMut(Connection) -> bool) -> io::Result<()> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_WAIT))?;
    rustix::net::send(&socket, question, SendFlags::empty())?;
    let mut page = vec![0; PAGE_BYTES];
    loop {
        let (got, sent) =
            rustix::io::retry_on_intr(|| rustix::net::recv(&socket, page.as_mut_slice(), RecvFlags::TRUNC))?;
        if sent > got {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer is longer than is known"));
        }
        for answer in message::answers(&page[..got])? {
            match answer {
                Answer::Connection(connection) if !more(connection) => return Ok(()),
                Answer::Connection(_) | Answer::Other => {}
                Answer::End => return Ok(()),
                Answer::Error(error) => return Err(error),
            }
        }
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The address as sockets of a family have it; `None` if they cannot.
fn octets(address: IpAddr, family: AddressFamily) -> Option<([u8; 16], u8)> {
    let mut octets = [0; 16];
    match address.to_canonical() {
        IpAddr::V4(address) => {
            octets[..4].copy_from_slice(&address.octets());
            Some((octets, 32))
        }
        IpAddr::V6(_) if family == AddressFamily::INET => None,
        IpAddr::V6(address) => Some((address.octets(), 128)),
    }
}

#[cfg(test)]
mod tests;
