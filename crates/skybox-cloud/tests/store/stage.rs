//! A store to be tried out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skybox_cloud::store::{
    Changes, Condition, Embedded, Followed, Listed, Memory, Op, Pace, Revision, Store, StoreError, Txn,
    Watch, follow, serve,
};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// What is waited for takes far less; beyond, it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// As long as leases last here: on a busy machine they may not be renewed for a second or two.
pub(crate) const TTL: Duration = Duration::from_secs(4);

pub(crate) enum Kind {
    Memory,
    Embedded,
    #[cfg(feature = "etcd")]
    Etcd,
}

pub(crate) struct Stage {
    pub(crate) store: Arc<dyn Store>,
    behind: Behind,
}

enum Behind {
    Memory(Memory),
    Embedded(Served),
    #[cfg(feature = "etcd")]
    Etcd(Box<crate::member::Member>),
}

/// A store behind a socket.
struct Served {
    memory: Memory,
    path: PathBuf,
    serving: JoinSet<()>,
}

impl Served {
    fn begin(&mut self) {
        drop(std::fs::remove_file(&self.path));
        let listener = UnixListener::bind(&self.path).expect("a socket in a directory of its own");
        let memory = self.memory.clone();
        self.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(Arc::new(memory.clone()), stream));
            }
        });
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

impl Stage {
    pub(crate) async fn of(kind: Kind) -> Stage {
        let memory = || Memory::new(&tokio::runtime::Handle::current());
        match kind {
            Kind::Memory => {
                let memory = memory();
                Stage { store: Arc::new(memory.clone()), behind: Behind::Memory(memory) }
            }
            Kind::Embedded => {
                let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
                let name = format!("skybox-store-{}-{test}.sock", std::process::id());
                let path = std::env::temp_dir().join(name);
                let mut served = Served { memory: memory(), path, serving: JoinSet::new() };
                served.begin();
                Stage {
                    store: Arc::new(Embedded::at(&served.path, Duration::from_secs(10))),
                    behind: Behind::Embedded(served),
                }
            }
            #[cfg(feature = "etcd")]
            Kind::Etcd => {
                let member = crate::member::Member::start(&[]).await;
                Stage { store: Arc::new(member.store().await), behind: Behind::Etcd(Box::new(member)) }
            }
        }
    }

    /// Forgets the changes up to this one.
    pub(crate) async fn compact(&self, revision: Revision) {
        match &self.behind {
            Behind::Memory(memory) => memory.compact(revision),
            Behind::Embedded(served) => served.memory.compact(revision),
            #[cfg(feature = "etcd")]
            Behind::Etcd(member) => member.compact(revision).await,
        }
    }

    /// Ends all connections to the store. Until [`mend`](Stage::mend), there are no new ones.
    pub(crate) async fn break_off(&mut self) {
        match &mut self.behind {
            Behind::Memory(_) => {}
            Behind::Embedded(served) => served.serving.shutdown().await,
            #[cfg(feature = "etcd")]
            Behind::Etcd(member) => member.kill().await,
        }
    }

    pub(crate) async fn mend(&mut self) {
        match &mut self.behind {
            Behind::Memory(_) => {}
            Behind::Embedded(served) => served.begin(),
            #[cfg(feature = "etcd")]
            Behind::Etcd(member) => member.start_again().await,
        }
    }

    /// Whether there is a connection that can break.
    pub(crate) fn connects(&self) -> bool {
        !matches!(self.behind, Behind::Memory(_))
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> Revision {
        self.store.commit(Txn::of([Op::put(key, value)])).await.unwrap().revision
    }

    /// Has a key have a value, however often it takes until the store says so.
    pub(crate) async fn put_at_last(&self, key: &str, value: &str) -> Revision {
        loop {
            match self.store.commit(Txn::of([Op::put(key, value)])).await {
                Err(StoreError::Unreachable { .. }) => {}
                committed => return committed.unwrap().revision,
            }
        }
    }

    pub(crate) async fn list(&self, prefix: &str) -> Listed {
        self.store.list(prefix).await.unwrap()
    }

    /// The keys that begin so, with their values.
    pub(crate) async fn all(&self, prefix: &str) -> Vec<(String, String)> {
        let entries = self.list(prefix).await.entries;
        entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    pub(crate) async fn watch(&self, prefix: &str, from: Revision) -> Box<dyn Watch> {
        self.store.watch(prefix, from).await.unwrap()
    }

    pub(crate) fn follow(&self, prefix: &str) -> Followed {
        let pace = Pace {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(200),
            quiet: Duration::from_secs(10),
            jitter: || 1.0,
        };
        follow(&tokio::runtime::Handle::current(), self.store.clone(), prefix, pace)
    }

    /// Waits until a key is gone.
    pub(crate) async fn is_gone(&self, key: &str) {
        let listed = self.list(key).await;
        let mut watch = self.watch(key, listed.revision.next()).await;
        let mut there = listed.entries.iter().any(|entry| entry.key == key);
        while there {
            let changes = watch.next().await.unwrap().changes;
            there =
                changes.iter().rfind(|change| change.key == key).is_none_or(|change| change.entry.is_some());
        }
    }
}

/// Takes one after another until there are so many changes.
pub(crate) async fn changes(watch: &mut dyn Watch, count: usize) -> Vec<Changes> {
    let (mut taken, mut seen) = (Vec::new(), 0);
    while seen < count {
        let next = watch.next().await.unwrap();
        seen += next.changes.len();
        if !next.changes.is_empty() {
            taken.push(next);
        }
    }
    assert_eq!(seen, count, "{taken:?}");
    taken
}

pub(crate) fn absent(key: &str) -> Condition {
    Condition::Absent(key.to_owned())
}
