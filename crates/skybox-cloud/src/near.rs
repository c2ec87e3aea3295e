//! How far away resources are, as measured from this host.
//!
//! [`Prober`] keeps figures of resources, `[resources.NAME]` in `skybox.toml`. One node of a host has one: hosts are
//! compared, and others on the same host would measure the same.
//!
//! Connections that the program has to a resource and uses tell the most, and cost the resource nothing: the kernel has
//! measured them. Where there are none, a probe asks ([`Probe`]). Neither takes part in any call.
//!
//! A resource that cannot be measured is [`Unknown`], with the reason: it is neither near nor far.

mod kernel;
mod probe;
mod prober;
mod window;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use probe::Wait;
pub use prober::{Pace, Prober, RESOURCES_MAX, Resource, TooMany};
pub use skybox_node::config::{Endpoint, Probe};
pub use window::Method;

/// How far away a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// There and back: the lower quartile of the samples.
    pub round_trip: Duration,
    /// How the samples were taken.
    pub method: Method,
    /// How many there are: 1 to 16.
    pub samples: usize,
    /// Since the last one.
    pub age: Duration,
}

/// Why it is not known how far away a resource is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unknown {
    /// Nothing has been measured yet. Wait a moment.
    #[error("nothing has been measured yet")]
    NotYet,
    /// No resource of this name is measured.
    #[error("there is no resource of this name")]
    NoResource,
    /// Its address is that of a file, names several hosts, or has no port.
    #[error("its address names no host and port, so there is no distance to measure")]
    NoEndpoint,
    /// Its name has no address, or whoever knows does not answer.
    #[error("`{name}` could not be resolved: {why}")]
    Unresolved {
        /// Of which host.
        name: Arc<str>,
        /// What the system says.
        why: Arc<str>,
    },
    /// Nobody listens there.
    #[error("{address} refuses connections")]
    Refused {
        /// Where.
        address: SocketAddr,
    },
    /// No connection came about: a machine that is off, or a firewall that drops.
    #[error("{address} has not answered to an attempt to connect within {after:?}")]
    NotConnected {
        /// Where.
        address: SocketAddr,
        /// After how long that was given up.
        after: Duration,
    },
    /// It has accepted a connection, but did not answer over it: a proxy without a server, or a server that is stuck.
    #[error("{address} has accepted a connection, but not answered over it within {after:?}")]
    NoAnswer {
        /// Where.
        address: SocketAddr,
        /// After how long that was given up.
        after: Duration,
    },
    /// It has closed the connection instead of answering.
    #[error("{address} has closed the connection instead of answering")]
    Closed {
        /// Where.
        address: SocketAddr,
    },
    /// What it answered, Postgres does not say.
    #[error("what answers at {address} is not Postgres; `probe = \"tcp\"` asks only to be connected to")]
    NotPostgres {
        /// Where.
        address: SocketAddr,
    },
    /// Anything else, such as a network without a way there.
    #[error("{address} cannot be reached: {why}")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        why: Arc<str>,
    },
    /// With `probe = "none"`: the program has no connection to it that was used in the last 5 s.
    #[error("this program has no connection to it that is in use, and `probe = \"none\"` asks nothing")]
    NoConnections,
    /// With `probe = "none"`: the kernel does not tell.
    #[error("the kernel does not tell what it has measured ({why}), and `probe = \"none\"` asks nothing")]
    Kernel {
        /// What it says instead.
        why: Arc<str>,
    },
}
