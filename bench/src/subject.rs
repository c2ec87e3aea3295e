//! What is measured: the traits of a subject, and the registry of all.
//!
//! To add one: write a file below this module, and name its subject in [`local_subjects`] or
//! [`remote_subjects`]. To see a new ratio in the report, add a line to `call::report::RATIOS`.

mod boxed_dyn;
mod direct;
mod mux;
mod skybox_local;
mod skybox_remote;
mod tarpc;
mod tls;
mod tonic;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;

pub(crate) use crate::call::Load;
use crate::child::Ready;
use crate::work::Echo;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Calls within one process.
pub(crate) fn local_subjects() -> &'static [&'static dyn LocalSubject] {
    &[
        &direct::Direct,
        &boxed_dyn::BoxedDyn { threads: 1 },
        &boxed_dyn::BoxedDyn { threads: 2 },
        &skybox_local::SkyboxLocal::Shared,
        &skybox_local::SkyboxLocal::SharedTwoThreads,
        &skybox_local::SkyboxLocal::Exclusive,
        &skybox_local::SkyboxLocal::Mixed,
        &skybox_local::SkyboxLocal::Interface,
    ]
}

/// Calls between two processes.
pub(crate) fn remote_subjects() -> &'static [&'static dyn RemoteSubject] {
    &[
        &mux::MuxUnix,
        &mux::MuxTcp,
        &mux::MuxTls,
        &skybox_remote::SkyboxRemote::Unix,
        &skybox_remote::SkyboxRemote::Tcp,
        &skybox_remote::SkyboxRemote::Tls,
        &tarpc::Tarpc,
        &tonic::Tonic::Plain,
        &tonic::Tonic::Tls,
    ]
}

/// The remote subject called `name`.
///
/// # Errors
/// When there is none.
pub(crate) fn remote(name: &str) -> Result<&'static dyn RemoteSubject> {
    let found = remote_subjects().iter().find(|subject| subject.name() == name);
    found.copied().with_context(|| format!("no remote subject is called {name:?}"))
}

/// A way to call within one process.
pub(crate) trait LocalSubject: Sync {
    /// The name in reports and in `--subjects`.
    fn name(&self) -> &'static str;

    /// How many threads call at once, all of them the same callee.
    fn threads(&self) -> usize {
        1
    }

    /// What the calls run on.
    fn runtime(&self) -> LocalRuntime {
        LocalRuntime::PerThread
    }

    /// Makes the callee, once in each round, on the runtime that the calls will run on (the first
    /// thread's, if each has its own).
    fn start(&self) -> BoxFuture<'static, Result<Arc<dyn LocalCalls>>>;
}

/// The runtime under a local subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalRuntime {
    /// Each thread its own, of the current-thread kind.
    PerThread,
    /// One multi-thread runtime, on which each "thread" is a task.
    #[allow(dead_code, reason = "for subjects whose callee needs a runtime of its own")]
    Shared,
}

/// A callee of one round, shared by all calling threads.
pub(crate) trait LocalCalls: Send + Sync {
    /// Makes `calls` calls, one after the other, of an async method that answers
    /// [`work::same`](crate::work::same) of its argument.
    ///
    /// The subject writes the loop itself, so that nothing of the harness lies between two calls.
    /// Arguments and results go through `black_box`.
    fn run(&self, calls: u64) -> BoxFuture<'_, Result<()>>;
}

/// A way to call another process on this machine.
pub(crate) trait RemoteSubject: Sync {
    /// The name in reports and in `--subjects`.
    fn name(&self) -> &'static str;

    /// Which address the server is given.
    fn transport(&self) -> Transport;

    /// Serves until the process is killed, in a process of its own; says `ready` with the address
    /// that [`connect`](Self::connect) will get.
    ///
    /// # Errors
    /// When it cannot listen.
    fn serve<'a>(&'a self, address: &'a str, ready: Ready) -> BoxFuture<'a, Result<()>>;

    /// Makes one connection, on the runtime of the callers.
    ///
    /// # Errors
    /// When the server cannot be reached.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Box<dyn Load>>>;
}

/// What the two processes talk over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// The address is a path in a directory that only this user may enter.
    Unix,
    /// The address is a loopback address with port 0.
    Tcp,
}

/// A connection of a remote subject; clones share it. Every client is a `Load`.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    /// Sends a message and gets it back.
    fn echo(&self, message: Echo) -> impl Future<Output = Result<Echo>> + Send;

    /// Sends a blob and gets it back.
    fn blob(&self, blob: Bytes) -> impl Future<Output = Result<Bytes>> + Send;
}
