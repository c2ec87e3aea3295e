//! A store as a value: what each step makes of it. No clock, no waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::{
    Change, Changes, Committed, Condition, Entry, Lease, LeaseId, Listed, Op, Revision, StoreError, Txn,
};

/// Changes that are remembered for whoever watches, and the bytes of their keys and values. A watch that is further behind
/// lists its keys again.
const HISTORY_MAX: usize = 10_000;
const HISTORY_BYTES_MAX: usize = 64 << 20;
/// Bytes of changes that are told at once, but for those of one step, which are told together.
const TOLD_BYTES_MAX: usize = 1 << 20;

/// The keys, their history, and the leases. Times count from some beginning.
#[derive(Debug)]
pub(super) struct Keyspace {
    /// As in etcd, an empty one that nothing has happened to is at the first.
    revision: Revision,
    entries: BTreeMap<String, Entry>,
    /// The last changes, oldest first.
    history: VecDeque<Change>,
    history_bytes: usize,
    /// All later changes are in the history.
    compacted: Revision,
    leases: BTreeMap<LeaseId, Leased>,
    last_lease: i64,
}

#[derive(Debug)]
struct Leased {
    ttl: Duration,
    ends: Duration,
    keys: BTreeSet<String>,
}

impl Default for Keyspace {
    fn default() -> Keyspace {
        Keyspace {
            revision: Revision(1),
            entries: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            compacted: Revision(0),
            leases: BTreeMap::new(),
            last_lease: 0,
        }
    }
}

impl Keyspace {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// An empty one that begins where this is: who has seen this has seen nothing of that, and no lease is of both.
    pub(super) fn successor(&self) -> Keyspace {
        let revision = self.revision.next();
        Keyspace { revision, compacted: revision, last_lease: self.last_lease, ..Keyspace::default() }
    }

    pub(super) fn list(&self, prefix: &str) -> Listed {
        let entries = self.from(prefix).map(|(_, entry)| entry.clone()).collect();
        Listed { revision: self.revision, entries }
    }

    fn from(&self, prefix: &str) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    pub(super) fn commit(&mut self, txn: &Txn) -> Result<Committed, StoreError> {
        txn.check()?;
        let met = txn.when.iter().all(|condition| self.holds(condition));
        let branch = if met { &txn.then } else { &txn.otherwise };
        for op in branch {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.leases.contains_key(lease)
            {
                return Err(StoreError::LeaseGone(*lease));
            }
        }
        let revision = self.revision.next();
        let (mut changes, mut got) = (Vec::new(), Vec::new());
        for op in branch {
            match op {
                Op::Put { key, value, lease } => {
                    changes.push(self.put(revision, key, value, *lease));
                }
                Op::Delete(key) => changes.extend(self.delete(revision, key)),
                Op::Get(key) => got.push(self.entries.get(key).cloned()),
            }
        }
        self.note(revision, changes);
        Ok(Committed { met, revision: self.revision, got })
    }

    fn holds(&self, condition: &Condition) -> bool {
        let entry = self.entries.get(condition.key());
        match condition {
            Condition::Absent(_) => entry.is_none(),
            Condition::CreatedAt(_, revision) => entry.is_some_and(|entry| entry.created == *revision),
            Condition::ChangedAt(_, revision) => entry.is_some_and(|entry| entry.changed == *revision),
        }
    }

