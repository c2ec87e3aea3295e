//! What nodes agree on: keys with values, in the meaning that etcd gives them.
//!
//! A store has one history. Each transaction that writes is one step of it, with a [`Revision`] one higher than the one
//! before, and whoever reads sees all steps up to a revision and none beyond. So what was read can be said exactly, a
//! write can be made to depend on it, and a watch goes on from it without a gap.
//!
//! Three stand behind the trait: [`Memory`] in one process, [`Embedded`] for the nodes of one machine, whose parent
//! serves a `Memory` to them, and etcd (feature `etcd`). One suite of tests runs over all of them, `tests/store`.
//!
//! Values are text, most of it JSON, so that a person can read them with the tools of the store. Sizes are limited as
//! etcd does it, whatever is behind: [`OPS_MAX`], [`TXN_BYTES_MAX`].

mod embedded;
#[cfg(feature = "etcd")]
mod etcd;
mod follow;
mod keyspace;
mod memory;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use embedded::{Embedded, serve};
#[cfg(feature = "etcd")]
pub use etcd::{Etcd, EtcdConfig, MemberStatus};
pub use follow::{Followed, Pace, View, follow};
pub(crate) use follow::{Freshness, PACE, any_changed};
pub use memory::Memory;

/// Conditions of one transaction at most, and as many operations in either branch: etcd's default (`--max-txn-ops`).
pub const OPS_MAX: usize = 128;
/// Bytes of the keys and values of one transaction: etcd takes requests of 1.5 MiB (`--max-request-bytes`), with what is
/// around them.
pub const TXN_BYTES_MAX: usize = 1 << 20;

/// A boxed future: the store is asked rarely.
pub type Asked<'s, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 's>>;

/// Keys with values that nodes agree on.
///
/// What is read is at least as new as whatever was written before the question was asked, by anybody.
pub trait Store: fmt::Debug + Send + Sync {
    /// All keys that begin so, in their order, as they were at one revision.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `NotText`.
    fn list(&self, prefix: &str) -> Asked<'_, Listed>;

    /// Carries out one branch of a transaction, wholly or not at all.
    ///
    /// # Errors
    /// `TooLarge` and `Invalid` before it is asked; `LeaseGone` if a key is put on a lease that has ended; `Unreachable`,
    /// and it says whether it may have been carried out; `Refused`; `NotText` of something that it has read, and then it was
    /// carried out.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, it may have been carried out.
    fn commit(&self, txn: Txn) -> Asked<'_, Committed>;

    /// Tells of all changes of keys that begin so, from this revision on, which is not later than the next one.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`. That the revision is too old says the first [`Watch::next`].
    fn watch(&self, prefix: &str, from: Revision) -> Asked<'_, Box<dyn Watch>>;

    /// A lease: keys that are put on it go when it ends. It ends if it is not renewed for so long. A store may give more
    /// than was asked, which is said: etcd counts whole seconds, and gives no less than one and a half times its
    /// members' time for an election.
    ///
    /// # Errors
    /// `Unreachable`, and then there may be one that nobody knows, which ends by itself; `Refused`.
    fn grant(&self, ttl: Duration) -> Asked<'_, Lease>;

    /// Begins the time of a lease anew.
    ///
    /// # Errors
    /// `LeaseGone`: it has ended, and its keys are gone; `Unreachable`, `Refused`.
    fn renew(&self, lease: LeaseId) -> Asked<'_, ()>;

    /// Ends a lease at once. One that has ended already is as good.
    ///
    /// # Errors
    /// `Unreachable`, and then it may have ended; `Refused`.
    fn revoke(&self, lease: LeaseId) -> Asked<'_, ()>;
}

/// Changes as they happen.
pub trait Watch: Send {
    /// The next of them. All that one transaction has changed comes together. Without any, it says from time to time how
    /// far it has seen: one that says nothing for long may have broken off without a word.
    ///
    /// # Errors
    /// `Compacted`: the store has forgotten what was to come next; `Unreachable`, `Refused`, `NotText`. After an error
    /// there is nothing more.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    fn next(&mut self) -> Asked<'_, Changes>;
}

