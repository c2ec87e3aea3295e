//! A store that another process of this machine serves: one line of JSON for each question and each answer, over a Unix
//! socket.
//!
//! A watch asks for each next word of its own, so one that nobody reads holds no answer up: least of all that a lease was
//! renewed.

mod link;
mod serving;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use link::{Link, Pending};
pub use serving::serve;

use super::{
    Asked, Changes, Committed, Entry, Lease, LeaseId, Listed, Revision, Store, StoreError, Txn, Watch,
};

/// What is asked, under a number that was not used before on the connection.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    number: u64,
    ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    List {
        prefix: String,
    },
    Commit(Txn),
    /// Begins a watch, which has the number of this question.
    Watch {
        prefix: String,
        from: Revision,
    },
    /// The next word of the watch of that number.
    Next(u64),
    /// Nobody reads it any more. This is not answered.
    EndWatch(u64),
    Grant {
        ttl_ms: u64,
    },
    Renew(LeaseId),
    Revoke(LeaseId),
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    number: u64,
    said: Result<Said, StoreError>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Said {
    /// Some of what was listed; more comes.
    Part(Vec<Entry>),
    /// The rest, and at which revision all is.
    Listed(Listed),
    Committed(Committed),
    Changes(Changes),
    Granted(Lease),
    Done,
}

/// A store behind a socket.
///
/// It is connected when it is asked first, and again when the connection has broken: then what was asked and not answered
/// fails with `Unreachable`, and says whether it may have been done. Leases and keys are the store's and stay.
pub struct Embedded {
    path: PathBuf,
    wait: Duration,
    link: Mutex<Option<Arc<Link>>>,
}

impl Embedded {
    /// The store that is served there. Whoever asks waits so long at most, whatever has become of the process.
    pub fn at(path: &Path, wait: Duration) -> Embedded {
        Embedded { path: path.to_owned(), wait, link: Mutex::default() }
    }

    async fn link(&self) -> Result<Arc<Link>, StoreError> {
        // A process that is stopped takes connections until its queue of them is full.
        let late = || StoreError::Unreachable {
            why: format!(
                "the parent's store at {} takes no connection: it may be stopped",
                self.path.display()
            ),
            may_have_run: false,
        };
        tokio::time::timeout(self.wait, self.open_link()).await.map_err(|_| late())?
    }

    async fn open_link(&self) -> Result<Arc<Link>, StoreError> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        let unreachable = |error| StoreError::Unreachable {
            why: format!("the parent's store at {}: {error}", self.path.display()),
            may_have_run: false,
        };
        Ok(link.insert(Link::connect(&self.path).await.map_err(unreachable)?).clone())
    }

    async fn ask(&self, ask: Ask) -> Result<Said, StoreError> {
        self.link().await?.ask(ask, self.wait).await?.answer().await
    }
}

fn unexpected<V>(said: &Said) -> Result<V, StoreError> {
    let why = format!("it has answered something else than it was asked: {said:?}");
    Err(StoreError::Unreachable { why, may_have_run: true })
}

impl Store for Embedded {
    fn list(&self, prefix: &str) -> Asked<'_, Listed> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            match self.ask(Ask::List { prefix }).await? {
                Said::Listed(listed) => Ok(listed),
                other => unexpected(&other),
            }
        })
    }

    fn commit(&self, txn: Txn) -> Asked<'_, Committed> {
        Box::pin(async move {
            txn.check()?;
            match self.ask(Ask::Commit(txn)).await? {
                Said::Committed(committed) => Ok(committed),
                other => unexpected(&other),
            }
        })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Asked<'_, Box<dyn Watch>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let link = self.link().await?;
            let mut asked = link.ask(Ask::Watch { prefix, from }, self.wait).await?;
            // From here on there is something to be ended.
            let watch = Watching { link, number: asked.number, wait: self.wait, asked: None };
            match asked.answer().await? {
                Said::Done => Ok(Box::new(watch) as Box<dyn Watch>),
                other => unexpected(&other),
            }
        })
    }

    fn grant(&self, ttl: Duration) -> Asked<'_, Lease> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Box::pin(async move {
            match self.ask(Ask::Grant { ttl_ms }).await? {
                Said::Granted(lease) => Ok(lease),
                other => unexpected(&other),
            }
        })
    }

    fn renew(&self, lease: LeaseId) -> Asked<'_, ()> {
        Box::pin(async move {
            match self.ask(Ask::Renew(lease)).await? {
                Said::Done => Ok(()),
                other => unexpected(&other),
            }
        })
    }

    fn revoke(&self, lease: LeaseId) -> Asked<'_, ()> {
        Box::pin(async move {
            match self.ask(Ask::Revoke(lease)).await? {
                Said::Done => Ok(()),
                other => unexpected(&other),
            }
        })
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("path", &self.path).finish_non_exhaustive()
    }
}

struct Watching {
    link: Arc<Link>,
    number: u64,
    wait: Duration,
    /// What was asked last, until somebody takes the answer.
    asked: Option<Pending>,
}

impl Watch for Watching {
    fn next(&mut self) -> Asked<'_, Changes> {
        Box::pin(async move {
            let asked = match &mut self.asked {
                Some(asked) => asked,
                none => none.insert(self.link.ask(Ask::Next(self.number), self.wait).await?),
            };
            let said = asked.answer().await;
            self.asked = None;
            match said? {
                Said::Changes(changes) => Ok(changes),
                other => unexpected(&other),
            }
        })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.link.tell(Ask::EndWatch(self.number));
    }
}
