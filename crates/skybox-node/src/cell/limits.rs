//! How much memory and how many cores a cell may have, and who sees to it.
//!
//! A control group of the cell's own, below the one that its node is in: version 2 where its controllers can be used
//! there, version 1 where that is mounted. Where neither can be, memory is bounded by `RLIMIT_DATA`, and cores are not.
//! Nothing is written to any other group, but that the node's own hands controllers down, without which version 2 has no
//! groups below it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};
use skybox_core::Settings;

use crate::cgroup::{Controller, Mounts};

/// The period over which a cell's share of the cores is measured out, the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// How often it is tried to remove a group: what the cell has left behind takes a moment to end.
const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);
/// What the name of each group begins with; the number of its node's process follows.
const NAME: &str = "skybox-";

/// Who sees to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LimitedBy {
    /// A control group of version 2.
    CgroupV2,
    /// A control group of version 1.
    CgroupV1,
    /// The process's own resource limits.
    Rlimit,
    /// Nobody: the machine has nothing that would, or the node may not use it.
    Nobody,
}

impl std::fmt::Display for LimitedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LimitedBy::CgroupV2 => "cgroup v2",
            LimitedBy::CgroupV1 => "cgroup v1",
            LimitedBy::Rlimit => "rlimit",
            LimitedBy::Nobody => "not in force",
        })
    }
}

/// The limits of one cell, in force from before its first instruction until it has ended.
#[derive(Debug)]
pub(super) struct Limits {
    memory: Option<(u64, LimitedBy)>,
    cpu_milli: Option<(u32, LimitedBy)>,
    groups: Vec<PathBuf>,
    /// Where it is counted how often the kernel has killed for want of memory.
    kills: Option<PathBuf>,
}

/// What the process of a cell does itself, before it becomes one.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Where it writes that it belongs there.
    pub(super) groups: Vec<OwnedFd>,
    pub(super) data_bytes: Option<u64>,
}

impl Entry {
    /// Between `fork` and `exec`: system calls alone.
    pub(super) fn enter(&self) -> io::Result<()> {
        for group in &self.groups {
            rustix::io::write(group, b"0")?;
        }
        if let Some(bytes) = self.data_bytes {
            let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
            rustix::process::setrlimit(Resource::Data, limit)?;
        }
        Ok(())
    }
}

impl Limits {
    /// Those of a module, for one more cell.
    pub(super) fn of(settings: &Settings) -> (Limits, Entry) {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let mut limits = Limits { memory: None, cpu_milli: None, groups: Vec::new(), kills: None };
        let mut entry = Entry::default();
        if settings.memory_bytes.is_none() && settings.cpu_milli.is_none() {
            return (limits, entry);
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME}{}-{number}", std::process::id());
        if let Some(bytes) = settings.memory_bytes {
            let by = limits
                .join(&mut entry, Controller::Memory, &name, |group, by| limit_memory(group, by, bytes));
            if by == LimitedBy::Nobody {
                entry.data_bytes = Some(bytes);
                limits.memory = Some((bytes, LimitedBy::Rlimit));
            } else {
                limits.memory = Some((bytes, by));
            }
        }
        if let Some(milli) = settings.cpu_milli {
            let by = limits.join(&mut entry, Controller::Cpu, &name, |group, by| limit_cpu(group, by, milli));
            limits.cpu_milli = Some((milli, by));
        }
        (limits, entry)
    }

    /// Makes a group, or takes the one there is, and says who sees to the limit.
    fn join(
        &mut self,
        entry: &mut Entry,
        controller: Controller,
        name: &str,
        limit: impl Fn(&Path, LimitedBy) -> io::Result<()>,
    ) -> LimitedBy {
        let Some((parent, by)) = mounts().place_of(controller) else { return LimitedBy::Nobody };
        let group = parent.join(name);
        let known = self.groups.contains(&group);
        let made = if known { Ok(()) } else { std::fs::create_dir(&group) };
        let joined = made.and_then(|()| {
            limit(&group, by)?;
            OpenOptions::new().write(true).open(group.join("cgroup.procs"))
        });
        match joined {
            Ok(_) if known => by,
            Ok(procs) => {
                if controller == Controller::Memory {
                    let counts =
                        if by == LimitedBy::CgroupV2 { "memory.events" } else { "memory.oom_control" };
                    self.kills = Some(group.join(counts));
                }
                self.groups.push(group);
                entry.groups.push(File::into(procs));
                by
            }
            Err(error) => {
                tracing::warn!("{} cannot be used for a cell: {error}", group.display());
                if !known {
                    drop(std::fs::remove_dir(&group));
                }
                LimitedBy::Nobody
            }
        }
    }