/// A step of a store's history. The first is the empty store; zero is before that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after it.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A lease as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// How long it lasts without being renewed.
    pub ttl: Duration,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// What is there.
    pub value: String,
    /// Since when the key is there without having been deleted.
    pub created: Revision,
    /// When it was last put.
    pub changed: Revision,
    /// The lease with which it goes.
    pub lease: Option<LeaseId>,
}

/// Keys at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// A watch from the next one on misses nothing.
    pub revision: Revision,
    /// In the order of their keys.
    pub entries: Vec<Entry>,
}

/// What a transaction asks before it does anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// There is no such key.
    Absent(String),
    /// The key is there since this revision.
    CreatedAt(String, Revision),
    /// The key was last put at this revision.
    ChangedAt(String, Revision),
}

impl Condition {
    /// The key that it asks of.
    pub fn key(&self) -> &str {
        let (Condition::Absent(key) | Condition::CreatedAt(key, _) | Condition::ChangedAt(key, _)) = self;
        key
    }
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Has the key have this value, on this lease or on none.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The lease.
        lease: Option<LeaseId>,
    },
    /// Deletes the key, if it is there.
    Delete(String),
    /// Reads the key, after what comes before in the transaction.
    Get(String),
}

impl Op {
    /// A key that stays until it is deleted.
    pub fn put(key: impl Into<String>, value: impl Into<String>) -> Op {
        Op::Put { key: key.into(), value: value.into(), lease: None }
    }

    /// A key that goes with a lease.
    pub fn put_on(lease: LeaseId, key: impl Into<String>, value: impl Into<String>) -> Op {
        Op::Put { key: key.into(), value: value.into(), lease: Some(lease) }
    }

    fn size(&self) -> usize {
        match self {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete(key) | Op::Get(key) => key.len(),
        }
    }

    fn written(&self) -> Option<&str> {
        match self {
            Op::Put { key, .. } | Op::Delete(key) => Some(key),
            Op::Get(_) => None,
        }
    }
}

/// A step that is taken if all its conditions hold, and another one otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// The conditions.
    pub when: Vec<Condition>,
    /// What is done if all hold.
    pub then: Vec<Op>,
    /// What is done if not.
    pub otherwise: Vec<Op>,
}

impl Txn {
    /// One without conditions.
    pub fn of(then: impl IntoIterator<Item = Op>) -> Txn {
        Txn { then: then.into_iter().collect(), ..Txn::default() }
    }

    /// One that is carried out under conditions only.
    pub fn when(when: impl IntoIterator<Item = Condition>, then: impl IntoIterator<Item = Op>) -> Txn {
        Txn { when: when.into_iter().collect(), then: then.into_iter().collect(), otherwise: Vec::new() }
    }

    /// What is done if a condition does not hold.
    #[must_use]
    pub fn otherwise(mut self, otherwise: impl IntoIterator<Item = Op>) -> Txn {
        self.otherwise = otherwise.into_iter().collect();
        self
    }

