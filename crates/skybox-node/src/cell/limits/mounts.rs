//! Where control groups can be made: found in what the kernel says of this process.

use std::path::{Path, PathBuf};

use super::LimitedBy;

/// What a group limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Cpu,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Cpu => "cpu",
        }
    }
}

/// The groups that this process is in, as directories below which it may make others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    memory: Option<(PathBuf, LimitedBy)>,
    cpu: Option<(PathBuf, LimitedBy)>,
}

impl Mounts {
    pub(super) fn of_this_process() -> Mounts {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (mounted, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        let place = |of: Controller| {
            let unified = directory(&mounted, &own, None).filter(|directory| hands_down(directory, of));
            let split = || directory(&mounted, &own, Some(of)).filter(|directory| directory.is_dir());
            unified
                .map(|directory| (directory, LimitedBy::CgroupV2))
                .or_else(|| split().map(|directory| (directory, LimitedBy::CgroupV1)))
        };
        Mounts { memory: place(Controller::Memory), cpu: place(Controller::Cpu) }
    }

    pub(super) fn place_of(&self, controller: Controller) -> Option<(&Path, LimitedBy)> {
        let place = match controller {
            Controller::Memory => &self.memory,
            Controller::Cpu => &self.cpu,
        };
        place.as_ref().map(|(directory, by)| (directory.as_path(), *by))
    }
}

/// The directory of this process's own group: that of a controller of version 1, or that of version 2.
fn directory(mounted: &str, own: &str, controller: Option<Controller>) -> Option<PathBuf> {
    let is_it = |controllers: &str| match controller {
        None => controllers.is_empty(),
        Some(of) => controllers.split(',').any(|name| name == of.name()),
    };
    // `4:memory:/path`; of version 2 `0::/path`.
    let group = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        is_it(controllers).then_some(group)
    })?;
    // `… root place options - kind source options`.
    mounted.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, place) = (mount.next()?, mount.next()?);
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let is_wanted = match controller {
            None => kind == "cgroup2",
            Some(of) => kind == "cgroup" && options.split(',').any(|option| option == of.name()),
        };
        if !is_wanted {
            return None;
        }
        let below = if root == "/" { group } else { group.strip_prefix(root)? };
        Some(Path::new(place).join(below.trim_start_matches('/')))
    })
}

/// Whether groups below this one of version 2 have the controller, or can be given it. The kernel says no where this one
/// has processes itself and is not the root, unless whoever set it up has prepared it.
fn hands_down(group: &Path, controller: Controller) -> bool {
    let has = |file: &str| {
        let names = std::fs::read_to_string(group.join(file)).unwrap_or_default();
        names.split_whitespace().any(|name| name == controller.name())
    };
    let give = || std::fs::write(group.join("cgroup.subtree_control"), format!("+{}", controller.name()));
    has("cgroup.controllers") && (has("cgroup.subtree_control") || give().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const CONTAINER: &str =
        "40 39 0:26 /docker/f00 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n";

    #[track_caller]
    fn check(mounted: &str, own: &str, controller: Option<Controller>, expected: Option<&str>) {
        assert_eq!(directory(mounted, own, controller), expected.map(PathBuf::from));
    }

    #[test]
    fn the_own_group_is_found_in_each_layout() {
        let own = "9:memory:/shop/node\n2:cpuacct,cpu:/\n0::/user.slice\n";
        check(HYBRID, own, Some(Controller::Memory), Some("/sys/fs/cgroup/memory/shop/node"));
        check(HYBRID, own, Some(Controller::Cpu), Some("/sys/fs/cgroup/cpu,cpuacct/"));
        check(HYBRID, own, None, Some("/sys/fs/cgroup/unified/user.slice"));
        let own = "0::/docker/f00/app\n";
        check(CONTAINER, own, None, Some("/sys/fs/cgroup/app"));
        check(CONTAINER, own, Some(Controller::Memory), None);
        // Of a group that is not mounted here nothing can be said.
        check(CONTAINER, "0::/elsewhere\n", None, None);
        check("", "", None, None);
    }
}
