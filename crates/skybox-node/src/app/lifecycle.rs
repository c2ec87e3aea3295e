//! From the first plan to the last call.
//!
//! Leaving, in order:
//! 1. The node is not ready any more.
//! 2. If others go on: its peers are told which of their calls were the last it took; its instances are handed
//!    over, their calls end, and each has its `stop`; calls that do not end are stopped.
//! 3. Spans that have been gathered are sent, where somebody exports them. `draining()` resolves, and a `listen` that
//!    was waiting returns a listener nobody knows, so that `main` comes to its end.
//! 4. If a parent started the process, and its `main` does not wait for `draining()`, it gets the SIGTERM that any
//!    other supervisor would send: a program keeps the signal handlers it has.
//! 5. If its `main` still does not end in time, the process exits: a request that
//!    never ends, or a `main` that never asks for `draining()`, must not hold a port for ever.

use std::future::Future;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use skybox_core::Plan;
use tokio::sync::watch;

use super::{App, AppError, AppInner};
use crate::control::{Leave, PARENT_ENV, Report};
use crate::host::{AnyHost, CLOSE_WAIT, lock, stop};
use crate::spans::FLUSH_WAIT;
use crate::vitals::Measured;

/// How long a leaving node waits until the plan has others serve what it has.
const HAND_OVER_WAIT: Duration = Duration::from_secs(10);
/// How long calls that were taken may go on after their instance was handed over, as long as `main` may take to its
/// end. Then they are stopped.
const ANSWERED_WAIT: Duration = Duration::from_secs(10);
/// How long the answers of stopped calls may take to be handed to the kernel. A peer that does not read is not waited
/// for any longer, nor is code that holds its thread.
const STOPPED_WAIT: Duration = Duration::from_secs(1);
/// The `stop` of a module that says nothing of its length.
const LAST_WORD_WAIT: Duration = Duration::from_secs(10);
/// The longest that a node takes from SIGTERM until [`App::draining`] resolves: others take over, calls and the `stop` of
/// instances end, answers and spans leave. A module with a longer `stop_wait` than 10 s may take as much longer. Whoever
/// ends the process waits longer than this: `main` has to come to its end as well.
pub const DRAIN_MAX: Duration = HAND_OVER_WAIT
    .saturating_add(CLOSE_WAIT)
    .saturating_add(LAST_WORD_WAIT)
    .saturating_add(ANSWERED_WAIT)
    .saturating_add(STOPPED_WAIT)
    .saturating_add(FLUSH_WAIT);
/// How long `main` may take to its end after everything has been handed over. What it waits for then is mostly a
/// connection that its client holds open. Beside what the `stop` of its modules takes.
const EXIT_WAIT: Duration = Duration::from_secs(10);
/// The same where the parent is gone: the next one may already wait for the port.
const ORPHAN_EXIT_WAIT: Duration = Duration::from_secs(2);
/// Exit code after a second Ctrl-C: as a shell counts SIGINT.
const INTERRUPTED_CODE: i32 = 130;
/// Where a listener is bound if nobody says where.
const ADDRESS_DEFAULT: &str = "127.0.0.1:8080";

/// Opens the hosts, takes over the first plan and follows the later ones.
pub(super) async fn begin(app: &App) -> Result<(), AppError> {
    let inner = app.inner();
    open(inner);
    inner.control.begun(Arc::new(Measured::of(inner)));
    let weak = Arc::downgrade(inner);
    let mut leaving = inner.control.leaving();
    let mut own = inner.leave.subscribe();
    inner.runtime.spawn(async move {
        // Whoever is first to say so: the one who plans, or a signal.
        let (leave, told) = tokio::select! {
            leave = leaving.wait_for(Option::is_some) => (leave.ok().and_then(|leave| *leave), true),
            leave = own.wait_for(Option::is_some) => (leave.ok().and_then(|leave| *leave), false),
        };
        let Some(leave) = leave else { return };
        let app = weak.upgrade();
        // A `main` may end with `app.shutdown()`.
        let last_words = app.as_ref().map_or(Duration::ZERO, |app| longest_stop(app));
        if let Some(app) = &app {
            drain(app, leave).await;
        }
        // A process that joined by itself, as a test does, is not the parent's to end.
        if told && std::env::var_os(PARENT_ENV).is_some() {
            exit_in_time(leave, last_words);
            if app.is_none_or(|app| !app.asked.load(Ordering::Acquire)) {
                terminate_this_process();
            }
        }
    });
    crate::admin::serve(app).await
}

