//! One connection to whoever serves a store.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use skybox_node::control::{line, read_line};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Answer, Ask, Question, Said};
use crate::store::{Entry, StoreError};

/// Questions that may wait for their answers: further ones are not asked.
const UNANSWERED_MAX: usize = 16 * 1024;
/// Questions that may wait to be written; further ones wait for room.
const UNWRITTEN_MAX: usize = 256;

pub(super) struct Link {
    out: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    tasks: [AbortHandle; 2],
}

/// Those who wait for answers, by the numbers of their questions; `None` once the connection is over.
#[derive(Default)]
struct Waiting(Mutex<Option<HashMap<u64, Waits>>>);

struct Waits {
    said: oneshot::Sender<Result<Said, StoreError>>,
    /// What has come of an answer in parts.
    entries: Vec<Entry>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Waits>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn take(&self, answer: Answer) {
        let mut all = self.lock();
        let Some(all) = all.as_mut() else { return };
        let said = match answer.said {
            Ok(Said::Part(entries)) => {
                if let Some(waits) = all.get_mut(&answer.number) {
                    waits.entries.extend(entries);
                }
                return;
            }
            said => said,
        };
        // Nobody waits for what was only told, or not any more.
        let Some(Waits { said: waits, mut entries }) = all.remove(&answer.number) else { return };
        let said = said.map(|said| match said {
            Said::Listed(mut listed) => {
                entries.append(&mut listed.entries);
                listed.entries = entries;
                Said::Listed(listed)
            }
            said => said,
        });
        drop(waits.send(said));
    }
}

/// A question that was asked. Dropped, nobody waits for its answer.
pub(super) struct Pending {
    pub(super) number: u64,
    answer: oneshot::Receiver<Result<Said, StoreError>>,
    waiting: Arc<Waiting>,
    until: Instant,
}

impl Pending {
    /// The answer.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn answer(&mut self) -> Result<Said, StoreError> {
        let unreachable = |why: &str| StoreError::Unreachable { why: why.to_owned(), may_have_run: true };
        match tokio::time::timeout_at(self.until, &mut self.answer).await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => Err(unreachable("its connection broke")),
            Err(_) => Err(unreachable("it does not answer: its process may be stopped")),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(all) = self.waiting.lock().as_mut() {
            all.remove(&self.number);
        }
    }
}

impl Link {
    pub(super) async fn connect(path: &Path) -> std::io::Result<Arc<Link>> {
        let (read, write) = UnixStream::connect(path).await?.into_split();
        let (out, unwritten) = mpsc::channel(UNWRITTEN_MAX);
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let tasks = [
            tokio::spawn(reading(read, Over(waiting.clone()))).abort_handle(),
            tokio::spawn(writing(write, unwritten)).abort_handle(),
        ];
        Ok(Arc::new(Link { out, waiting, next: AtomicU64::new(0), tasks }))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().is_none() || self.out.is_closed()
    }

    /// Asks, and waits so long for an answer at most.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, nothing was asked.
    pub(super) async fn ask(&self, ask: Ask, wait: Duration) -> Result<Pending, StoreError> {
        let until = Instant::now() + wait;
        let unasked = |why: &str| StoreError::Unreachable { why: why.to_owned(), may_have_run: false };
        let room = tokio::time::timeout_at(until, self.out.reserve()).await;
        let place = room.map_err(|_| unasked("it does not read: its process may be stopped"))?;
        let place = place.map_err(|_| unasked("its connection broke"))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (said, answer) = oneshot::channel();
        let waits = Waits { said, entries: Vec::new() };
        match self.waiting.lock().as_mut() {
            None => return Err(unasked("its connection broke")),
            Some(all) if all.len() >= UNANSWERED_MAX => {
                return Err(unasked(&format!("{UNANSWERED_MAX} questions wait for its answer already")));
            }
            Some(all) => drop(all.insert(number, waits)),
        }
        place.send(line(&Question { number, ask }));
        Ok(Pending { number, answer, waiting: self.waiting.clone(), until })
    }

    /// Asks without waiting for an answer. Without room the connection is given up: what is to be ended here ends with it.
    pub(super) fn tell(&self, ask: Ask) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.out.try_send(line(&Question { number, ask })).is_err() {
            self.close();
        }
    }

    fn close(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.waiting.lock().take();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

/// The connection is over when this is dropped: whoever waits hears that it broke.
struct Over(Arc<Waiting>);

impl Drop for Over {
    fn drop(&mut self) {
        let waiting = self.0.lock().take();
        drop(waiting);
    }
}

async fn reading(read: OwnedReadHalf, over: Over) {
    let mut lines = BufReader::new(read);
    while let Ok(answer) = read_line(&mut lines).await {
        over.0.take(answer);
    }
}

async fn writing(mut write: OwnedWriteHalf, mut unwritten: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = unwritten.recv().await {
        if write.write_all(&line).await.is_err() {
            return;
        }
    }
}
