//! Names the method that holds an async thread: other calls wait behind code that does not await.
//!
//! A thread of its own looks every 25 ms at what each thread runs ([`crate::thread::look`]), and marks it. A mark that is
//! still there at the next look means that the same poll goes on, since whoever ends or begins one writes over it. So a
//! call pays for two writes to memory of its own thread, and for nothing when it is looked at.

mod holds;
mod times;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use skybox_core::{Incarnation, InstanceId};

pub use holds::HoldStatus;
pub(crate) use holds::Holds;
use times::{Hold, Times};

use crate::app::{AppId, AppInner};
use crate::host::HostCore;
use crate::thread::{self, Runs, Tid};

/// How long code may hold an async thread before it is named, unless the configuration says otherwise.
pub(crate) const LIMIT: Duration = Duration::from_millis(100);
/// How often it is looked, for the limit above: four looks make one hold.
const LOOKS: u32 = 4;
/// A shorter limit is kept less exactly.
const EVERY_MIN: Duration = Duration::from_millis(5);
/// Longer limits need no fewer looks: the thread ends when it next looks at whether its App has.
const EVERY_MAX: Duration = Duration::from_secs(1);
/// Where nothing has run for so many looks, it is looked a quarter as often: an idle program hardly wakes.
const QUIET: u32 = 40;

/// Starts the thread that looks at what code of an App runs. It ends with the App.
pub(crate) fn begin(app: &Arc<AppInner>) {
    let Some(limit) = app.config.node().hold_warning.limit(LIMIT) else { return };
    let mut watch = Watch {
        app: Arc::downgrade(app),
        id: app.id,
        incarnation: app.incarnation,
        hosts: app.hosts.iter().map(|host| Arc::downgrade(host.core())).collect(),
        limit,
        every: (limit / LOOKS).clamp(EVERY_MIN, EVERY_MAX),
        holds: HashMap::new(),
    };
    let named = std::thread::Builder::new().name("skybox-watchdog".to_owned());
    if let Err(error) = named.spawn(move || watch.run()) {
        tracing::warn!("nobody tells of methods that hold async threads: there is no thread for it: {error}");
    }
}

struct Watch {
    /// Looked at, and never held: an App ends where its user lets go of it.
    app: Weak<AppInner>,
    id: AppId,
    incarnation: Incarnation,
    hosts: Vec<Weak<HostCore>>,
    limit: Duration,
    every: Duration,
    /// What each thread has run since an earlier look.
    holds: HashMap<Tid, (Runs, Hold)>,
}

impl Watch {
    fn run(&mut self) {
        let (mut quiet, mut before) = (0, Instant::now());
        while self.app.strong_count() > 0 {
            std::thread::sleep(if quiet < QUIET { self.every } else { self.every * LOOKS });
            let now = Instant::now();
            let is_quiet = !self.look(now - before);
            before = now;
            quiet = if is_quiet { quiet.saturating_add(1) } else { 0 };
        }
    }

    /// Looks once; says whether code of this App runs anywhere.
    fn look(&mut self, passed: Duration) -> bool {
        let runs = thread::look(self.id);
        let mut before = std::mem::take(&mut self.holds);
        for &(tid, runs, is_marked) in &runs {
            let hold = match before.remove(&tid) {
                Some((known, mut hold)) if known == runs && is_marked => {
                    hold.goes_on(passed, self.every, Times::of(tid));
                    self.judge(runs, &mut hold);
                    hold
                }
                // Something else runs there now, most often the next call.
                other => {
                    other.into_iter().for_each(|(runs, hold)| self.tell_end(runs, &hold));
                    Hold::begin(Times::of(tid))
                }
            };
            self.holds.insert(tid, (runs, hold));
        }
        // Nothing runs on these threads.
        before.into_values().for_each(|(runs, hold)| self.tell_end(runs, &hold));
        !runs.is_empty()
    }

    /// Tells that a hold has ended that the log has named.
    fn tell_end(&self, runs: Runs, hold: &Hold) {
        if let Some((core, method, instance)) = self.named(runs).filter(|_| hold.is_told) {
            let module = core.descriptor.name;
            let (held, spent) = (hold.held(), hold.spent());
            tracing::warn!(module, method, instance, "let its thread go after about {held:.0?}{spent}");
        }
    }

    /// Counts a hold that is longer than the limit, and tells of it.
    fn judge(&self, runs: Runs, hold: &mut Hold) {
        let held = hold.held();
        if held < self.limit {
            return;
        }
        let Some((core, method, instance)) = self.named(runs) else { return };
        if hold.is_counted {
            return core.holds.goes_on(runs.method, held);
        }
        // Whoever steps through the code holds the thread, and not the code.
        if times::is_traced() {
            return;
        }
        hold.is_counted = true;
        hold.is_told = core.holds.count(runs.method, &instance, held);
        if hold.is_told {
            let (module, spent) = (core.descriptor.name, hold.spent());
            tracing::warn!(
                module,
                method,
                instance,
                "holds an async thread for {held:.0?} without awaiting{spent}: other calls wait behind it. Give its \
                 module threads of its own (`cpu = 1`, and `#[compute]` if the method is async), or leave the thread \
                 to others meanwhile, with `tokio::task::spawn_blocking`"
            );
        }
    }

    /// What runs, in words.
    fn named(&self, runs: Runs) -> Option<(Arc<HostCore>, &'static str, String)> {
        let core = self.hosts.get(usize::from(runs.module))?.upgrade()?;
        let method = core.descriptor.methods.get(usize::from(runs.method))?.name;
        let id = InstanceId { node: self.incarnation, count: u64::from(runs.instance) };
        Some((core, method, id.to_string()))
    }
}
