//! What becomes of those who cannot reach their store for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use skybox_cloud::store::{
    Asked, Changes, Committed, Embedded, Lease, LeaseId, Listed, Memory, Op, Pace, Revision, Store,
    StoreError, Txn, Watch, follow,
};
use tokio::net::UnixListener;
use tokio::sync::watch;

/// A store whose watches break off, and cannot be opened, while it is cut.
struct Cut {
    memory: Memory,
    is_cut: watch::Receiver<bool>,
}

fn broken<V>() -> Result<V, StoreError> {
    Err(StoreError::Unreachable { why: "cut".to_owned(), may_have_run: false })
}

impl Store for Cut {
    fn list(&self, prefix: &str) -> Asked<'_, Listed> {
        self.memory.list(prefix)
    }

    fn commit(&self, txn: Txn) -> Asked<'_, Committed> {
        self.memory.commit(txn)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Asked<'_, Box<dyn Watch>> {
        let (opening, is_cut) = (self.memory.watch(prefix, from), self.is_cut.clone());
        Box::pin(async move {
            if *is_cut.borrow() {
                return broken();
            }
            let watch = opening.await?;
            Ok(Box::new(CutWatch { watch, is_cut }) as Box<dyn Watch>)
        })
    }

    fn grant(&self, ttl: Duration) -> Asked<'_, Lease> {
        self.memory.grant(ttl)
    }

    fn renew(&self, lease: LeaseId) -> Asked<'_, ()> {
        self.memory.renew(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Asked<'_, ()> {
        self.memory.revoke(lease)
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cut")
    }
}

struct CutWatch {
    watch: Box<dyn Watch>,
    is_cut: watch::Receiver<bool>,
}

impl Watch for CutWatch {
    fn next(&mut self) -> Asked<'_, Changes> {
        Box::pin(async move {
            tokio::select! {
                biased;
                _ = self.is_cut.wait_for(|is_cut| *is_cut) => broken(),
                told = self.watch.next() => told,
            }
        })
    }
}

async fn written(memory: &Memory, op: Op) -> Revision {
    memory.commit(Txn::of([op])).await.unwrap().revision
}

/// With a clock that stands still while anybody runs.
#[tokio::test(start_paused = true)]
async fn a_view_is_read_anew_when_its_history_is_forgotten() {
    let runtime = tokio::runtime::Handle::current();
    let memory = Memory::new(&runtime);
    let (cut, is_cut) = watch::channel(false);
    let store = Arc::new(Cut { memory: memory.clone(), is_cut });
    let pace = Pace {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(10),
        quiet: Duration::from_secs(5),
        jitter: || 1.0,
    };
    let followed = follow(&runtime, store, "own/", pace);
    for key in ["own/a", "own/b"] {
        written(&memory, Op::put(key, "0")).await;
    }
    let begun = written(&memory, Op::put("own/c", "0")).await;
    assert_eq!(followed.at(begun).await.entries.len(), 3);

    cut.send_replace(true);
    let error = followed.in_trouble().await;
    assert!(error.to_string().contains("cut"), "{error}");
    written(&memory, Op::Delete("own/b".to_owned())).await;
    let last = written(&memory, Op::put("own/d", "0")).await;
    memory.compact(last);
    // It is tried less and less often; what it knew is still there.
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(*followed.views().borrow().entries.keys().collect::<Vec<_>>(), ["own/a", "own/b", "own/c"]);
    assert!(followed.age().0 >= Duration::from_secs(600));

    cut.send_replace(false);
    let mended = tokio::time::Instant::now();
    let view = followed.at(last).await;
    assert_eq!(
        view.entries.keys().collect::<Vec<_>>(),
        ["own/a", "own/c", "own/d"],
        "also what is no more is seen"
    );
    assert!(mended.elapsed() <= pace.longest * 2, "{:?}", mended.elapsed());
    assert!(followed.age().1.is_none());
    let next = written(&memory, Op::put("own/a", "1")).await;
    assert_eq!(followed.at(next).await.entries["own/a"].value, "1");
}

#[tokio::test(start_paused = true)]
async fn a_view_of_a_store_that_has_begun_anew_is_read_anew() {
    let runtime = tokio::runtime::Handle::current();
    let memory = Memory::new(&runtime);
    for n in 0..10 {
        written(&memory, Op::put("own/a", n.to_string())).await;
    }
    let seen = memory.list("own/").await.unwrap().revision;
    let another = Memory::new(&runtime);
    written(&another, Op::put("own/b", "0")).await;
    let mut watch = another.watch("own/", seen.next()).await.unwrap();
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
}

/// Somebody takes connections, and reads nothing from them.
#[tokio::test]
async fn a_store_whose_process_is_stopped_holds_nobody() {
    let path = std::env::temp_dir().join(format!("skybox-store-{}-stopped.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let store = Embedded::at(&path, Duration::from_millis(200));
    let lease = LeaseId(1);
    let refusals = [
        store.list("own/").await.map(drop).unwrap_err(),
        store.commit(Txn::of([Op::put("own/a", "0")])).await.map(drop).unwrap_err(),
        store.watch("own/", Revision(1)).await.map(drop).unwrap_err(),
        store.renew(lease).await.unwrap_err(),
    ];
    for refusal in refusals {
        let StoreError::Unreachable { why, may_have_run: true } = &refusal else { panic!("{refusal}") };
        assert!(why.contains("stopped"), "{why}");
    }
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    let refusal = Embedded::at(&path, Duration::from_secs(10)).list("own/").await.unwrap_err();
    assert!(matches!(refusal, StoreError::Unreachable { may_have_run: false, .. }), "{refusal}");
}
