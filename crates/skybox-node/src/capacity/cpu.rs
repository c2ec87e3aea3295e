//! Cores: what the kernel says of the machine, of this process, and of a control group.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Files, InGroup, Limit, Source, milli};

/// More CPUs than any machine has: a list that names more is no list of CPUs.
const CPUS_MAX: usize = 1 << 16;

/// The CPUs that are online, and those of them that this process may run on if these are fewer, in thousandths.
pub(super) fn of_the_machine(files: &Files<'_>) -> Option<Vec<(u64, Source)>> {
    let online = files(Path::new("/sys/devices/system/cpu/online"));
    let online = online.as_deref().and_then(parse_list);
    let status = files(Path::new("/proc/self/status"));
    let allowed = status.as_deref().and_then(allowed);
    match (online, allowed) {
        (Some(online), Some(allowed)) => {
            // CPUs that could be plugged in are allowed as well.
            let both = online.intersection(&allowed).count();
            Some(vec![(milli(online.len()), Source::Machine), (milli(both), Source::Affinity)])
        }
        (Some(online), None) => Some(vec![(milli(online.len()), Source::Machine)]),
        (None, Some(allowed)) => Some(vec![(milli(allowed.len()), Source::Affinity)]),
        (None, None) => None,
    }
}

/// What `/proc/self/status` says of the CPUs that the process may run on.
fn allowed(status: &str) -> Option<BTreeSet<usize>> {
    parse_list(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// `0-3,8`: each of them. A list without any is not believed.
fn parse_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus).filter(|cpus| !cpus.is_empty())
}

/// `cpu.max`: `150000 100000` or `max 100000`, in microseconds of each period.
pub(super) fn in_v2(group: &InGroup<'_>) -> Limit {
    let quota = |text: String| {
        let mut numbers = text.split_whitespace();
        share(numbers.next()?, numbers.next()?)
    };
    group("cpu.max").and_then(quota).map(|milli| (milli, "cpu.max"))
}

/// `cpu.cfs_quota_us`, in microseconds of each `cpu.cfs_period_us`; -1 is no limit.
pub(super) fn in_v1(group: &InGroup<'_>) -> Limit {
    let quota = group("cpu.cfs_quota_us").zip(group("cpu.cfs_period_us"));
    let milli = quota.and_then(|(quota, period)| share(quota.trim(), period.trim()));
    milli.map(|milli| (milli, "cpu.cfs_quota_us"))
}

/// In thousandths; none without a limit.
fn share(quota_us: &str, period_us: &str) -> Option<u64> {
    let (quota_us, period_us): (u64, u64) = (quota_us.parse().ok()?, period_us.parse().ok()?);
    quota_us.saturating_mul(1000).checked_div(period_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        let count = |text| parse_list(text).map(|cpus| cpus.len());
        for (text, expected) in [("0", 1), ("0-1\n", 2), ("\t0-3,8,10-11\n", 7), ("0-3,2-5", 6)] {
            assert_eq!(count(text), Some(expected), "{text}");
        }
        for wrong in ["", "\n", "a", "3-1", "0-", "-1", "0-99999999999"] {
            assert_eq!(count(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn quotas() {
        let v2 = |text: &str| in_v2(&|file| (file == "cpu.max").then(|| text.to_owned()));
        assert_eq!(v2("150000 100000\n"), Some((1500, "cpu.max")));
        assert_eq!(v2("1000 1000000\n"), Some((1, "cpu.max")));
        for none in ["max 100000\n", "max\n", "", "100000\n", "100000 0\n"] {
            assert_eq!(v2(none), None, "{none}");
        }
        let v1 = |quota: &str, period: &str| {
            in_v1(&|file| match file {
                "cpu.cfs_quota_us" => Some(quota.to_owned()),
                "cpu.cfs_period_us" => Some(period.to_owned()),
                _ => None,
            })
        };
        assert_eq!(v1("50000\n", "100000\n"), Some((500, "cpu.cfs_quota_us")));
        assert_eq!(v1("-1\n", "100000\n"), None);
    }
}
