//! Hosts as their users see them: by sockets, servers and what is left.

mod delays;
mod etcd;
mod faults;
mod leftovers;
mod postgres;
mod talk;
