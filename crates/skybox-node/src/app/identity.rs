//! Who this process is: which program, which node, which life.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use skybox_core::{Incarnation, NodeName};

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
}

impl Identity {
    pub(super) fn of_this_process(main: bool, joined: Option<(PathBuf, NodeName)>) -> Identity {
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

    pub(super) fn hello(&self, address: &Address, modules: Vec<ModuleDecl>) -> Hello {
        Hello {
            node: self.node.clone(),
            pid: std::process::id(),
            incarnation: self.incarnation,
            program: self.program.clone(),
            address: address.to_string(),
            modules,
        }
    }
}

/// The program's name: `SKYBOX_PROGRAM`, or that of its file.
pub(crate) fn program_name() -> String {
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
    Incarnation(now.rotate_left(20) ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
