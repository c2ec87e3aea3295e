//! What this process may use: the machine, less what keeps it from using all of that.
//!
//! Cores are the least of those that are online, those that it may run on, and the quotas of its control groups, from its
//! own up to the highest that can be seen; memory is the least of the machine's and the groups' limits. Both versions of
//! groups count, also beside each other. Limits of groups above the highest that can be seen are unknown, but where
//! version 1 tells of them (`hierarchical_memory_limit`).
//!
//! Nothing here is measured: it says what there is, and not what is free.

mod cpu;
mod memory;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cgroup::{Controller, Group, Told};

/// What a node may use, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// In thousandths of a core, at least 1.
    pub cpu_milli: u32,
    /// Who says how many cores there are.
    pub cpu_from: Source,
    /// In bytes; `u64::MAX` if nobody says.
    pub memory_bytes: u64,
    /// Who says how much memory there is.
    pub memory_from: Source,
    /// GPUs. They are not looked for: the configuration says how many there are, or there are none.
    pub gpu: u32,
}

/// Who says how much of something there is: of all who do, the one who allows the least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Source {
    /// The machine has no more.
    Machine,
    /// This process may run on these CPUs alone, as `taskset` and cpusets have it.
    Affinity,
    /// A control group that it is in.
    Cgroup {
        /// The group, as the kernel calls it where this process is.
        group: String,
        /// The file of the group that says it.
        file: String,
    },
    /// `[node]` says so, here.
    Configuration(String),
    /// Nobody: this system does not tell.
    Unknown,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Machine => f.write_str("the machine"),
            Source::Affinity => f.write_str("the CPUs that it may run on"),
            Source::Cgroup { group, file } => write!(f, "cgroup {group}: {file}"),
            Source::Configuration(place) => f.write_str(place),
            Source::Unknown => f.write_str("nobody says"),
        }
    }
}

/// `1.5 cores (cgroup /shop: cpu.max), 512 MiB (the machine), 1 GPU`.
impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = f64::from(self.cpu_milli) / 1000.0;
        write!(f, "{cores} core{} ({})", if self.cpu_milli == 1000 { "" } else { "s" }, self.cpu_from)?;
        match self.memory_from {
            Source::Unknown => f.write_str(", memory unknown")?,
            _ => write!(f, ", {} MiB ({})", self.memory_bytes >> 20, self.memory_from)?,
        }
        match self.gpu {
            0 => Ok(()),
            1 => f.write_str(", 1 GPU"),
            gpus => write!(f, ", {gpus} GPUs"),
        }
    }
}

/// What this process may use. Nothing is kept: limits can be changed while it runs.
pub fn of_this_process() -> Capacity {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    of(&|path| std::fs::read_to_string(path).ok(), cores)
}

/// Reads a file, if it is there.
type Files<'f> = dyn Fn(&Path) -> Option<String> + 'f;

/// `cores` where the files do not say how many there are.
fn of(files: &Files<'_>, cores: usize) -> Capacity {
    let told = Told::by(files);
    let machine = cpu::of_the_machine(files).unwrap_or_else(|| vec![(milli(cores), Source::Machine)]);
    let (cpu_milli, cpu_from) = least(machine.into_iter().chain(in_groups(&told, files, Controller::Cpu)))
        .unwrap_or((1000, Source::Unknown));
    let machine = memory::of_the_machine(files).map(|bytes| (bytes, Source::Machine));
    let (memory_bytes, memory_from) =
        least(machine.into_iter().chain(in_groups(&told, files, Controller::Memory)))
            .unwrap_or((u64::MAX, Source::Unknown));
    let cpu_milli = u32::try_from(cpu_milli).unwrap_or(u32::MAX).max(1);
    Capacity { cpu_milli, cpu_from, memory_bytes, memory_from, gpu: 0 }
}

fn milli(cores: usize) -> u64 {
    u64::try_from(cores).unwrap_or(u64::MAX).saturating_mul(1000)
}

/// Of several that say the same, the first is named.
fn least(said: impl Iterator<Item = (u64, Source)>) -> Option<(u64, Source)> {
    said.min_by_key(|(amount, _)| *amount)
}

/// What the groups of both versions say, each from the process's own up.
fn in_groups(told: &Told, files: &Files<'_>, controller: Controller) -> Vec<(u64, Source)> {
    let (v2, v1) = (told.group(None), told.group(Some(controller)));
    let say = |group: &Option<Group>, limits: fn(&InGroup<'_>) -> Limit| -> Vec<(u64, Source)> {
        let groups = group.iter().flat_map(Group::upwards);
        let said = groups.flat_map(|(group, directory)| {
            let limits = limits(&|file| files(&directory.join(file)));
            limits.into_iter().map(move |(amount, file)| {
                (amount, Source::Cgroup { group: group.clone(), file: file.to_owned() })
            })
        });
        said.collect()
    };
    match controller {
        Controller::Cpu => [say(&v2, cpu::in_v2), say(&v1, cpu::in_v1)].concat(),
        // The group that has the limit is named, if it is seen.
        Controller::Memory => {
            [say(&v2, memory::in_v2), say(&v1, memory::in_v1), say(&v1, memory::in_v1_and_above)].concat()
        }
    }
}

/// What one group allows, and which file of it says so.
type Limit = Option<(u64, &'static str)>;
/// Reads a file of one group.
type InGroup<'g> = dyn Fn(&str) -> Option<String> + 'g;