fn open(inner: &Arc<AppInner>) {
    let mut plans = inner.control.plans();
    for host in &inner.hosts {
        host.clone().open();
    }
    let first = plans.borrow_and_update().clone();
    follow(inner, &first);
    inner.ready.store(true, Ordering::Release);
    inner.control.report(Report::Ready);
    let weak = Arc::downgrade(inner);
    let mut told = inner.control.told();
    inner.runtime.spawn(async move {
        let mut warms = false;
        loop {
            let is_told = tokio::select! {
                changed = plans.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
                () = &mut told, if !warms => true,
            };
            let Some(app) = weak.upgrade() else { return };
            // To follow the same plan again changes nothing.
            follow(&app, &plans.borrow_and_update().clone());
            if is_told {
                warms = true;
                app.runtime.spawn(warm(app.hosts.clone(), weak.clone(), app.closed.subscribe()));
            }
        }
    });
}

/// Notes when everything has started that was to run here at the beginning, or was given up.
async fn warm(hosts: Vec<Arc<dyn AnyHost>>, app: Weak<AppInner>, mut closed: watch::Receiver<bool>) {
    let settled = async {
        for host in hosts {
            host.settled().await;
        }
    };
    tokio::select! {
        () = settled => {
            if let Some(app) = app.upgrade() {
                app.warm.store(true, Ordering::Release);
            }
        }
        // It ends, or is gone.
        _ = closed.wait_for(|closed| *closed) => {}
    }
}

fn follow(app: &AppInner, plan: &Plan) {
    app.links.follow(&plan.nodes, &app.node);
    for host in &app.hosts {
        if let Some(module) = plan.modules.get(host.core().descriptor.name) {
            host.clone().follow(module, plan.version);
        }
    }
}

async fn drain(app: &Arc<AppInner>, leave: Leave) {
    log(|| tracing::info!(node = %app.node, ?leave, "leaving"));
    app.ready.store(false, Ordering::Release);
    if leave == Leave::HandOver {
        let handed_over = handed_over(app);
        if tokio::time::timeout(HAND_OVER_WAIT, handed_over).await.is_err() {
            log(|| tracing::warn!("nobody took over within {HAND_OVER_WAIT:?}; leaving all the same"));
        }
        app.links.drain();
        close(app).await;
        app.closed.send_replace(true);
        if !answered(app, ANSWERED_WAIT).await {
            log(|| {
                tracing::warn!("a call goes on {ANSWERED_WAIT:?} after its instance was handed over; stopped")
            });
            app.links.open().iter().for_each(|conn| conn.stop_serving());
            answered(app, STOPPED_WAIT).await;
        }
        app.control.report(Report::Drained);
    }
    crate::spans::flush().await;
    app.drained.send_replace(true);
}

/// Retires everything here, one module beside the other; resolves when the last calls and each `stop` have ended.
pub(crate) async fn close(app: &AppInner) {
    app.closing.store(true, Ordering::Release);
    let closing: Vec<_> = app.hosts.iter().map(|host| app.runtime.spawn(host.clone().close())).collect();
    for host in closing {
        // A host that panics while it closes is gone as well.
        drop(host.await);
    }
}

/// How long the last words of what is here may take: those of several modules are said beside one another.
fn longest_stop(app: &AppInner) -> Duration {
    app.hosts.iter().map(|host| stop::wait(host.core())).max().unwrap_or_default()
}

/// Waits until every call that was taken is answered; says whether that was so in time.
async fn answered(app: &AppInner, wait: Duration) -> bool {
    let all = async {
        // A handshake that takes longer is of somebody who says nothing.
        drop(tokio::time::timeout(STOPPED_WAIT, app.links.take_nobody()).await);
        for conn in app.links.open() {
            conn.answered().await;
        }
    };
    tokio::time::timeout(wait, all).await.is_ok()
}

/// Logs, and goes on if that panics: a subscriber whose output is a pipe that nobody reads any more does, and then
/// the process is to end all the more.
fn log(line: impl FnOnce()) {
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(line)));
}

/// What a supervisor does to end a process.
fn terminate_this_process() {
    let sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    if let Err(error) = sent {
        log(|| tracing::warn!("this process cannot send itself SIGTERM: {error}"));
    }
}

/// Ends the process if its `main` does not. On a thread of its own: the runtime may be what hangs.
fn exit_in_time(leave: Leave, last_words: Duration) {
    let wait = if leave == Leave::Orphaned { ORPHAN_EXIT_WAIT } else { EXIT_WAIT + last_words };
    let exit = move || {
        std::thread::sleep(wait);
        log(|| {
            tracing::warn!(
                "`main` has not ended {wait:?} after everything was handed over: the process exits"
            )
        });
        std::process::exit(0);
    };
    if let Err(error) = std::thread::Builder::new().name("skybox-exit".to_owned()).spawn(exit) {
        log(|| tracing::warn!("nothing ends this process if its `main` does not: {error}"));
    }
}

/// Resolves when the plan has given to others all that was here.
async fn handed_over(app: &AppInner) {
    use skybox_core::ModulePlan;
    let mut plans = app.control.plans();
    let mine = |plan: &Plan| {
        plan.modules.values().any(|module| match module {
            ModulePlan::Replicated { assigned, serving, .. } => {
                assigned.contains(&app.node) || serving.contains(&app.node)
            }
            ModulePlan::Keyed(shards) => shards
                .nodes
                .iter()
                .position(|node| *node == app.node)
                .is_some_and(|me| shards.owner.contains(&(me as u16))),
        })
    };
    // The one who plans is gone: nothing will be handed over.
    drop(plans.wait_for(|plan| !mine(plan)).await);
}

