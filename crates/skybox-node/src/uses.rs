//! What a process uses of its machine, as the kernel has counted it.

use serde::{Deserialize, Serialize};

/// How many milliseconds the unit of a process's CPU time has: 100 of them are a second on every Linux that Rust knows,
/// whatever the clock of its kernel is.
const TICK_MS: u64 = 10;

/// What a process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// The memory that it has in use, in bytes: its resident set.
    pub memory_bytes: u64,
    /// The CPU time that it has had since its start, in milliseconds of one core.
    pub cpu_ms: u64,
}

impl ProcessUse {
    /// Of this process; nothing, where the kernel does not say.
    pub(crate) fn of_this() -> Option<ProcessUse> {
        ProcessUse::read("self")
    }

    /// Of a child, as long as it has not been waited for.
    pub(crate) fn of(pid: u32) -> Option<ProcessUse> {
        ProcessUse::read(&pid.to_string())
    }

    fn read(process: &str) -> Option<ProcessUse> {
        let file = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).ok();
        ProcessUse::parse(&file("status")?, &file("stat")?)
    }

    fn parse(status: &str, stat: &str) -> Option<ProcessUse> {
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        // The second field is a name in brackets, which may have anything in it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
        let ticks = times.next()?.ok()? + times.next()?.ok()?;
        Some(ProcessUse { memory_bytes: kib << 10, cpu_ms: ticks * TICK_MS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let status = "Name:\tshop\nVmPeak:\t  99 kB\nVmRSS:\t    2048 kB\n";
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 3 0 1 2 3";
        let uses = ProcessUse { memory_bytes: 2 << 20, cpu_ms: 3_000 };
        assert_eq!(ProcessUse::parse(status, stat), Some(uses));
        assert_eq!(
            ProcessUse::parse("Name:\tzombie\n", stat),
            None,
            "a process that has ended has no memory"
        );
        assert!(ProcessUse::of_this().is_some_and(|uses| uses.memory_bytes > 0));
    }
}