    /// What it may have, if the kernel has killed in it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> Option<u64> {
        let counts = std::fs::read_to_string(self.kills.as_ref()?).ok()?;
        let kills = counts.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        self.memory.filter(|_| kills.trim() != "0").map(|(bytes, _)| bytes)
    }

    /// What it may have, if the process itself is told when it wants more.
    pub(super) fn data_bytes(&self) -> Option<u64> {
        self.memory.filter(|(_, by)| *by == LimitedBy::Rlimit).map(|(bytes, _)| bytes)
    }

    pub(super) fn memory(&self) -> Option<(u64, LimitedBy)> {
        self.memory
    }

    pub(super) fn cpu_milli(&self) -> Option<(u32, LimitedBy)> {
        self.cpu_milli
    }

    /// Removes its groups, once its processes have ended.
    pub(super) async fn lift(mut self) {
        for _ in 0..REMOVE_TRIES {
            self.remove();
            if self.groups.is_empty() {
                return;
            }
            tokio::time::sleep(REMOVE_PAUSE).await;
        }
        tracing::warn!("control groups of a cell stay behind: {:?}", self.groups);
    }

    fn remove(&mut self) {
        self.groups.retain(|group| {
            std::fs::remove_dir(group).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Where groups can be made, found once; what nodes that were killed have left there is removed.
fn mounts() -> &'static Mounts {
    static MOUNTS: OnceLock<Mounts> = OnceLock::new();
    MOUNTS.get_or_init(|| {
        let mounts = Mounts::of_this_process();
        for (place, _) in
            [Controller::Memory, Controller::Cpu].into_iter().filter_map(|of| mounts.place_of(of))
        {
            sweep(place);
        }
        mounts
    })
}

/// Removes the groups of nodes that have ended. One that has processes stays: the kernel says no.
fn sweep(place: &Path) {
    let Ok(groups) = std::fs::read_dir(place) else { return };
    for group in groups.flatten() {
        let name = group.file_name();
        let node = name.to_str().and_then(|name| name.strip_prefix(NAME)?.split('-').next());
        let has_ended = |pid: &str| {
            pid.bytes().all(|byte| byte.is_ascii_digit()) && !Path::new("/proc").join(pid).exists()
        };
        if node.is_some_and(has_ended) {
            drop(std::fs::remove_dir(group.path()));
        }
    }
}

fn limit_memory(group: &Path, by: LimitedBy, bytes: u64) -> io::Result<()> {
    let set = |file: &str| std::fs::write(group.join(file), bytes.to_string());
    if by == LimitedBy::CgroupV2 {
        set("memory.max")?;
        // Pages that are swapped out would not count. Not every kernel has this.
        drop(std::fs::write(group.join("memory.swap.max"), "0"));
        // One process of it killed leaves the others in an unknown state.
        drop(std::fs::write(group.join("memory.oom.group"), "1"));
    } else {
        set("memory.limit_in_bytes")?;
        drop(set("memory.memsw.limit_in_bytes"));
    }
    Ok(())
}

fn limit_cpu(group: &Path, by: LimitedBy, milli: u32) -> io::Result<()> {
    let quota_us = u64::from(milli) * CPU_PERIOD_US / 1000;
    if by == LimitedBy::CgroupV2 {
        return std::fs::write(group.join("cpu.max"), format!("{quota_us} {CPU_PERIOD_US}"));
    }
    std::fs::write(group.join("cpu.cfs_period_us"), CPU_PERIOD_US.to_string())?;
    std::fs::write(group.join("cpu.cfs_quota_us"), quota_us.to_string())
}
