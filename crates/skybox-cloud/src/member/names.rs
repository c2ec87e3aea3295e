//! Names of instances, each a key in the store on the lease of the node where its instance is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use skybox_core::InstanceId;
use skybox_plan::names::{Holder, NAMES_MAX, NAMES_OF_ONE_MAX, NameAnswer, NameAsk, check_name};

use super::Shared;
use crate::records::{NAME, text};
use crate::store::{Condition, Entry, LeaseId, Op, StoreError, Txn};

/// The names of the instances here, and what the store says of all.
pub(super) struct Names {
    shared: Arc<Shared>,
    /// What was asked for instances here, and has not been freed: they may have it.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_instance: BTreeMap<InstanceId, BTreeMap<String, Holder>>,
    count: usize,
}

impl Held {
    /// Says whether it was not there before; nothing where there is no room.
    fn add(&mut self, name: &str, holder: &Holder) -> Option<bool> {
        let is_new = !self.by_instance.get(&holder.instance).is_some_and(|names| names.contains_key(name));
        if is_new {
            if self.count >= NAMES_MAX {
                return None;
            }
            self.count += 1;
            self.by_instance.entry(holder.instance).or_default().insert(name.to_owned(), holder.clone());
        }
        Some(is_new)
    }

    fn remove(&mut self, name: &str, instance: InstanceId) {
        let Some(names) = self.by_instance.get_mut(&instance) else { return };
        if names.remove(name).is_some() {
            self.count -= 1;
        }
        if names.is_empty() {
            self.by_instance.remove(&instance);
        }
    }
}

