//! Who this process is: which program, which node, which life.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skybox_core::{Incarnation, NodeName};

use crate::cell::{self, Birth};
use crate::conn::Address;
use crate::control::{Hello, ModuleDecl, NODE_ENV, PARENT_ENV};

/// Who this process is.
pub(super) struct Identity {
    pub(super) program: String,
    pub(super) build: String,
    pub(super) node: NodeName,
    pub(super) incarnation: Incarnation,
    /// The parent's socket.
    pub(super) parent: Option<PathBuf>,
    /// Whether this is the process's main App.
    pub(super) main: bool,
    /// Whether instances may live in cells. Those of an App that is one of several may not: a cell runs `main`, and
    /// what that starts is the main App.
    pub(super) may_have_cells: bool,
    /// In a cell, the node that it is a cell of.
    pub(super) cell_of: Option<NodeName>,
}

impl Identity {
    pub(super) fn of_this_process(main: bool, joined: Option<(PathBuf, NodeName)>) -> Identity {
        let may_have_cells = main && joined.is_none() && !cell::is_cell();
        let (joined, name) = joined.unzip();
        let parent = joined.or_else(|| std::env::var_os(PARENT_ENV).map(PathBuf::from).filter(|_| main));
        let given = || std::env::var(NODE_ENV).ok().filter(|_| parent.is_some());
        let node = name.map(|name| name.to_string()).or_else(given);
        Identity {
            program: program_name(),
            build: std::env::var("SKYBOX_VERSION").unwrap_or_else(|_| "dev".to_owned()),
            node: NodeName::new(node.unwrap_or_else(|| "alone".to_owned())),
            incarnation: new_incarnation(),
            parent,
            main,
            may_have_cells,
            cell_of: None,
        }
    }

    /// A cell's.
    pub(super) fn of_cell(birth: &Birth) -> Identity {
        Identity {
            program: birth.program.clone(),
            node: birth.name.clone(),
            parent: None,
            may_have_cells: false,
            cell_of: Some(birth.node.clone()),
            ..Identity::of_this_process(false, None)
        }
    }

    /// Where this node listens to its own user's processes: beside its parent's socket, or, for operators alone,
    /// without a file.
    pub(super) fn address(&self) -> Address {
        match self.parent.as_deref().and_then(Path::parent) {
            Some(directory) => Address::Unix(directory.join(format!("{}.sock", self.node))),
            None => {
                let user = rustix::process::geteuid().as_raw();
                Address::Abstract(format!("skybox/{user}/{}/{}", self.program, std::process::id()))
            }
        }
    }

    pub(super) fn hello(&self, address: &Address, modules: Vec<ModuleDecl>, stop_wait: Duration) -> Hello {
        Hello {
            node: self.node.clone(),
            pid: std::process::id(),
            incarnation: self.incarnation,
            program: self.program.clone(),
            address: address.to_string(),
            modules,
            stop_wait_ms: stop_wait.as_millis() as u64,
        }
    }
}

/// A name for a node that nobody has given one: the machine's, and its process.
pub(super) fn own_name() -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A host name may have more than a label.
    let machine = machine.split('.').next().filter(|name| !name.is_empty()).unwrap_or("node").to_lowercase();
    format!("{machine}-{}", std::process::id())
}

/// The program's name: `SKYBOX_PROGRAM`, or that of its file.
pub fn program_name() -> String {
    std::env::var("SKYBOX_PROGRAM").unwrap_or_else(|_| {
        let file = std::env::current_exe().ok();
        let stem =
            file.as_deref().and_then(|path| path.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
        stem.unwrap_or_else(|| "program".to_owned())
    })
}

/// A number that no other life of any node has: from the time and the process.
fn new_incarnation() -> Incarnation {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.as_nanos() as u64);
    let salt = u64::from(std::process::id()) << 32 | COUNT.fetch_add(1, Ordering::Relaxed);
    // Two nodes that start together differ in a few bits of both; the mix (splitmix64's) makes that show in every bit,
    // also in the low ones that stand for a node in the ids of its instances.
    let mut mixed = now ^ salt.rotate_left(17);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Incarnation(mixed ^ (mixed >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_differ_in_what_people_see_of_them() {
        let lives: std::collections::BTreeSet<u32> = (0..1000).map(|_| new_incarnation().0 as u32).collect();
        // Two of a thousand are equal once in ten thousand runs.
        assert!(lives.len() >= 999, "{}", lives.len());
    }
}
