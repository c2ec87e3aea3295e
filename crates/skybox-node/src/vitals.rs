//! How this node is, for whoever plans: see [`Vitals`].
//!
//! Nothing is counted for it on the way of a call. Whoever plans looks a few times a second at what the threads run, whose
//! turn it is and what waits, and the looks of a second say how much there is to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use skybox_core::{Incarnation, Mode, ModuleKind, NodeName};

use crate::app::AppInner;
use crate::between;
use crate::control::{Boxed, Flow, LOAD_MAX_MILLI, Load, Vitals};
use crate::host::{AnyHost, HostCore, Occupied, lock};
use crate::thread;

/// This node.
pub(crate) struct Measured {
    app: Weak<AppInner>,
    runtime: tokio::runtime::Handle,
    seen: Mutex<Seen>,
}

/// What the looks since the last report have seen.
struct Seen {
    since: Instant,
    /// By the number of the module.
    modules: BTreeMap<u16, Sums>,
    /// The CPU time of each cell until the last report, in milliseconds.
    cells: BTreeMap<u32, u64>,
}

/// Of all looks at one module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    looks: u64,
    load_milli: u64,
    in_progress: u64,
    waiting: u64,
}

impl Measured {
    pub(crate) fn of(app: &Arc<AppInner>) -> Measured {
        let seen = Seen { since: Instant::now(), modules: BTreeMap::new(), cells: BTreeMap::new() };
        Measured { app: Arc::downgrade(app), runtime: app.runtime.clone(), seen: Mutex::new(seen) }
    }

    /// Runs something on the node's own runtime: whoever plans has another one, and connections belong to this.
    fn run<R: Send + 'static>(
        &self,
        gone: R,
        run: impl FnOnce(Arc<AppInner>) -> Boxed<'static, R>,
    ) -> Boxed<'static, R> {
        let Some(app) = self.app.upgrade() else { return Box::pin(async { gone }) };
        let running = Aborted(self.runtime.spawn(run(app)));
        Box::pin(async move { running.ended().await.unwrap_or(gone) })
    }
}

/// A task that ends with whoever waits for it.
struct Aborted<R>(tokio::task::JoinHandle<R>);

impl<R> Aborted<R> {
    async fn ended(mut self) -> Option<R> {
        (&mut self.0).await.ok()
    }
}

impl<R> Drop for Aborted<R> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether how many there are of a module is somebody's to decide.
fn is_scaled(core: &HostCore) -> bool {
    matches!(core.descriptor.kind, ModuleKind::Replicated | ModuleKind::Task)
}

/// How many calls one instance does at once, if it has a bound.
fn slots(core: &HostCore) -> Option<u64> {
    core.settings.concurrency.map(u64::from)
}

/// What a module has to do at this moment. `running`: threads that run its code.
fn sums(core: &HostCore, occupied: &Occupied, running: u64) -> Sums {
    let cores = u64::from(core.settings.cpu_milli.unwrap_or(0).div_ceil(1_000)).max(1);
    let share = |busy: u64, of: u64| (busy * 1_000 / of.max(1)).min(LOAD_MAX_MILLI);
    let mut load_milli = share(running, cores);
    let (mut in_progress, mut waiting) = (occupied.holding, occupied.waiting);
    if let Some(slots) = slots(core) {
        load_milli = load_milli.max(share(occupied.holding + occupied.waiting.min(slots), slots));
    } else if core.descriptor.methods.iter().any(|method| method.mode == Mode::Exclusive) {
        let held = u64::from(occupied.is_exclusive);
        load_milli = load_milli.max(share(held + occupied.waiting.min(1), 1));
    }
    if let Some((threads, at_work, queued)) = occupied.pool {
        load_milli = load_milli.max(share(at_work + queued.min(threads), threads));
        in_progress = in_progress.max(at_work);
        waiting += queued;
    }
    Sums { looks: 1, load_milli, in_progress, waiting }
}

