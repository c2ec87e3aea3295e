//! Keeps figures of several resources, by looking at connections and by asking where there are none.

mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skybox_node::config::{Endpoint, Probe, ResourceConfig};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::kernel::{self, Reading};
use super::window::Figure;
use super::{Measured, Method, Unknown, Wait, probe};
use watched::Watched;

/// So many resources are measured by one prober. A program has a handful.
pub const RESOURCES_MAX: usize = 64;

/// How often resources are measured, by clocks of the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks at the program's connections, which cost the resources nothing, and the shortest time between two
    /// probes of one resource. 1 s, and up to half as long again.
    pub every: Duration,
    /// So many probes a second reach a resource at the most, from all hosts together. 10.
    pub per_second: u32,
    /// How long the addresses of a name are believed. 30 s, and up to half as long again.
    pub names: Duration,
    /// A sample that is older is forgotten, unless hosts are so many that eight take longer. 60 s.
    pub forget: Duration,
    /// How long a probe waits.
    pub wait: Wait,
    /// At least 0 and below 1: by which part of its half a pause is longer, and when the first probe is made, so that not
    /// all hosts ask in the same moment.
    pub jitter: fn() -> f64,
}

impl Pace {
    /// What is usual.
    pub fn new(jitter: fn() -> f64) -> Pace {
        Pace {
            every: Duration::from_secs(1),
            per_second: 10,
            names: Duration::from_secs(30),
            forget: Duration::from_secs(60),
            wait: Wait::default(),
            jitter,
        }
    }

    /// Between two probes of one resource by one of so many hosts, if all luck is bad.
    fn period(&self, hosts: u32) -> Duration {
        let of_all = Duration::from_secs(1) / self.per_second.max(1);
        self.every.max(of_all.saturating_mul(hosts))
    }

    fn part(&self) -> f64 {
        let part = (self.jitter)();
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 1.0 }
    }

    /// By which a pause is multiplied. Not below one: the longest rate is a promise.
    fn stretch(&self) -> f64 {
        1.0 + self.part() / 2.0
    }
}

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// As in `skybox.toml`.
    pub name: String,
    /// Where it is; `None` where its address does not say that.
    pub endpoint: Option<Endpoint>,
    /// What is asked of it where there is no connection in use.
    pub probe: Probe,
}

impl Resource {
    /// A resource as `skybox.toml` has it.
    pub fn of(name: &str, config: &ResourceConfig) -> Resource {
        Resource { name: name.to_owned(), endpoint: config.endpoint(), probe: config.probe() }
    }
}

/// There are more than [`RESOURCES_MAX`] resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} resources are to be measured; the most are {RESOURCES_MAX}")]
pub struct TooMany {
    /// So many.
    pub count: usize,
}

type Figures = BTreeMap<String, Result<Figure, Unknown>>;

/// Measures resources as long as it is there.
pub struct Prober {
    figures: watch::Receiver<Arc<Figures>>,
    hosts: watch::Sender<u32>,
    task: AbortHandle,
}

impl Prober {
    /// Begins to measure, as one of `hosts` hosts that do so.
    ///
    /// The answers of Postgres are timed by tasks of this runtime. One that is kept busy makes them look late, so hand in
    /// another than that of the program's calls where there is one. Names are resolved on its blocking threads, at most
    /// one name of each resource at a time; a runtime that is dropped meanwhile waits for the resolver.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn start(
        runtime: &tokio::runtime::Handle,
        resources: impl IntoIterator<Item = Resource>,
        hosts: u32,
        pace: Pace,
    ) -> Result<Prober, TooMany> {
        let resources: Vec<_> = resources.into_iter().collect();
        if resources.len() > RESOURCES_MAX {
            return Err(TooMany { count: resources.len() });
        }
        let now = Instant::now();
        let watched: Vec<_> =
            resources.into_iter().map(|resource| Watched::new(resource, now, pace.part())).collect();
        let first = watched.iter().map(Watched::figure).collect();
        let (publish, figures) = watch::channel(Arc::new(first));
        let (hosts, told) = watch::channel(hosts);
        let probing = Probing {
            watched,
            pace,
            hosts: told,
            publish,
            look_at: now,
            is_looking: false,
            is_refused: false,
        };
        Ok(Prober { figures, hosts, task: runtime.spawn(probing.run()).abort_handle() })
    }

    /// So many hosts measure from now on.
    pub fn set_hosts(&self, hosts: u32) {
        self.hosts.send_if_modified(|told| std::mem::replace(told, hosts) != hosts);
    }

    /// How far away a resource is.
    ///
    /// # Errors
    /// [`Unknown`]: why that is not known. While a resource that was measured does not answer, its last figure remains for
    /// a minute, and grows old.
    pub fn measured(&self, name: &str) -> Result<Measured, Unknown> {
        let figures = self.figures.borrow();
        figures.get(name).map_or(Err(Unknown::NoResource), |figure| measured(figure, Instant::now()))
    }

    /// All resources, by name.
    pub fn all(&self) -> BTreeMap<String, Result<Measured, Unknown>> {
        let now = Instant::now();
        self.figures.borrow().iter().map(|(name, figure)| (name.clone(), measured(figure, now))).collect()
    }

    /// Resolves with what is known of a resource once `is_so` says that this is what is waited for.
    ///
    /// # Errors
    /// [`Unknown::NoResource`], at once.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn when(
        &self,
        name: &str,
        mut is_so: impl FnMut(&Result<Measured, Unknown>) -> bool,
    ) -> Result<Measured, Unknown> {
        let mut figures = self.figures.clone();
        loop {
            figures.borrow_and_update();
            match self.measured(name) {
                Err(Unknown::NoResource) => return Err(Unknown::NoResource),
                now if is_so(&now) => return now,
                // The task has ended with its runtime: nothing else will come.
                now if figures.changed().await.is_err() => return now,
                _ => {}
            }
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").field("figures", &self.figures.borrow()).finish_non_exhaustive()
    }
}

