//! Whoever serves a store: one connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use skybox_node::control::{line, read_line};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Answer, Ask, Question, Said};
use crate::store::{Entry, Listed, Store, StoreError, Watch};

/// Questions of one connection that are being answered, beside those that wait for a watch: further ones are not read.
const ASKED_MAX: usize = 256;
/// Watches of one connection.
const WATCHES_MAX: usize = 1_024;
/// Bytes of keys and values in one answer; what is listed beyond comes in further ones.
const PART_BYTES_MAX: usize = 1 << 20;
/// Bytes of a line: whoever asks reads no longer ones.
const LINE_BYTES_MAX: usize = 15 << 20;

/// The watches of a connection, by the numbers of the questions that began them.
#[derive(Default)]
struct Watches(Mutex<HashMap<u64, Place>>);

enum Place {
    /// The store is asked for it.
    Opening,
    Open(Box<dyn Watch>),
    /// Somebody waits for its next word.
    Asked,
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Place>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn begin(&self, number: u64) -> Result<(), StoreError> {
        let mut all = self.lock();
        if all.len() >= WATCHES_MAX {
            let why = format!("{WATCHES_MAX} watches of this connection are open already");
            return Err(StoreError::Refused { why });
        }
        all.insert(number, Place::Opening);
        Ok(())
    }

    fn take(&self, number: u64) -> Result<Box<dyn Watch>, StoreError> {
        let refused = |why: &str| StoreError::Refused { why: format!("watch {number} {why}") };
        let mut all = self.lock();
        let place = all.get_mut(&number).ok_or_else(|| refused("is not there"))?;
        match std::mem::replace(place, Place::Asked) {
            Place::Open(watch) => Ok(watch),
            Place::Asked => Err(refused("is asked for its next word already")),
            opening @ Place::Opening => {
                *place = opening;
                Err(refused("is not open yet"))
            }
        }
    }

    /// Puts one where it was begun, if nobody has ended it meanwhile.
    fn put(&self, number: u64, watch: Box<dyn Watch>) {
        let before = self.lock().get_mut(&number).map(|place| std::mem::replace(place, Place::Open(watch)));
        drop(before);
    }

    fn end(&self, number: u64) {
        let ended = self.lock().remove(&number);
        drop(ended);
    }
}

/// Answers whoever is at the other end, until that closes the connection.
///
/// # Errors
/// The connection broke, or something else than questions came.
pub async fn serve(store: Arc<dyn Store>, stream: UnixStream) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let (answers, mut unwritten) = mpsc::channel::<Vec<u8>>(ASKED_MAX);
    let watches: Arc<Watches> = Arc::default();
    let room = Arc::new(Semaphore::new(ASKED_MAX));
    // Dropped with all that is being answered.
    let mut answering = JoinSet::new();
    let writing = async {
        while let Some(answer) = unwritten.recv().await {
            write.write_all(&answer).await?;
        }
        Ok(())
    };
    let reading = async {
        let mut lines = BufReader::new(read);
        loop {
            let Question { number, ask } = match read_line(&mut lines).await {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            };
            // In the order in which they come, so that what is begun is there when it is to end.
            let begun = match &ask {
                Ask::Watch { .. } => watches.begin(number),
                Ask::EndWatch(watch) => {
                    watches.end(*watch);
                    continue;
                }
                _ => Ok(()),
            };
            let place = match &ask {
                // One for each watch at most.
                Ask::Next(_) => None,
                _ => room.clone().acquire_owned().await.ok(),
            };
            let (store, watches, answers) = (store.clone(), watches.clone(), answers.clone());
            answering.spawn(async move {
                let said = match begun {
                    Ok(()) => answer(&*store, &watches, number, ask).await,
                    Err(error) => Err(error),
                };
                for part in lines_of(number, said) {
                    if answers.send(part).await.is_err() {
                        break;
                    }
                }
                drop(place);
            });
            while answering.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

async fn answer(store: &dyn Store, watches: &Watches, number: u64, ask: Ask) -> Result<Said, StoreError> {
    Ok(match ask {
        Ask::List { prefix } => Said::Listed(store.list(&prefix).await?),
        Ask::Commit(txn) => Said::Committed(store.commit(txn).await?),
        Ask::Watch { prefix, from } => {
            let opened = store.watch(&prefix, from).await;
            watches.put(number, opened.inspect_err(|_| watches.end(number))?);
            Said::Done
        }
        Ask::Next(watch) => {
            let mut asked = watches.take(watch)?;
            let said = asked.next().await;
            watches.put(watch, asked);
            Said::Changes(said?)
        }
        Ask::EndWatch(watch) => {
            watches.end(watch);
            Said::Done
        }
        Ask::Grant { ttl_ms } => Said::Granted(store.grant(Duration::from_millis(ttl_ms)).await?),
        Ask::Renew(lease) => {
            store.renew(lease).await?;
            Said::Done
        }
        Ask::Revoke(lease) => {
            store.revoke(lease).await?;
            Said::Done
        }
    })
}

/// An answer, in as many lines as it takes.
fn lines_of(number: u64, said: Result<Said, StoreError>) -> Vec<Vec<u8>> {
    let of = |said| line(&Answer { number, said });
    let mut lines = Vec::new();
    let last = match said {
        Ok(Said::Listed(Listed { revision, entries })) => {
            let (mut part, mut bytes) = (Vec::<Entry>::new(), 0);
            for entry in entries {
                bytes += entry.key.len() + entry.value.len();
                part.push(entry);
                if bytes >= PART_BYTES_MAX {
                    lines.push(of(Ok(Said::Part(std::mem::take(&mut part)))));
                    bytes = 0;
                }
            }
            of(Ok(Said::Listed(Listed { revision, entries: part })))
        }
        said => of(said),
    };
    if last.len() > LINE_BYTES_MAX {
        let why = format!("its answer of {} bytes is too long", last.len());
        lines.push(of(Err(StoreError::Unreachable { why, may_have_run: true })));
    } else {
        lines.push(last);
    }
    lines
}
