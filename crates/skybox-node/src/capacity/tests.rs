//! What the files of real machines say, and what this one says of a group that is made here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::cell::LimitedBy;
use crate::cgroup::{Mounts, hands_down};

/// The files of a machine: 8 cores and 16 GiB, without groups.
fn machine() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("/sys/devices/system/cpu/online", "0-7\n"),
        (
            "/proc/self/status",
            "Name:\tshop\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\nMems_allowed_list:\t0\n",
        ),
        ("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n"),
    ])
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &str) {
    let mut machine = machine();
    machine.extend(files.iter().copied());
    let read =
        |path: &Path| machine.get(path.to_str().expect("a path of ours")).map(|text| (*text).to_owned());
    assert_eq!(of(&read, 1).to_string(), expected);
}

#[test]
fn the_whole_machine() {
    check(&[], "8 cores (the machine), 16384 MiB (the machine)");
    let some = ("/proc/self/status", "Cpus_allowed_list:\t1-2,6-15\n");
    check(&[some], "4 cores (the CPUs that it may run on), 16384 MiB (the machine)");
}

#[test]
fn nothing_is_told() {
    let none = of(&|_| None, 3);
    assert_eq!(none.to_string(), "3 cores (the machine), memory unknown");
    assert_eq!(none.memory_bytes, u64::MAX);
}

/// `docker run --cpus 1.5 --memory 512m`, version 2, with a namespace of its own as is usual.
#[test]
fn docker_v2() {
    check(
        &[
            ("/proc/self/cgroup", "0::/\n"),
            (
                "/proc/self/mountinfo",
                "1010 1009 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot\n",
            ),
            ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/memory.max", "536870912\n"),
        ],
        "1.5 cores (cgroup /: cpu.max), 512 MiB (cgroup /: memory.max)",
    );
}

/// A pod of Kubernetes whose container sees the groups of its host: the container has a limit of cores, the pod one of
/// memory, and the slice of all pods more of both.
#[test]
fn kubernetes_v2() {
    const POD: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f2e.slice";
    let own = format!("0::{POD}/cri-containerd-9ab4.scope\n");
    let of = |group: &str| ["cpu", "memory"].map(|what| format!("/sys/fs/cgroup{group}/{what}.max"));
    let [container_cpu, container_memory] = of(&format!("{POD}/cri-containerd-9ab4.scope"));
    let [pod_cpu, pod_memory] = of(POD);
    let [slice_cpu, slice_memory] = of("/kubepods.slice");
    check(
        &[
            ("/proc/self/cgroup", &own),
            ("/proc/self/mountinfo", "812 811 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"),
            (&container_cpu, "250000 100000\n"),
            (&container_memory, "max\n"),
            (&pod_cpu, "400000 100000\n"),
            (&pod_memory, "1073741824\n"),
            (&slice_cpu, "max 100000\n"),
            (&slice_memory, "15000000000\n"),
        ],
        &format!(
            "2.5 cores (cgroup {POD}/cri-containerd-9ab4.scope: cpu.max), 1024 MiB (cgroup {POD}: memory.max)"
        ),
    );
}