    fn put(&mut self, revision: Revision, key: &str, value: &str, lease: Option<LeaseId>) -> Change {
        let before = self.entries.get(key).map(|before| (before.created, before.lease));
        if let Some((_, Some(before))) = before
            && let Some(leased) = self.leases.get_mut(&before)
        {
            leased.keys.remove(key);
        }
        if let Some(leased) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            leased.keys.insert(key.to_owned());
        }
        let created = before.map_or(revision, |(created, _)| created);
        let (key, value) = (key.to_owned(), value.to_owned());
        let entry = Entry { key: key.clone(), value, created, changed: revision, lease };
        self.entries.insert(key.clone(), entry.clone());
        Change { key, revision, entry: Some(entry) }
    }

    fn delete(&mut self, revision: Revision, key: &str) -> Option<Change> {
        let entry = self.entries.remove(key)?;
        if let Some(leased) = entry.lease.and_then(|lease| self.leases.get_mut(&lease)) {
            leased.keys.remove(key);
        }
        Some(Change { key: entry.key, revision, entry: None })
    }

    /// A step was taken, if anything has changed.
    fn note(&mut self, revision: Revision, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.revision = revision;
        self.history_bytes += changes.iter().map(size).sum::<usize>();
        self.history.extend(changes);
        while (self.history.len() > HISTORY_MAX || self.history_bytes > HISTORY_BYTES_MAX)
            && let Some(oldest) = self.history.front().map(|change| change.revision)
        {
            self.forget(oldest);
        }
    }

    /// Forgets the changes up to this one.
    pub(super) fn forget(&mut self, revision: Revision) {
        let revision = revision.min(self.revision);
        self.compacted = self.compacted.max(revision);
        let kept = self.history.partition_point(|change| change.revision <= revision);
        self.history_bytes -= self.history.drain(..kept).map(|change| size(&change)).sum::<usize>();
    }

    /// The changes from this revision on, or the first of them.
    pub(super) fn changes(&self, prefix: &str, from: Revision) -> Result<Changes, StoreError> {
        // One that has seen what has not happened here has seen another store.
        if from <= self.compacted || from > self.revision.next() {
            return Err(StoreError::Compacted { oldest: self.compacted.next() });
        }
        let first = self.history.partition_point(|change| change.revision < from);
        let (mut told, mut bytes) = (Vec::<Change>::new(), 0);
        for change in self.history.range(first..).filter(|change| change.key.starts_with(prefix)) {
            if let Some(last) = told.last().map(|last| last.revision)
                && bytes >= TOLD_BYTES_MAX
                && last != change.revision
            {
                return Ok(Changes { revision: last, changes: told });
            }
            bytes += size(change);
            told.push(change.clone());
        }
        Ok(Changes { revision: self.revision, changes: told })
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Duration) -> Lease {
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        self.leases.insert(id, Leased { ttl, ends: now.saturating_add(ttl), keys: BTreeSet::new() });
        Lease { id, ttl }
    }

    pub(super) fn renew(&mut self, lease: LeaseId, now: Duration) -> Result<(), StoreError> {
        let leased = self.leases.get_mut(&lease).filter(|leased| leased.ends > now);
        let leased = leased.ok_or(StoreError::LeaseGone(lease))?;
        leased.ends = now.saturating_add(leased.ttl);
        Ok(())
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        let Some(leased) = self.leases.remove(&lease) else { return };
        let revision = self.revision.next();
        let changes = leased.keys.iter().filter_map(|key| self.delete(revision, key)).collect();
        self.note(revision, changes);
    }

    /// Gives all leases so much more time.
    pub(super) fn prolong(&mut self, by: Duration) {
        for leased in self.leases.values_mut() {
            leased.ends = leased.ends.saturating_add(by);
        }
    }

    /// Ends the leases whose time is over; says when the next one's is.
    pub(super) fn expire(&mut self, now: Duration) -> Option<Duration> {
        let over: Vec<_> =
            self.leases.iter().filter(|(_, leased)| leased.ends <= now).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|lease| self.revoke(lease));
        self.leases.values().map(|leased| leased.ends).min()
    }
}

