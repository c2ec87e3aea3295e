//! A control group with little memory for the node, where this machine has groups.

use std::path::{Path, PathBuf};

use skybox::cloud::testing::Nodes;

/// Names the group that a node is to enter.
const GROUP_ENV: &str = "SKYBOX_TEST_GROUP";
/// What a node and its cells may have together.
pub(crate) const MEMORY_MIB: u64 = 512;
/// The same of one with a crowd, and a hundred cells.
pub(crate) const CROWD_MEMORY_MIB: u64 = 1024;

/// A group, until it is dropped.
pub(crate) struct Group {
    path: Option<PathBuf>,
    pub(crate) by: &'static str,
    pub(crate) memory_mib: u64,
}

impl Group {
    /// One below that of this process; none in the nodes and cells, which run the same code and are in it.
    pub(crate) fn new(memory_mib: u64) -> Group {
        if std::env::var_os(GROUP_ENV).is_some() {
            return Group { path: None, by: "nobody", memory_mib };
        }
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let name = format!("skybox-test-{}", std::process::id());
        let place = |line: &str| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let (root, limit, by) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max", "cgroup v2"),
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "cgroup v1"),
                _ => return None,
            };
            let group = Path::new(root).join(path.trim_start_matches('/')).join(&name);
            std::fs::create_dir(&group).ok()?;
            match std::fs::write(group.join(limit), (memory_mib << 20).to_string()) {
                Ok(()) => Some(Group { path: Some(group), by, memory_mib }),
                Err(_) => {
                    drop(std::fs::remove_dir(&group));
                    None
                }
            }
        };
        own.lines().find_map(place).unwrap_or(Group { path: None, by: "nobody", memory_mib })
    }

    pub(crate) fn is_in_force(&self) -> bool {
        self.path.is_some()
    }

    /// Has the node enter it.
    pub(crate) fn of(&self, nodes: Nodes) -> Nodes {
        match &self.path {
            Some(path) => nodes.env(GROUP_ENV, &path.to_string_lossy()),
            None => nodes,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What was in it has ended a moment ago. A node that was killed leaves the groups of its cells.
            for _ in 0..1000 {
                for below in std::fs::read_dir(path).into_iter().flatten().flatten() {
                    drop(std::fs::remove_dir(below.path()));
                }
                match std::fs::remove_dir(path) {
                    Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                        // Sleeps because the kernel tells nobody when a group is empty.
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                    _ => return,
                }
            }
        }
    }
}

/// In a node, before it has started any cell.
pub(crate) fn enter() {
    if let Some(group) = std::env::var_os(GROUP_ENV)
        && std::env::var_os("SKYBOX_CELL").is_none()
    {
        std::fs::write(Path::new(&group).join("cgroup.procs"), "0").expect("the node enters its group");
    }
}