/// A unit of systemd with `CPUQuota=50%` and `MemoryMax=256M` in its slice, on a machine with both versions: the
/// controllers are in version 1, and version 2 has groups without any.
#[test]
fn systemd_v1_hybrid() {
    check(
        &[
            (
                "/proc/self/cgroup",
                "12:pids:/system.slice/shop.service\n8:memory:/system.slice/shop.service\n\
                 3:cpu,cpuacct:/system.slice/shop.service\n1:name=systemd:/system.slice/shop.service\n\
                 0::/system.slice/shop.service\n",
            ),
            (
                "/proc/self/mountinfo",
                "25 23 0:22 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755\n\
                 26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate\n\
                 27 25 0:24 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd\n\
                 30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
                 35 25 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:20 - cgroup cgroup rw,memory\n",
            ),
            ("/sys/fs/cgroup/cpu,cpuacct/system.slice/shop.service/cpu.cfs_quota_us", "50000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/system.slice/shop.service/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/system.slice/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu,cpuacct/system.slice/cpu.cfs_period_us", "100000\n"),
            (
                "/sys/fs/cgroup/memory/system.slice/shop.service/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("/sys/fs/cgroup/memory/system.slice/memory.limit_in_bytes", "268435456\n"),
        ],
        "0.5 cores (cgroup /system.slice/shop.service: cpu.cfs_quota_us), \
         256 MiB (cgroup /system.slice: memory.limit_in_bytes)",
    );
}

/// A container of version 1 sees no group above its own, but what these allow.
#[test]
fn docker_v1_below_a_limit_that_is_not_seen() {
    check(
        &[
            ("/proc/self/cgroup", "4:memory:/docker/f00\n3:cpu,cpuacct:/docker/f00\n"),
            (
                "/proc/self/mountinfo",
                "40 39 0:27 /docker/f00 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
                 41 39 0:32 /docker/f00 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/memory.stat", "cache 1\nhierarchical_memory_limit 402653184\n"),
        ],
        "8 cores (the machine), 384 MiB (cgroup /docker/f00: hierarchical_memory_limit)",
    );
}

/// Set in the process that enters groups: where it writes that it belongs there, with `:` between.
const ENTER: &str = "SKYBOX_TEST_ENTER";
const TEST: &str = "capacity::tests::a_group_that_is_made_here";

/// A group with one more below it, until it is dropped.
struct Nested {
    outer: PathBuf,
    inner: PathBuf,
}

impl Nested {
    fn below(place: &Path) -> Nested {
        let outer = place.join(format!("skybox-test-capacity-{}", std::process::id()));
        let nested = Nested { inner: outer.join("inner"), outer };
        std::fs::create_dir(&nested.outer).expect("a group can be made here");
        nested
    }

    fn limit(&self, file: &str, value: &str) {
        std::fs::write(self.outer.join(file), value).expect("the group takes a limit");
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        for group in [&self.inner, &self.outer] {
            // Whoever was in it is waited for, but the kernel takes a moment to see that it is empty.
            while let Err(error) = std::fs::remove_dir(group)
                && error.kind() == std::io::ErrorKind::ResourceBusy
            {
                std::thread::yield_now();
            }
        }
    }
}

/// What this very test prints, run so.
fn said_by(command: &mut Command) -> String {
    let run = command.output().expect("it can be run");
    let (said, complained) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{complained}");
    let line = said.lines().find_map(|line| line.split_once("capacity is ").map(|(_, what)| what.to_owned()));
    line.unwrap_or_else(|| panic!("it says nothing of its capacity: {said}\n{complained}"))
}

/// A process enters a group below one that has limits, and says what it may use.
#[test]
fn a_group_that_is_made_here() {
    if let Some(groups) = std::env::var_os(ENTER) {
        for group in std::env::split_paths(&groups).filter(|group| group.is_absolute()) {
            std::fs::write(group.join("cgroup.procs"), "0").expect("this process enters the group");
        }
        return println!("\ncapacity is {}", of_this_process());
    }
    let mounts = Mounts::of_this_process();
    let places = [Controller::Cpu, Controller::Memory].map(|of| mounts.place_of(of));
    let [Some((cpu_place, cpu_by)), Some((memory_place, memory_by))] = places else {
        assert!(!rustix::process::geteuid().is_root(), "no groups can be made here: {mounts:?}");
        return eprintln!("nothing is tested: {mounts:?}, and only root can change that");
    };
    let mut groups = vec![Nested::below(cpu_place)];
    if memory_place != cpu_place {
        groups.push(Nested::below(memory_place));
    }
    let (cpu, memory) = (&groups[0], groups.last().expect("there is one"));
    let cpu_file = if cpu_by == LimitedBy::CgroupV2 {
        cpu.limit("cpu.max", "35000 100000");
        "cpu.max"
    } else {
        cpu.limit("cpu.cfs_quota_us", "35000");
        "cpu.cfs_quota_us"
    };
    let memory_file = if memory_by == LimitedBy::CgroupV2 { "memory.max" } else { "memory.limit_in_bytes" };
    memory.limit(memory_file, &(192u64 << 20).to_string());
    for group in &groups {
        // In version 2 one group has processes or hands controllers down.
        hands_down(&group.outer, Controller::Cpu);
        hands_down(&group.outer, Controller::Memory);
        std::fs::create_dir(&group.inner).expect("a group below it");
    }
    let entered = std::env::join_paths(groups.iter().map(|group| &group.inner)).expect("no `:` in them");
    let program = std::env::current_exe().expect("it runs");
    let arguments = ["--exact", TEST, "--nocapture"];
    let limited = said_by(Command::new(&program).args(arguments).env(ENTER, entered));

    let name = format!("skybox-test-capacity-{}", std::process::id());
    assert!(limited.starts_with("0.35 cores (cgroup /"), "{limited}");
    assert!(limited.contains(&format!("{name}: {cpu_file}), 192 MiB (cgroup /")), "{limited}");
    assert!(limited.ends_with(&format!("{name}: {memory_file})")), "{limited}");

    // On one CPU, unless this machine has no other, or what it has is less than one.
    let mut one = Command::new("taskset");
    one.args(["--cpu-list", "0"]).arg(program).args(arguments).env(ENTER, "");
    let (one, all) = (said_by(&mut one), of_this_process());
    if all.cpu_milli > 1000 {
        assert!(one.starts_with("1 core (the CPUs that it may run on)"), "{one}, and not as before: {all}");
    } else {
        assert_eq!(one, all.to_string());
    }
}
