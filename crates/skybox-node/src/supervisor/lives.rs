//! How often the children of this node's supervisors have been started again, for those who look.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use skybox_core::InstanceId;

use crate::host::lock;

/// Children that a status tells of.
const TOLD_MAX: usize = 1000;

/// The children that live, and are not what was started first.
#[derive(Debug, Default)]
pub(crate) struct Lives(Mutex<HashMap<InstanceId, u64>>);

impl Lives {
    /// A child lives, after so many before it.
    pub(super) fn begin(&self, child: InstanceId, before: u64) {
        if before > 0 {
            lock(&self.0).insert(child, before);
        }
    }

    /// A child has ended.
    pub(super) fn end(&self, child: InstanceId) {
        lock(&self.0).remove(&child);
    }

    /// Of each that lives, how many were before it: of those with most, if they are many.
    pub(crate) fn told(&self) -> BTreeMap<String, u64> {
        let mut all: Vec<_> = lock(&self.0).iter().map(|(child, before)| (*before, *child)).collect();
        if all.len() > TOLD_MAX {
            all.sort_unstable_by_key(|(before, _)| std::cmp::Reverse(*before));
            all.truncate(TOLD_MAX);
        }
        all.into_iter().map(|(before, child)| (child.to_string(), before)).collect()
    }
}
