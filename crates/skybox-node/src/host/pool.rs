//! A module's own threads: `cpu = n` gives it n of them for its sync and `#[compute]` methods.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use skybox_core::{CallErrorKind, Phase};
use tokio::runtime::Handle as Runtime;
use tokio::sync::oneshot;

use super::pace::Pace;
use crate::cell::{Inside, Word};
use crate::thread;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads, and the calls that wait for one.
pub(crate) struct Pool {
    shared: Arc<PoolShared>,
    threads: usize,
    jobs_max: usize,
    /// In a cell, how long a job may go on beyond its deadline until the node is told, which ends the cell: nobody can
    /// stop a thread.
    overrun: Option<(Duration, Arc<Inside>)>,
    runtime: Runtime,
}

struct PoolShared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
    pace: Pace,
    closed: bool,
}

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const GIVEN_UP: u8 = 2;
const ENDED: u8 = 3;

impl Pool {
    pub(crate) fn start(
        module: &str,
        threads: usize,
        jobs_max: usize,
        runtime: Runtime,
        overrun: Option<(Duration, Arc<Inside>)>,
    ) -> Pool {
        let shared = Arc::new(PoolShared { queue: Mutex::default(), filled: Condvar::new() });
        for n in 0..threads {
            let (shared, runtime) = (shared.clone(), runtime.clone());
            std::thread::Builder::new()
                .name(format!("{module}-{n}"))
                .spawn(move || shared.work(&runtime))
                .expect("the operating system gives a process the few threads its modules ask for");
        }
        Pool { shared, threads, jobs_max, overrun, runtime }
    }

    /// Runs a future to its end on one of the threads.
    ///
    /// # Errors
    /// `Overloaded` at once when too many wait, or so many that time would be up before; `Deadline` when time is up,
    /// which says whether it had started.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it is not run; once started it runs to its end.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        future: impl Future<Output = R> + Send + 'static,
    ) -> Result<R, CallErrorKind> {
        let (answer, result) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(WAITING));
        let theirs = state.clone();
        let job = Box::pin(async move {
            let waits =
                theirs.compare_exchange(WAITING, STARTED, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if waits && !answer.is_closed() {
                let ended = future.await;
                theirs.store(ENDED, Ordering::Release);
                // Nobody may be listening any more; the call has ended as it should.
                drop(answer.send(ended));
            }
        });
        self.push(deadline, job)?;
        let result = match deadline {
            None => result.await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), result).await {
                Ok(result) => result,
                Err(_) => {
                    let waited = state
                        .compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire)
                        .is_ok();
                    let phase = if waited { Phase::Queued } else { Phase::Running };
                    if !waited {
                        self.watch(state);
                    }
                    return Err(CallErrorKind::Deadline { phase });
                }
            },
        };
        result.map_err(|_| CallErrorKind::Cancelled)
    }

    /// How many threads there are, how many of them have a job, and how many jobs wait.
    pub(crate) fn at_work(&self) -> (usize, usize, usize) {
        let queue = self.shared.lock();
        (self.threads, self.threads.saturating_sub(queue.idle), queue.jobs.len())
    }

    /// Tells the node of a cell if a job does not come to its end.
    fn watch(&self, state: Arc<AtomicU8>) {
        let Some((overrun, node)) = self.overrun.clone() else { return };
        self.runtime.spawn(async move {
            tokio::time::sleep(overrun).await;
            if state.load(Ordering::Acquire) != ENDED {
                let past_ms = u64::try_from(overrun.as_millis()).unwrap_or(u64::MAX);
                node.say(&Word::Overran { past_ms });
            }
        });
    }

    fn push(&self, deadline: Option<Instant>, job: Job) -> Result<(), CallErrorKind> {
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= self.jobs_max {
            let what = format!("{} calls wait for one of its threads already (`queue`)", self.jobs_max);
            return Err(CallErrorKind::Overloaded { what });
        }
        let waits = queue.jobs.len() >= queue.idle;
        if let Some(deadline) = deadline
            && waits
            && let Some(what) =
                queue.pace.outlook(queue.jobs.len(), self.threads).too_late(deadline, "one of its threads")
        {
            return Err(CallErrorKind::Overloaded { what });
        }
        if waits {
            queue.pace.came();
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.filled.notify_one();
        Ok(())
    }
}

impl PoolShared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn work(&self, runtime: &Runtime) {
        thread::is_ones_own();
        loop {
            let mut queue = self.lock();
            let job = loop {
                if let Some(job) = queue.jobs.pop_front() {
                    let over = queue.jobs.is_empty();
                    queue.pace.left(1, over);
                    break job;
                }
                if queue.closed {
                    return;
                }
                queue.idle += 1;
                queue = self.filled.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
                queue.idle -= 1;
            };
            drop(queue);
            runtime.block_on(job);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("jobs_max", &self.jobs_max).finish_non_exhaustive()
    }
}
