//! Keys that are kept in view, whatever happens to the connection or to the store's history.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Change, Entry, Listed, Revision, Store, StoreError};

/// How a view is kept up when the store is in trouble.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first pause before the store is asked again; each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// A watch that says nothing for so long has broken off without a word, and another is opened. Stores say every
    /// few seconds how far they have seen.
    pub quiet: Duration,
    /// Between 0 and 1: which part of a pause is waited, so that not all ask in the same moment.
    pub jitter: fn() -> f64,
}

/// How often whoever waits for the store asks again, if nothing else is said.
pub(crate) const PACE: Pace = Pace {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(1),
    quiet: Duration::from_secs(12),
    jitter: || 1.0,
};

/// What there is under a prefix.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// All up to this one is in it. Zero: nothing has been read yet.
    pub revision: Revision,
    /// By their keys.
    pub entries: BTreeMap<String, Entry>,
    /// No other view of this process has this number, unless it is the same; zero of an empty one.
    pub(crate) serial: u64,
}

fn next_serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl View {
    /// What was listed.
    pub fn of(listed: Listed) -> View {
        let entries = listed.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        View { revision: listed.revision, entries, serial: next_serial() }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        self.serial = next_serial();
        for change in changes {
            match change.entry {
                Some(entry) => drop(self.entries.insert(change.key, entry)),
                None => drop(self.entries.remove(&change.key)),
            }
        }
    }
}

/// Keys that are kept in view as long as this is there.
pub struct Followed {
    view: watch::Receiver<Arc<View>>,
    health: watch::Receiver<Health>,
    task: AbortHandle,
}

/// How well a view is kept.
#[derive(Clone, Debug)]
struct Health {
    /// When the store last said something.
    heard: Instant,
    /// Why it does not, if so.
    trouble: Option<StoreError>,
}

impl Followed {
    /// The view, and each later one. A change that is undone at once may not be seen.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// For how long the view may be out of date, and why it is not kept up at the moment.
    pub fn age(&self) -> (Duration, Option<StoreError>) {
        let health = self.health.borrow();
        (health.heard.elapsed(), health.trouble.clone())
    }

    /// Says from now on for how long the view may be out of date, also when it is not kept any more.
    pub(crate) fn freshness(&self) -> Freshness {
        Freshness(self.health.clone())
    }

    /// Resolves when the view is not kept up with the store, with the reason.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn in_trouble(&self) -> StoreError {
        let mut health = self.health.clone();
        let health = health.wait_for(|health| health.trouble.is_some()).await;
        let health = health.expect("the task that keeps it ends with this");
        health.trouble.clone().expect("it was waited for")
    }

    /// Resolves with the first view that is not older than this revision, at which one of its keys was changed; of zero,
    /// with the first that there is. Not all stores tell how far they have seen while others are changed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn at(&self, revision: Revision) -> Arc<View> {
        let mut views = self.view.clone();
        let view = views.wait_for(|view| view.revision >= revision.max(Revision(1))).await;
        view.expect("the task that keeps it ends with this").clone()
    }
}

/// For how long a view may be out of date.
#[derive(Clone, Debug)]
pub(crate) struct Freshness(watch::Receiver<Health>);

impl Freshness {
    pub(crate) fn age(&self) -> Duration {
        self.0.borrow().heard.elapsed()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("revision", &self.view.borrow().revision).finish_non_exhaustive()
    }
}

/// Keeps all keys that begin so in view. A watch that breaks off is resumed where it was; if the store has forgotten what
/// came then, all keys are read again.
pub fn follow(runtime: &tokio::runtime::Handle, store: Arc<dyn Store>, prefix: &str, pace: Pace) -> Followed {
    let (views, view) = watch::channel(Arc::default());
    let (healths, health) = watch::channel(Health { heard: Instant::now(), trouble: None });
    let following = Following { store, prefix: prefix.to_owned(), pace, views, healths };
    Followed { view, health, task: runtime.spawn(following.run()).abort_handle() }
}

/// Resolves when one of these views has changed since it was looked at.
///
/// # Cancel safety
/// Dropping the future loses nothing.
pub(crate) async fn any_changed(views: &mut [watch::Receiver<Arc<View>>]) {
    let mut waiting: Vec<_> = views.iter_mut().map(|views| Box::pin(views.changed())).collect();
    std::future::poll_fn(|cx| {
        let any = waiting.iter_mut().any(|one| one.as_mut().poll(cx).is_ready());
        if any { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

struct Following {
    store: Arc<dyn Store>,
    prefix: String,
    pace: Pace,
    views: watch::Sender<Arc<View>>,
    healths: watch::Sender<Health>,
}

impl Following {
    async fn run(self) {
        let mut pause = self.pace.first;
        let mut seen = Revision::default();
        loop {
            let mut heard = false;
            let Err(error) = self.keep(&mut seen, &mut heard).await;
            if matches!(error, StoreError::Compacted { .. }) {
                // Its keys are there to be read: this is no trouble, but that it is read again and again.
                tracing::info!(prefix = self.prefix, "{error}: all is read again");
                seen = Revision::default();
            } else {
                tracing::warn!(prefix = self.prefix, "not kept up with the store: {error}");
                self.healths.send_modify(|health| health.trouble = Some(error));
            }
            if heard {
                pause = self.pace.first;
            }
            let part = (self.pace.jitter)();
            tokio::time::sleep(pause.mul_f64(if part.is_finite() { part.clamp(0.0, 1.0) } else { 1.0 }))
                .await;
            pause = (pause * 2).min(self.pace.longest);
        }
    }

    /// Until something fails; says whether a watch has said anything.
    async fn keep(
        &self,
        seen: &mut Revision,
        heard: &mut bool,
    ) -> Result<std::convert::Infallible, StoreError> {
        if *seen == Revision::default() {
            let asked = Instant::now();
            let listed = self.in_time(self.store.list(&self.prefix)).await?;
            *seen = listed.revision;
            self.hears(asked);
            self.views.send_replace(Arc::new(View::of(listed)));
        }
        let mut watch = self.in_time(self.store.watch(&self.prefix, seen.next())).await?;
        loop {
            let changes = self.in_time(watch.next()).await?;
            *seen = (*seen).max(changes.revision);
            *heard = true;
            self.hears(Instant::now());
            // How far it has seen of what does not change is of no interest: nobody is woken for it.
            if !changes.changes.is_empty() {
                self.views.send_modify(|view| {
                    let view = Arc::make_mut(view);
                    view.apply(changes.changes);
                    view.revision = *seen;
                });
            }
        }
    }

    async fn in_time<V>(&self, asking: impl Future<Output = Result<V, StoreError>>) -> Result<V, StoreError> {
        let answered = tokio::time::timeout(self.pace.quiet, asking).await;
        let why = || format!("it has said nothing for {:?}", self.pace.quiet);
        answered.map_err(|_| StoreError::Unreachable { why: why(), may_have_run: false })?
    }

    fn hears(&self, heard: Instant) {
        self.healths.send_replace(Health { heard, trouble: None });
    }
}