impl Names {
    pub(super) fn new(shared: Arc<Shared>) -> Names {
        Names { shared, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Does what is asked.
    pub(super) async fn answer(&self, ask: NameAsk) -> Result<NameAnswer, StoreError> {
        match ask {
            NameAsk::Register { name, holder } => self.register(&name, holder).await,
            NameAsk::Whereis { name } => {
                if let Err(bytes) = check_name(&name) {
                    return Ok(NameAnswer::NotAName { bytes });
                }
                Ok(NameAnswer::Holder(self.read(&name).await?.map(|(holder, _)| holder)))
            }
            NameAsk::Unregister { name } => self.unregister(&name).await,
            NameAsk::Of { instances } => {
                let held = self.held();
                let of = |instance: InstanceId| {
                    let names = held.by_instance.get(&instance)?.keys().take(NAMES_OF_ONE_MAX).cloned();
                    Some((instance, names.collect()))
                };
                Ok(NameAnswer::Of(instances.into_iter().filter_map(of).collect()))
            }
        }
    }

    async fn register(&self, name: &str, holder: Holder) -> Result<NameAnswer, StoreError> {
        if let Err(bytes) = check_name(name) {
            return Ok(NameAnswer::NotAName { bytes });
        }
        // Before it is asked for: if the answer is lost, it is freed with the instance all the same.
        let Some(is_new) = self.held().add(name, &holder) else { return Ok(NameAnswer::Full) };
        let Some(lease) = *self.shared.lease.borrow() else {
            if is_new {
                self.held().remove(name, holder.instance);
            }
            let why =
                "this node has no lease, as if it had just been taken for lost: ask again later".to_owned();
            return Err(StoreError::Unreachable { why, may_have_run: false });
        };
        match self.put(lease, name, &holder).await {
            Ok(None) => Ok(NameAnswer::Done),
            Ok(Some(other)) => {
                self.held().remove(name, holder.instance);
                Ok(NameAnswer::Taken(other))
            }
            Err(error) => {
                if is_new && !matches!(error, StoreError::Unreachable { may_have_run: true, .. }) {
                    self.held().remove(name, holder.instance);
                }
                Err(error)
            }
        }
    }

    /// Puts a name there, or says who else has it.
    async fn put(&self, lease: LeaseId, name: &str, holder: &Holder) -> Result<Option<Holder>, StoreError> {
        let key = format!("{NAME}{name}");
        let put = || Op::put_on(lease, key.clone(), text(holder));
        loop {
            let txn = Txn::when([Condition::Absent(key.clone())], [put()]).otherwise([Op::Get(key.clone())]);
            let committed = self.shared.store.commit(txn).await?;
            if committed.met {
                return Ok(None);
            }
            let Some(entry) = committed.got.into_iter().flatten().next() else { continue };
            let Some((has, entry)) = read(entry) else {
                return Err(StoreError::NotText { key });
            };
            if has.instance != holder.instance {
                return Ok(Some(has));
            }
            if entry.lease == Some(lease) {
                return Ok(None);
            }
            // It is on a lease that this node had before.
            let again = Txn::when([Condition::ChangedAt(key.clone(), entry.changed)], [put()]);
            if self.shared.store.commit(again).await?.met {
                return Ok(None);
            }
        }
    }

    async fn read(&self, name: &str) -> Result<Option<(Holder, Entry)>, StoreError> {
        let got = self.shared.store.commit(Txn::of([Op::Get(format!("{NAME}{name}"))])).await?.got;
        Ok(got.into_iter().flatten().next().and_then(read))
    }

    async fn unregister(&self, name: &str) -> Result<NameAnswer, StoreError> {
        if let Err(bytes) = check_name(name) {
            return Ok(NameAnswer::NotAName { bytes });
        }
        loop {
            let Some((holder, entry)) = self.read(name).await? else { return Ok(NameAnswer::Holder(None)) };
            if self.delete(&entry).await? {
                self.held().remove(name, holder.instance);
                return Ok(NameAnswer::Holder(Some(holder)));
            }
        }
    }

    async fn delete(&self, entry: &Entry) -> Result<bool, StoreError> {
        let unchanged = Condition::ChangedAt(entry.key.clone(), entry.changed);
        Ok(self.shared.store.commit(Txn::when([unchanged], [Op::Delete(entry.key.clone())])).await?.met)
    }

    /// Frees the names of an instance of which nothing is left; resolves when it has none, however long that takes.
    pub(super) async fn free(&self, instance: InstanceId) {
        let mut failures = 0;
        loop {
            let name = self.held().by_instance.get(&instance).and_then(|names| names.keys().next().cloned());
            let Some(name) = name else { return };
            let freed = async {
                let entry = self.read(&name).await?.filter(|(holder, _)| holder.instance == instance);
                match entry {
                    None => Ok(true),
                    Some((_, entry)) => self.delete(&entry).await,
                }
            };
            match freed.await {
                Ok(true) => self.held().remove(&name, instance),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(name, %instance, "a name could not be freed: {error}");
                    self.shared.pause(failures).await;
                    failures += 1;
                }
            }
        }
    }

    /// Puts all names on the node's lease whenever that is another one; for as long as it is awaited.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut leases = self.shared.lease.subscribe();
        let first = self.shared.lease().await;
        let mut on = first;
        loop {
            let lease = self.shared.lease().await;
            if lease == on {
                // The sender lives in what this holds.
                drop(leases.changed().await);
                continue;
            }
            if self.regain(lease).await {
                on = lease;
            }
        }
    }

    /// Says whether all is done that can be.
    async fn regain(&self, lease: LeaseId) -> bool {
        let held: BTreeSet<_> = {
            let held = self.held();
            let names = held.by_instance.iter();
            names.flat_map(|(instance, names)| names.keys().map(|name| (*instance, name.clone()))).collect()
        };
        for (instance, name) in held {
            let holder = self.held().by_instance.get(&instance).and_then(|names| names.get(&name).cloned());
            let Some(holder) = holder else { continue };
            match self.put(lease, &name, &holder).await {
                Ok(None) => {}
                Ok(Some(other)) => {
                    tracing::warn!(
                        name, %instance,
                        "it has lost its name while this node was taken for lost: {} on {} has it", other.instance, other.node
                    );
                    self.held().remove(&name, instance);
                }
                Err(error) => {
                    tracing::warn!(name, %instance, "it has no name at the moment: {error}");
                    self.shared.pause(2).await;
                    return false;
                }
            }
        }
        true
    }
}

fn read(entry: Entry) -> Option<(Holder, Entry)> {
    match serde_json::from_str(&entry.value) {
        Ok(holder) => Some((holder, entry)),
        Err(error) => {
            tracing::warn!(key = entry.key, "what the store has there is no holder of a name: {error}");
            None
        }
    }
}