impl AppInner {
    /// Begins to leave, told by a signal or by people.
    fn leaves(&self) {
        let leave = self.control.leaves_by_itself();
        self.leave.send_if_modified(|told| told.is_none() && told.replace(leave).is_none());
    }

    /// Notes where a listener is bound, for those who look.
    pub(crate) fn gave_out(&self, name: &str, listener: &TcpListener) {
        if let Ok(address) = listener.local_addr() {
            lock(&self.bound).insert(name.to_owned(), address);
        }
    }
}

impl App {
    /// Resolves when this node has to go: everything it had is handed over, and `main` should end. For
    /// `axum::serve(…).with_graceful_shutdown(app.draining())`.
    ///
    /// The first call has Ctrl-C and SIGTERM begin the drain instead of killing the process; a second one exits.
    ///
    /// A `main` that never calls it keeps its own handlers of SIGTERM: where a parent started the process, it is
    /// sent that signal when it has to go.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        self.inner().asked.store(true, Ordering::Release);
        self.drained()
    }

    fn drained(&self) -> impl Future<Output = ()> + Send + use<> {
        let inner = self.inner().clone();
        inner.signals.call_once(|| drop(inner.runtime.spawn(signals(Arc::downgrade(&inner)))));
        let mut drained = inner.drained.subscribe();
        async move {
            // The sender lives in the App that this future holds.
            drop(drained.wait_for(|drained| *drained).await);
            drop(inner);
        }
    }

    /// Begins to drain, as a signal would.
    pub fn drain(&self) {
        self.inner().leaves();
    }

    /// A listener of the program, as a plain [`tokio::net::TcpListener`].
    ///
    /// Bound to `[listeners.name] address`, else to what [`Builder::listener`](super::Builder::listener) says,
    /// else to 127.0.0.1:8080. On one machine it is bound once, and every node that serves it gets the same
    /// socket: a node that dies resets its own connections and no others. On a node that does not serve it, the
    /// future stays pending until the node drains.
    ///
    /// # Errors
    /// [`AppError::Listener`], with the address.
    pub async fn listen(&self, name: &str) -> Result<tokio::net::TcpListener, AppError> {
        let inner = self.inner();
        let configured = inner.config.listener(name).address;
        let address = configured.or_else(|| inner.listeners.get(name).cloned());
        let address = address.unwrap_or_else(|| ADDRESS_DEFAULT.to_owned());
        let listener = match inner.control.listener(name, &address).await.map_err(AppError::Listener)? {
            Some(listener) => {
                inner.gave_out(name, &listener);
                listener
            }
            None => {
                self.drained().await;
                let io = |source| AppError::Listen { address: "127.0.0.1:0".to_owned(), source };
                TcpListener::bind("127.0.0.1:0").map_err(io)?
            }
        };
        let io = |source| AppError::Listen { address: address.clone(), source };
        listener.set_nonblocking(true).map_err(io)?;
        tokio::net::TcpListener::from_std(listener).map_err(io)
    }

    /// Begins to serve, in a cell: its node says when it ends.
    pub(crate) fn begin_in_cell(&self) {
        open(self.inner());
    }

    /// Resolves when every module that belongs here is ready for calls, or given up. For tests and for programs
    /// that want to be warm before they listen; calls wait by themselves.
    pub async fn settled(&self) {
        for host in &self.inner().hosts {
            host.clone().settled().await;
        }
    }

    /// Stops everything here: instances end when their calls have, and say their last word (`stop`). For tests, and for
    /// the end of a `main` whose modules have a `stop`; other programs simply end.
    ///
    /// Takes at most 30 s for calls that do not end, and a module's `stop_wait` (10 s) for its `stop`. Calls that
    /// come later fail. Other nodes hear of the ends of the instances that they watch here.
    pub async fn shutdown(&self) {
        let inner = self.inner();
        inner.ready.store(false, Ordering::Release);
        inner.links.drain();
        close(inner).await;
        inner.closed.send_replace(true);
        answered(inner, STOPPED_WAIT).await;
        for conn in inner.links.open() {
            conn.close("the node has shut down");
        }
        inner.drained.send_replace(true);
    }
}

/// Turns Ctrl-C and SIGTERM into a drain.
async fn signals(app: std::sync::Weak<AppInner>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("no signal handlers can be installed: Ctrl-C ends the process without a drain");
        return;
    };
    for count in 1.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Whoever asks twice does not want to wait for what is still open.
        let Some(app) = app.upgrade().filter(|_| count == 1) else { std::process::exit(INTERRUPTED_CODE) };
        app.leaves();
    }
}
