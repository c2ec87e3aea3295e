//! Real processes: the `skybox` command and the shop of `examples/shop`, started, asked, killed.
//!
//! Each test has a directory of its own for configuration, store and sockets, and ends every process that was started
//! in it, also when it fails.

#[path = "../../../skybox/tests/cloud/etcd.rs"]
#[expect(unreachable_pub, reason = "it is written for another test as well")]
mod etcd;
mod http;
mod peer;
mod stage;

mod certs;
mod clouds;
mod commands;
mod doctor;
mod ends;
mod explains;
mod frames;
mod garbage;
mod holds;
mod items;
mod kills;
mod mistakes;
mod names;
mod ranges;
mod restarts;
mod starts;
mod survives;
mod top;
mod waits;
mod watches;