    /// Whether a store takes it.
    ///
    /// # Errors
    /// `TooLarge`; `Invalid`: it writes a key twice.
    pub fn check(&self) -> Result<(), StoreError> {
        let parts = [
            ("conditions", self.when.len()),
            ("operations", self.then.len()),
            ("operations", self.otherwise.len()),
        ];
        for (what, count) in parts {
            if count > OPS_MAX {
                let what = format!("a transaction of {count} {what}; at most {OPS_MAX} are taken");
                return Err(StoreError::TooLarge { what });
            }
        }
        let conditions: usize = self.when.iter().map(|condition| condition.key().len()).sum();
        let size = conditions + self.then.iter().chain(&self.otherwise).map(Op::size).sum::<usize>();
        if size > TXN_BYTES_MAX {
            let what = format!("a transaction of {size} bytes; at most {TXN_BYTES_MAX} are taken");
            return Err(StoreError::TooLarge { what });
        }
        for branch in [&self.then, &self.otherwise] {
            let mut keys = HashSet::new();
            if let Some(twice) = branch.iter().filter_map(Op::written).find(|key| !keys.insert(*key)) {
                return Err(StoreError::Invalid { why: format!("it writes `{twice}` twice") });
            }
        }
        for condition in &self.when {
            if let Condition::CreatedAt(key, Revision(0)) | Condition::ChangedAt(key, Revision(0)) = condition
            {
                let why = format!("nothing has happened to `{key}` at revision 0: ask whether it is absent");
                return Err(StoreError::Invalid { why });
            }
        }
        let mut keys = self.when.iter().map(Condition::key);
        if keys.any(str::is_empty) || self.then.iter().chain(&self.otherwise).any(|op| op.is_nameless()) {
            return Err(StoreError::Invalid { why: "a key is empty".to_owned() });
        }
        Ok(())
    }
}

impl Op {
    fn is_nameless(&self) -> bool {
        match self {
            Op::Put { key, .. } | Op::Delete(key) | Op::Get(key) => key.is_empty(),
        }
    }
}

/// How a transaction went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Whether all conditions held.
    pub met: bool,
    /// The revision at which it was carried out: its own, if it has changed something.
    pub revision: Revision,
    /// What its branch has read, in its order.
    pub got: Vec<Option<Entry>>,
}

/// One key has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// When.
    pub revision: Revision,
    /// What it is now; `None`: it was deleted.
    pub entry: Option<Entry>,
}

/// What a watch has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// It has seen all that has happened to its keys up to this one.
    pub revision: Revision,
    /// In the order of their revisions.
    pub changes: Vec<Change>,
}

/// Why a store has not done what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StoreError {
    /// It does not answer.
    #[error("the store cannot be reached: {why}")]
    Unreachable {
        /// Why.
        why: String,
        /// Whether what was asked may have been done.
        may_have_run: bool,
    },
    /// A lease has ended.
    #[error("lease {0} has ended, and its keys are gone")]
    LeaseGone(LeaseId),
    /// The changes that were asked for are forgotten: list the keys again, and watch from there.
    #[error("the store has forgotten the changes before revision {oldest}")]
    Compacted {
        /// The oldest that it may know.
        oldest: Revision,
    },
    /// No store would take it.
    #[error("too large for a store: {what}")]
    TooLarge {
        /// What is.
        what: String,
    },
    /// It makes no sense.
    #[error("no transaction that a store takes: {why}")]
    Invalid {
        /// Why.
        why: String,
    },
    /// It does not let this program do that.
    #[error("the store refuses it: {why}")]
    Refused {
        /// Why.
        why: String,
    },
    /// Somebody else has put something there.
    #[error("the value of `{key}` in the store is no text: something else than this program has written it")]
    NotText {
        /// Where.
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_would_refuse_is_refused_before_it_is_asked() {
        let many = |count: usize| (0..count).map(|n| Op::put(format!("k{n}"), "v"));
        assert_eq!(Txn::of(many(OPS_MAX)).check(), Ok(()));
        let refused = Txn::of(many(OPS_MAX + 1)).check().unwrap_err();
        assert!(refused.to_string().contains("129 operations; at most 128"), "{refused}");
        let refused = Txn::of([Op::put("k", "v".repeat(TXN_BYTES_MAX))]).check().unwrap_err();
        assert!(
            matches!(&refused, StoreError::TooLarge { what } if what.contains("1048577 bytes")),
            "{refused}"
        );
        let refused = Txn::of([Op::put("k", "v"), Op::Delete("k".into())]).check().unwrap_err();
        assert!(refused.to_string().contains("writes `k` twice"), "{refused}");
        assert!(Txn::of([Op::Get(String::new())]).check().is_err());
        assert_eq!(Txn::of([Op::put("k", "v"), Op::Get("k".into())]).check(), Ok(()));
    }
}