fn size(change: &Change) -> usize {
    change.key.len() + change.entry.as_ref().map_or(0, |entry| entry.value.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(space: &mut Keyspace, key: &str, value: &str) -> Revision {
        space.commit(&Txn::of([Op::put(key, value)])).unwrap().revision
    }

    #[test]
    fn what_changes_nothing_is_no_step() {
        let mut space = Keyspace::default();
        put(&mut space, "a", "1");
        let before = space.revision();
        space.commit(&Txn::of([Op::Delete("b".into()), Op::Get("a".into())])).unwrap();
        assert_eq!(space.revision(), before);
        // The same value again is one.
        assert_eq!(put(&mut space, "a", "1"), before.next());
    }

    #[test]
    fn a_history_is_bounded_and_says_what_it_has_forgotten() {
        let mut space = Keyspace::default();
        for n in 0..HISTORY_MAX + 10 {
            put(&mut space, &format!("k{}", n % 7), "v");
        }
        assert_eq!(space.history.len(), HISTORY_MAX);
        let oldest = StoreError::Compacted { oldest: Revision(12) };
        assert_eq!(space.changes("", Revision(11)), Err(oldest.clone()));
        let all = space.changes("", Revision(12)).unwrap();
        assert_eq!((all.changes.len(), all.revision), (HISTORY_MAX, Revision(HISTORY_MAX as u64 + 11)));
        // One that is up to date misses nothing, and one that is ahead has seen another store.
        assert_eq!(space.changes("", space.revision().next()).unwrap().changes, []);
        assert_eq!(space.changes("", space.revision().next().next()), Err(oldest));
    }

    #[test]
    fn large_changes_are_told_one_after_the_other_and_none_is_torn() {
        let mut space = Keyspace::default();
        let large = "v".repeat(TOLD_BYTES_MAX / 4);
        for _ in 0..HISTORY_BYTES_MAX / TOLD_BYTES_MAX * 2 {
            space.commit(&Txn::of(["a", "b", "c"].map(|key| Op::put(key, &*large)))).unwrap();
        }
        assert!(space.history_bytes <= HISTORY_BYTES_MAX, "{}", space.history_bytes);
        let (mut from, mut told) = (space.compacted.next(), 0);
        while from <= space.revision() {
            let some = space.changes("", from).unwrap();
            assert!(some.changes.len() % 3 == 0 && some.changes.len() <= 6, "{}", some.changes.len());
            told += some.changes.len();
            from = some.revision.next();
        }
        assert_eq!(told, space.history.len());
        space.forget(space.revision());
        assert_eq!(space.history_bytes, 0);
    }

    #[test]
    fn who_has_seen_one_store_has_seen_nothing_of_its_successor() {
        let mut space = Keyspace::default();
        put(&mut space, "a", "1");
        let (lease, seen) = (space.grant(Duration::from_secs(9), Duration::ZERO).id, space.revision());
        let mut next = space.successor();
        assert!(matches!(next.changes("", seen.next()), Err(StoreError::Compacted { .. })));
        assert_eq!(next.renew(lease, Duration::ZERO), Err(StoreError::LeaseGone(lease)));
        assert_ne!(next.grant(Duration::from_secs(9), Duration::ZERO).id, lease);
        assert!(next.list("").entries.is_empty());
        let listed = next.list("").revision;
        let put = put(&mut next, "a", "2");
        assert_eq!(next.changes("", listed.next()).expect("it is known").changes.len(), 1);
        assert!(put > listed);
    }

    #[test]
    fn leases_are_given_more_time() {
        let mut space = Keyspace::default();
        let at = Duration::from_secs;
        let lease = space.grant(at(3), at(0)).id;
        space.prolong(at(10));
        assert_eq!(space.expire(at(12)), Some(at(13)));
        assert_eq!(space.renew(lease, at(12)), Ok(()));
        assert_eq!((space.expire(at(14)), space.expire(at(15))), (Some(at(15)), None));
    }

    #[test]
    fn a_lease_takes_the_keys_that_are_on_it_now() {
        let mut space = Keyspace::default();
        let at = Duration::from_secs;
        let [first, second] = [3, 9].map(|ttl| space.grant(at(ttl), at(0)).id);
        let keys = [("a", Some(first)), ("b", Some(first)), ("c", Some(second)), ("d", Some(first))];
        let ops = keys.map(|(key, lease)| Op::Put { key: key.into(), value: "v".into(), lease });
        space.commit(&Txn::of(ops)).unwrap();
        // One goes to another lease, one to none.
        let moved = [Op::put_on(second, "b", "v"), Op::put("d", "v")];
        space.commit(&Txn::of(moved)).unwrap();
        assert_eq!(space.expire(at(2)), Some(at(3)));
        assert_eq!(space.renew(first, at(2)), Ok(()));
        assert_eq!(space.expire(at(4)), Some(at(5)));
        let before = space.revision();
        // From the moment that its time is over, also if nobody has noticed yet.
        assert_eq!(space.renew(first, at(5)), Err(StoreError::LeaseGone(first)));
        assert_eq!(space.expire(at(5)), Some(at(9)));
        let keys =
            |space: &Keyspace| space.list("").entries.into_iter().map(|entry| entry.key).collect::<String>();
        assert_eq!((keys(&space).as_str(), space.revision()), ("bcd", before.next()));
        space.revoke(second);
        assert_eq!(keys(&space), "d");
        let on_none = Txn::of([Op::put("e", "v"), Op::put_on(first, "f", "v")]);
        assert_eq!(space.commit(&on_none), Err(StoreError::LeaseGone(first)), "nothing of it is done");
        assert_eq!(keys(&space), "d");
    }
}
