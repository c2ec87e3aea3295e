//! The decisions of Skybox as pure functions: they do no I/O, read no clock and draw no randomness.
//!
//! - [`names`]: which instance has a name.
//! - [`place`]: which node of a cloud runs what.
//! - [`restart`]: whether and when an ended instance is started again.
//! - [`spread`]: which node runs what, where nodes are listed by hand.
//! - [`subset`]: which of many replicas a node calls.
//! - [`supervise`]: what the supervisor of spawned instances does when one has ended.
//!
//! Whoever asks hands in the facts and the time; the same facts always give the same answer.

pub mod names;
pub mod place;
pub mod restart;
pub mod spread;
pub mod subset;
pub mod supervise;
