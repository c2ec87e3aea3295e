//! Memory: what the kernel says of the machine and of a control group.

use std::path::Path;

use super::{Files, InGroup, Limit};

/// `MemTotal` of `/proc/meminfo`, in bytes.
pub(super) fn of_the_machine(files: &Files<'_>) -> Option<u64> {
    let text = files(Path::new("/proc/meminfo"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `memory.max`: bytes, or `max`.
pub(super) fn in_v2(group: &InGroup<'_>) -> Limit {
    let bytes = group("memory.max").and_then(|text| text.trim().parse().ok());
    bytes.map(|bytes| (bytes, "memory.max"))
}

/// `memory.limit_in_bytes`, which is more than any machine has where there is no limit.
pub(super) fn in_v1(group: &InGroup<'_>) -> Limit {
    let bytes = group("memory.limit_in_bytes").and_then(|text| text.trim().parse().ok());
    bytes.map(|bytes| (bytes, "memory.limit_in_bytes"))
}

/// What version 1 says that a group and all above it allow, also those that cannot be seen.
pub(super) fn in_v1_and_above(group: &InGroup<'_>) -> Limit {
    let stat = group("memory.stat").unwrap_or_default();
    let bytes = stat.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit ")?.parse().ok());
    bytes.map(|bytes| (bytes, "hierarchical_memory_limit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_machine_in_bytes() {
        let total = |text: &str| of_the_machine(&|_| Some(text.to_owned()));
        assert_eq!(total("MemTotal:       16318576 kB\nMemFree:  1 kB\n"), Some(16_318_576 << 10));
        assert_eq!(total("MemFree:  1 kB\n"), None);
        assert_eq!(of_the_machine(&|_| None), None);
    }

    #[test]
    fn without_a_limit_version_2_says_nothing() {
        let v2 = |text: &str| in_v2(&|_| Some(text.to_owned()));
        assert_eq!(v2("536870912\n"), Some((512 << 20, "memory.max")));
        assert_eq!(v2("max\n"), None);
    }
}
