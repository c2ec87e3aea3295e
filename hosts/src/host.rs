//! One host.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// One of some [`Hosts`](crate::Hosts); clones are the same host. It is gone when those are dropped.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    index: usize,
    address: Ipv4Addr,
    namespace: Namespace,
    directory: PathBuf,
}

impl Host {
    pub(crate) fn new(index: usize, address: Ipv4Addr, namespace: Namespace, files: &Path) -> Result<Host> {
        let directory = files.join(format!("host-{index}"));
        std::fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        Ok(Host { inner: Arc::new(Inner { index, address, namespace, directory }) })
    }

    /// Which it is, counted from 0.
    pub fn index(&self) -> usize {
        self.inner.index
    }

    /// Its address in the network of these hosts, which is a /24.
    pub fn address(&self) -> Ipv4Addr {
        self.inner.address
    }

    /// What it calls itself: `host-0` and so on.
    pub fn name(&self) -> String {
        format!("host-{}", self.inner.index)
    }

    /// The name of its namespace, for `ip netns exec`.
    pub fn namespace(&self) -> &str {
        self.inner.namespace.name()
    }

    /// A directory for its files, which is removed with it. The rest of the file system it shares with all.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// A program that will run in it.
    ///
    /// It sees the network of this host alone, is told this host's name by `gethostname`, and finds its directory in
    /// `XDG_RUNTIME_DIR`. It runs until it ends, or the hosts are dropped: dropping a `Child` ends nothing.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.inner.namespace.command_as(program, Some(self.name()));
        command.env("XDG_RUNTIME_DIR", self.directory());
        command
    }

    /// Runs code of this process in its network, on a thread that is made for it, and returns when it has ended.
    /// Sockets that it opens stay in that network wherever they are used later.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered.
    ///
    /// # Panics
    ///
    /// If the code does.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.inner.namespace.enter(work)
    }
}
