//! Hosts for tests, on one machine: each is a network namespace with an address, a link and a name of its own, and
//! programs that run in it see no other network.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use skybox_hosts::{EtcdCluster, Hosts};
//!
//! # fn main() -> anyhow::Result<()> {
//! let hosts = Hosts::make(5)?;
//! let etcd = EtcdCluster::start(&hosts, [0, 1, 2])?;
//! let node = hosts.host(3).command("gallery").env("SKYBOX_STORE", etcd.endpoints()).spawn()?;
//! hosts.delay(4, Duration::from_millis(10))?; // 20 ms to and fro
//! hosts.cut(3)?; // silence, as in a real partition
//! hosts.heal(3)?;
//! # drop(node);
//! # Ok(())
//! # }
//! ```
//!
//! # How it is built
//!
//! The links of the hosts end in a bridge, which has a namespace of its own: the machine's firewall does not see what
//! they say to each other, and everything goes when the namespaces go. Only one link leads out, to the machine that
//! runs the test: it has an address in the same network (`Hosts::machine`), so the test can look at any host while
//! hosts cannot see each other. No fault concerns that link.
//!
//! - **Cuts and drops** are rules of nftables in the bridge. A program is told nothing of them: there is no refusal, no
//!   reset and no "unreachable", since the packets that resolve addresses still pass.
//! - **Delays** are made by a relay between two TAP devices: it takes frames off the link, keeps them, and puts them
//!   back. So the kernel measures them as distance, which it would not with a relay of TCP connections; and netem, which
//!   does that too, is missing in many kernels.
//!
//! # Who cleans up
//!
//! `Hosts` does when it is dropped, also in a panic: every process in a host is killed, and namespaces, links and files
//! are removed. What a run leaves that was killed itself, the next run removes before it makes anything (`slot.rs` says
//! how it knows).
//!
//! It takes Linux, root, and iproute2, nftables, util-linux and the servers from Debian's packages.

mod etcd;
mod faults;
mod host;
mod hosts;
mod namespace;
mod postgres;
mod relay;
mod run;
mod server;
mod slot;

pub use etcd::EtcdCluster;
pub use host::Host;
pub use hosts::Hosts;
pub use postgres::Postgres;