impl Vitals for Measured {
    fn look(&self) {
        let Some(app) = self.app.upgrade() else { return };
        let mut running = BTreeMap::<u16, u64>::new();
        thread::glance(app.id, |module| *running.entry(module).or_default() += 1);
        let mut seen = lock(&self.seen);
        for host in app.hosts.iter().filter(|host| is_scaled(host.core())) {
            let core = host.core();
            match host.occupied() {
                Some(occupied) => {
                    let now = sums(core, &occupied, running.get(&core.index).copied().unwrap_or(0));
                    let all = seen.modules.entry(core.index).or_default();
                    all.looks += now.looks;
                    all.load_milli += now.load_milli;
                    all.in_progress += now.in_progress;
                    all.waiting += now.waiting;
                }
                None => drop(seen.modules.remove(&core.index)),
            }
        }
    }

    fn loads(&self) -> Vec<Load> {
        let Some(app) = self.app.upgrade() else { return Vec::new() };
        let mut seen = lock(&self.seen);
        let now = Instant::now();
        let passed = now.duration_since(std::mem::replace(&mut seen.since, now));
        let modules = std::mem::take(&mut seen.modules);
        let mut cells = std::mem::take(&mut seen.cells);
        let loads = modules.into_iter().filter(|(_, sums)| sums.looks > 0).filter_map(|(module, sums)| {
            let host = app.hosts.get(usize::from(module))?;
            let in_cells = in_cells(&**host, passed, &mut cells, &mut seen.cells);
            Some(Load {
                module: host.core().descriptor.name.to_owned(),
                load_milli: (sums.load_milli / sums.looks).max(in_cells).min(LOAD_MAX_MILLI),
                in_progress_milli: sums.in_progress * 1_000 / sums.looks,
                waiting_milli: sums.waiting * 1_000 / sums.looks,
            })
        });
        loads.collect()
    }

    fn flows(&self) -> Vec<Flow> {
        let Some(app) = self.app.upgrade() else { return Vec::new() };
        let mut flows = BTreeMap::<(String, String), Flow>::new();
        for edge in crate::operate::edges(&app) {
            let names = (edge.caller.clone(), edge.module.clone());
            let flow = flows.entry(names).or_insert_with(|| Flow {
                from: edge.caller,
                to: edge.module,
                ..Flow::default()
            });
            flow.local += edge.local;
            flow.remote += edge.remote;
        }
        flows.into_values().collect()
    }

    fn reaches(&self, node: &NodeName) -> Boxed<'static, bool> {
        let node = node.clone();
        self.run(false, |app| {
            Box::pin(async move {
                let peer = app.links.peer(&node);
                // One that takes no more calls since it leaves is there all the same.
                peer.is_heard() || peer.connect(&app).await.is_ok()
            })
        })
    }

    fn tell(
        &self,
        node: &NodeName,
        life: Incarnation,
        what: String,
    ) -> Boxed<'static, Result<String, String>> {
        let node = node.clone();
        self.run(Err("this node has ended".to_owned()), move |app| {
            Box::pin(async move {
                let peer = app.links.peer(&node);
                let told = between::tell(&app, &peer, life, what).await;
                told.map_err(|kind| kind.to_string())
            })
        })
    }
}

/// The share of its cores for which the cells of a module have worked, in thousandths.
fn in_cells(
    host: &dyn AnyHost,
    passed: Duration,
    before: &mut BTreeMap<u32, u64>,
    now: &mut BTreeMap<u32, u64>,
) -> u64 {
    let core = host.core();
    let Some(cells) = &core.cells else { return 0 };
    let mut spent_ms = 0;
    let links = cells.links();
    for cell in links.iter().filter_map(|link| link.cell()) {
        let Some(uses) = cell.uses() else { continue };
        spent_ms += before.get(&cell.pid).map_or(0, |before| uses.cpu_ms.saturating_sub(*before));
        now.insert(cell.pid, uses.cpu_ms);
    }
    let cores = u64::from(core.settings.cpu_milli.unwrap_or(0).div_ceil(1_000)).max(1);
    let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    spent_ms * 1_000 / (passed_ms * cores)
}
