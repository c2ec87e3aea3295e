//! Control groups: which of them this process is in, and where others can be made, found in what the kernel says of it.

use std::path::{Path, PathBuf};

use crate::cell::LimitedBy;

/// What a group limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
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

/// What the kernel says of this process: its groups, and where groups are mounted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// `/proc/self/mountinfo`.
    pub(crate) mounted: String,
    /// `/proc/self/cgroup`.
    pub(crate) own: String,
}

impl Told {
    pub(crate) fn of_this_process() -> Told {
        Told::by(&|path| std::fs::read_to_string(path).ok())
    }

    pub(crate) fn by(read: &dyn Fn(&Path) -> Option<String>) -> Told {
        let read = |path| read(Path::new(path)).unwrap_or_default();
        Told { mounted: read("/proc/self/mountinfo"), own: read("/proc/self/cgroup") }
    }

    /// The group that this process is in: that of a controller of version 1, or that of version 2; if it is mounted.
    pub(crate) fn group(&self, controller: Option<Controller>) -> Option<Group> {
        let is_it = |controllers: &str| match controller {
            None => controllers.is_empty(),
            Some(of) => controllers.split(',').any(|name| name == of.name()),
        };
        // `4:memory:/path`; of version 2 `0::/path`.
        let own = self.own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
            is_it(controllers).then_some(group)
        })?;
        // `… root place options - kind source options`.
        let groups = self.mounted.lines().filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(3);
            let (root, place) = (mount.next()?, mount.next()?);
            let mut kind = kind.split(' ');
            let (kind, options) = (kind.next()?, kind.nth(1)?);
            let is_wanted = match controller {
                None => kind == "cgroup2",
                Some(of) => kind == "cgroup" && options.split(',').any(|option| option == of.name()),
            };
            if is_wanted { Group::seen(&unescaped(root), &unescaped(place), own) } else { None }
        });
        // One whose own directory can be told says the most; else the first is as good as any.
        let mut groups: Vec<_> = groups.collect();
        groups.sort_by_key(|group| group.below.is_none());
        groups.into_iter().next()
    }
}

/// A group that this process is in, as it is seen through one mount: with those above it up to the one that is mounted,
/// which need not be the root of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Where the highest is mounted, and what the kernel calls it.
    place: PathBuf,
    root: String,
    /// The names from there down to the process's own, if the kernel tells them.
    below: Option<Vec<String>>,
}

impl Group {
    /// None if the group is not below what is mounted there, as far as can be told.
    fn seen(root: &str, place: &str, own: &str) -> Option<Group> {
        let (above_root, root_names) = steps(root)?;
        let (above_own, own_names) = steps(own)?;
        let below = if above_root == above_own {
            Some(own_names.strip_prefix(root_names.as_slice())?.to_vec())
        } else if above_root > above_own && root_names.is_empty() {
            // What is mounted reaches higher than the process's namespace, which has no names for what is above it.
            None
        } else {
            return None;
        };
        Some(Group { place: place.into(), root: root.to_owned(), below })
    }

    /// The directory of the process's own group.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        self.below.as_ref().map(|below| self.place.join(below.join("/")))
    }

    /// The process's own group and all above it that are seen, from the lowest up: what the kernel calls each, and its
    /// directory.
    pub(crate) fn upwards(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let below = self.below.as_deref().unwrap_or_default();
        (0..=below.len()).rev().map(|depth| {
            let names = below[..depth].join("/");
            let path = match (self.root.trim_end_matches('/'), names.as_str()) {
                ("", "") => "/".to_owned(),
                (root, "") => root.to_owned(),
                (root, names) => format!("{root}/{names}"),
            };
            (path, self.place.join(names))
        })
    }
}

/// `/../../a/b`: how far above the root of the process's namespace it begins, and the names from there.
fn steps(path: &str) -> Option<(usize, Vec<String>)> {
    let names = path.split('/').filter(|name| !name.is_empty());
    let above = names.clone().take_while(|name| *name == "..").count();
    let names: Vec<_> = names.skip(above).map(str::to_owned).collect();
    (!names.iter().any(|name| name == "..")).then_some((above, names))
}

