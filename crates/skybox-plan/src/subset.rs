//! Which replicas of a module a node calls, where it has more than a node needs.
//!
//! If every node called every replica, a thousand nodes would keep a million connections. Each calls a few of them, the
//! same as long as those are there: rendezvous hashing, so that a replica that comes or goes is one of twenty for some
//! callers and changes nothing for the others.

use skybox_core::{KeyHash, NodeName};

/// How many replicas a node calls at most, beside one of its own.
pub const SUBSET_MAX: usize = 20;

/// The replicas that this caller calls: all if they are few.
pub fn subset<'n>(caller: &NodeName, replicas: &'n [NodeName]) -> Vec<&'n NodeName> {
    let mut chosen: Vec<_> = replicas.iter().collect();
    if chosen.len() > SUBSET_MAX {
        let caller = KeyHash::of(caller.as_str().as_bytes()).0;
        let claim = |replica: &&NodeName| {
            let replica = KeyHash::of(replica.as_str().as_bytes()).0;
            KeyHash::of(&(caller ^ replica.rotate_left(32)).to_le_bytes()).0
        };
        chosen.select_nth_unstable_by_key(SUBSET_MAX, claim);
        chosen.truncate(SUBSET_MAX);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn names(prefix: &str, count: usize) -> Vec<NodeName> {
        (0..count).map(|n| NodeName::new(format!("{prefix}-{n}"))).collect()
    }

    #[test]
    fn few_are_all_called() {
        let replicas = names("replica", SUBSET_MAX);
        assert_eq!(subset(&NodeName::new("caller"), &replicas).len(), SUBSET_MAX);
        assert!(subset(&NodeName::new("caller"), &[]).is_empty());
    }

    #[test]
    fn each_replica_has_about_as_many_callers() {
        let replicas = names("replica", 100);
        let mut callers = BTreeMap::new();
        for caller in names("caller", 1_000) {
            let chosen = subset(&caller, &replicas);
            assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), SUBSET_MAX);
            chosen.into_iter().for_each(|replica| *callers.entry(replica).or_insert(0) += 1);
        }
        // On average 200, with a deviation of 13: none is five of those away.
        assert_eq!(callers.len(), replicas.len(), "everybody is called");
        assert!(callers.values().all(|count| (135..=265).contains(count)), "{callers:?}");
    }

    #[test]
    fn one_that_goes_is_replaced_and_no_other() {
        let replicas = names("replica", 100);
        let (gone, left) = replicas.split_last().expect("there are some");
        for caller in names("caller", 200) {
            let before: BTreeSet<_> = subset(&caller, &replicas).into_iter().collect();
            let after: BTreeSet<_> = subset(&caller, left).into_iter().collect();
            assert_eq!(before.difference(&after).count(), usize::from(before.contains(gone)));
        }
    }
}
