//! What a cell is told by its node, in the environment, before it exists.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use skybox_core::{NodeName, Shards};

/// Says to a process that it is a cell, and which.
pub(crate) const CELL_ENV: &str = "SKYBOX_CELL";

/// What a process has to know to be a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Birth {
    /// The program's name.
    pub(crate) program: String,
    /// The node it belongs to.
    pub(crate) node: NodeName,
    /// Its own name on the link.
    pub(crate) name: NodeName,
    /// The node's process. A process that the cell starts inherits the variable, but has another parent.
    pub(crate) node_pid: u32,
    /// Its end of the link.
    pub(crate) descriptor: RawFd,
    /// The module that lives in it.
    pub(crate) module: String,
    /// Of a keyed one, which of the owners of each shard its node is.
    #[serde(default)]
    pub(crate) epochs: Shards,
}

/// A process that is a cell has no cells of its own, whatever it starts.
static IS_CELL: AtomicBool = AtomicBool::new(false);

/// Whether this process is a cell.
pub(crate) fn is_cell() -> bool {
    IS_CELL.load(Ordering::Acquire)
}

impl Birth {
    /// In a cell, what it is told, and its end of the link; once in the life of a process.
    pub(crate) fn take() -> Option<(Birth, OwnedFd)> {
        let told = std::env::var(CELL_ENV).ok()?;
        let birth: Birth = serde_json::from_str(&told).ok()?;
        // It was asked for before `exec`, which forgets it where the program's file gives rights (`setcap`).
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).ok()?;
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if parent != Some(birth.node_pid) || IS_CELL.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: the node has left this one descriptor open across `exec` for whoever reads the variable first, which
        // is here and once: nobody else knows its number, and it was open before any code of this program ran.
        let link = unsafe { OwnedFd::from_raw_fd(birth.descriptor) };
        // What the cell starts must not hold the link open.
        rustix::io::fcntl_setfd(&link, rustix::io::FdFlags::CLOEXEC).ok()?;
        Some((birth, link))
    }
}