/// The kernel writes what would end a word, such as a space, as `\040`.
fn unescaped(word: &str) -> String {
    let mut text = Vec::new();
    let mut rest = word.as_bytes();
    while let [byte, after @ ..] = rest {
        let code = after.get(..3).filter(|_| *byte == b'\\');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        text.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The groups that this process is in, as directories below which it may make others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    memory: Option<(PathBuf, LimitedBy)>,
    cpu: Option<(PathBuf, LimitedBy)>,
}

impl Mounts {
    pub(crate) fn of_this_process() -> Mounts {
        let told = Told::of_this_process();
        let directory = |of| told.group(of)?.directory();
        let place = |of: Controller| {
            let unified = directory(None).filter(|directory| hands_down(directory, of));
            let split = || directory(Some(of)).filter(|directory| directory.is_dir());
            unified
                .map(|directory| (directory, LimitedBy::CgroupV2))
                .or_else(|| split().map(|directory| (directory, LimitedBy::CgroupV1)))
        };
        Mounts { memory: place(Controller::Memory), cpu: place(Controller::Cpu) }
    }

    pub(crate) fn place_of(&self, controller: Controller) -> Option<(&Path, LimitedBy)> {
        let place = match controller {
            Controller::Memory => &self.memory,
            Controller::Cpu => &self.cpu,
        };
        place.as_ref().map(|(directory, by)| (directory.as_path(), *by))
    }
}

/// Whether groups below this one of version 2 have the controller, or can be given it. The kernel says no where this one
/// has processes itself and is not the root, unless whoever set it up has prepared it.
pub(crate) fn hands_down(group: &Path, controller: Controller) -> bool {
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

    fn group(mounted: &str, own: &str, controller: Option<Controller>) -> Option<Group> {
        Told { mounted: mounted.to_owned(), own: own.to_owned() }.group(controller)
    }

    #[track_caller]
    fn check(mounted: &str, own: &str, controller: Option<Controller>, expected: Option<&str>) {
        let directory = group(mounted, own, controller).and_then(|group| group.directory());
        assert_eq!(directory, expected.map(PathBuf::from));
    }

    /// What is seen of them, as `path=directory`.
    #[track_caller]
    fn check_upwards(mounted: &str, own: &str, expected: &[&str]) {
        let group = group(mounted, own, None).expect("it is seen");
        let seen: Vec<_> =
            group.upwards().map(|(path, directory)| format!("{path}={}", directory.display())).collect();
        assert_eq!(seen, expected);
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
        check(CONTAINER, "0::/docker/f001\n", None, None);
        check("", "", None, None);
    }

    #[test]
    fn those_above_are_seen_up_to_what_is_mounted() {
        let mounted = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        check_upwards(
            mounted,
            "0::/system.slice/shop.service\n",
            &[
                "/system.slice/shop.service=/sys/fs/cgroup/system.slice/shop.service",
                "/system.slice=/sys/fs/cgroup/system.slice",
                "/=/sys/fs/cgroup/",
            ],
        );
        let app = ["/docker/f00/app=/sys/fs/cgroup/app", "/docker/f00=/sys/fs/cgroup/"];
        check_upwards(CONTAINER, "0::/docker/f00/app\n", &app);
        let odd = "30 23 0:26 / /odd\\040place\\134 rw - cgroup2 cgroup2 rw\n";
        check_upwards(odd, "0::/\n", &["/=/odd place\\/"]);
    }

    #[test]
    fn namespaces_hide_the_names_above_them() {
        let own = "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let host = "31 23 0:26 /../.. /host/cgroup ro - cgroup2 cgroup rw\n";
        // The container's own groups, and those of its host mounted beside them.
        check_upwards(own, "0::/\n", &["/=/sys/fs/cgroup/"]);
        check_upwards(
            &format!("{host}{own}"),
            "0::/app\n",
            &["/app=/sys/fs/cgroup/app", "/=/sys/fs/cgroup/"],
        );
        // The host's alone: which of them is the process's own is not told, but that it is below the highest.
        check_upwards(host, "0::/\n", &["/../..=/host/cgroup/"]);
        check(host, "0::/\n", None, None);
        // A process that was moved out of the namespace that it sees from.
        check_upwards(host, "0::/../../a\n", &["/../../a=/host/cgroup/a", "/../..=/host/cgroup/"]);
        assert_eq!(group(own, "0::/../a\n", None), None);
        let aside = "31 23 0:26 /../b /b ro - cgroup2 cgroup rw\n";
        assert_eq!(group(aside, "0::/\n", None), None);
    }
}