fn measured(figure: &Result<Figure, Unknown>, now: Instant) -> Result<Measured, Unknown> {
    let Figure { round_trip, method, samples, at } = figure.clone()?;
    Ok(Measured { round_trip, method, samples, age: now.saturating_duration_since(at) })
}

struct Probing {
    watched: Vec<Watched>,
    pace: Pace,
    hosts: watch::Receiver<u32>,
    publish: watch::Sender<Arc<Figures>>,
    /// When the kernel is asked again.
    look_at: Instant,
    is_looking: bool,
    /// Whether the kernel has refused to tell; said once.
    is_refused: bool,
}

/// Each address that the kernel was asked for, and what it said.
type Look = BTreeMap<SocketAddr, Option<Reading>>;

/// What has come of something that was begun.
enum Done {
    Resolved(usize, io::Result<Vec<SocketAddr>>),
    Looked(io::Result<Look>),
    Answered(usize, Result<(Method, Duration), Unknown>),
}

impl Probing {
    async fn run(mut self) {
        // Whatever has been begun ends with this.
        let mut begun = JoinSet::new();
        loop {
            let period = self.pace.period(*self.hosts.borrow_and_update());
            let wake = self.begin(&mut begun, period);
            tokio::select! {
                Some(done) = begun.join_next() => match done {
                    Ok(done) => self.take(done),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime ends.
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(wake) => {}
                told = self.hosts.changed() => if told.is_err() { return },
            }
            self.tell(period);
        }
    }

    /// Begins what is due, and says when more is.
    fn begin(&mut self, begun: &mut JoinSet<Done>, period: Duration) -> Instant {
        let now = Instant::now();
        let pace = self.pace;
        // At the latest: names may be due, and samples grow old.
        let mut wake = now + pace.every;
        if !self.is_looking && self.look_at <= now {
            self.is_looking = true;
            self.look_at = now + pace.every.mul_f64(pace.stretch());
            let mut addresses: Vec<_> =
                self.watched.iter().flat_map(|watched| watched.addresses.iter().copied()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            begun.spawn_blocking(move || Done::Looked(look(&addresses)));
        }
        if !self.is_looking {
            wake = wake.min(self.look_at);
        }
        for (at, watched) in self.watched.iter_mut().enumerate() {
            if let Some((host, port)) = watched.resolving(now) {
                let resolve = move || std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port));
                begun.spawn_blocking(move || Done::Resolved(at, resolve().map(Iterator::collect)));
            }
            let Some(due) = watched.probe_due(period, pace.every) else { continue };
            if due > now {
                wake = wake.min(due);
                continue;
            }
            watched.probing(now, pace.stretch());
            let (addresses, probe) = (watched.addresses.clone(), watched.resource.probe);
            begun.spawn(async move { Done::Answered(at, probe::ask(&addresses, probe, pace.wait).await) });
        }
        wake
    }

    fn take(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Resolved(at, resolved) => {
                let pause = self.pace.names.mul_f64(self.pace.stretch());
                // Connections to an address that is new are looked for at once.
                if self.watched[at].resolved(resolved, now, pause) {
                    self.look_at = now;
                }
            }
            Done::Looked(looked) => {
                self.is_looking = false;
                if let Err(error) = &looked
                    && !std::mem::replace(&mut self.is_refused, true)
                {
                    tracing::warn!("the kernel does not tell the round trips of connections: {error}");
                }
                for watched in &mut self.watched {
                    watched.looked_at(looked.as_ref(), now);
                }
            }
            Done::Answered(at, answered) => self.watched[at].answered(answered, now),
        }
    }

    fn tell(&mut self, period: Duration) {
        let now = Instant::now();
        let forget = self.pace.forget.max(period.saturating_mul(8));
        for watched in &mut self.watched {
            watched.grows_older(now, forget, self.pace.wait.name);
        }
        let figures: Figures = self.watched.iter().map(Watched::figure).collect();
        self.publish.send_if_modified(|told| {
            let is_new = **told != figures;
            if is_new {
                *told = Arc::new(figures);
            }
            is_new
        });
    }
}

fn look(addresses: &[SocketAddr]) -> io::Result<Look> {
    Ok(addresses.iter().copied().zip(kernel::read(addresses)?).collect())
}

#[cfg(test)]
mod tests;
