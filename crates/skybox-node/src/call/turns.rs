//! From a found instance to a finished call: its turn, its code, its result.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use skybox_core::{CallError, CallErrorKind, Mode, Phase};

use super::{Crossing, far, here};
use crate::host::{Exclusive, Head, Hold, HostCore, Instance, NoTurn, Shared};
use crate::metrics::Edge;
use crate::module::{Method, Module};
use crate::thread::Inherited;

/// Takes the turn for a `&self` call, if this module has turns. `None`: the instance has crashed; look again.
#[inline]
pub(crate) async fn turn_shared<T>(
    core: &HostCore,
    hold: Hold<T>,
    head: Option<Head>,
    inherited: &Inherited,
) -> Result<Option<Shared<T>>, CallErrorKind> {
    let taken = hold.turn.is_none() || take_turn(core, &hold, head, Mode::Shared, inherited).await?;
    Ok(taken.then(|| Shared::new(hold)))
}

/// Takes the turn for a `&mut self` call. `None`: the instance has crashed; look again.
#[inline]
pub(crate) async fn turn_exclusive<T>(
    core: &HostCore,
    hold: Hold<T>,
    head: Option<Head>,
    inherited: &Inherited,
) -> Result<Option<Exclusive<T>>, CallErrorKind> {
    let taken = take_turn(core, &hold, head, Mode::Exclusive, inherited).await?;
    Ok(taken.then(|| Exclusive::new(hold)))
}

/// Says whether the turn was taken: it cannot be once the instance has crashed. `head`: the call is before others
/// that have waited for the instance as well, and they go on once it has its turn or waits for that.
#[inline]
async fn take_turn<T>(
    core: &HostCore,
    instance: &Instance<T>,
    head: Option<Head>,
    mode: Mode,
    inherited: &Inherited,
) -> Result<bool, CallErrorKind> {
    let turn = instance.turns();
    let chain = &inherited.context().chain;
    let held = if chain.is_empty() { None } else { instance.holders.held_by(chain.links()) };
    match (held, mode) {
        (Some(Mode::Exclusive), _) | (Some(Mode::Shared), Mode::Exclusive) => {
            return Err(reentrant(core, held, mode));
        }
        _ => {}
    }
    if turn.try_take(mode, held.is_some()) {
        return Ok(true);
    }
    let wait = match turn.wait(mode) {
        Ok(wait) => wait,
        Err(NoTurn::Closed) => return Ok(false),
        Err(NoTurn::Full) => {
            let what = format!("{} calls wait for their turn already (`queue`)", core.settings.queue);
            return Err(CallErrorKind::Overloaded { what });
        }
    };
    drop(head);
    let waited = match inherited.deadline() {
        None => wait.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), wait)
            .await
            .map_err(|_| CallErrorKind::Deadline { phase: Phase::Queued })?,
    };
    if waited.is_ok() && instance.holders.crashed() {
        // The call before this one was stopped half done.
        turn.close();
        turn.give_back(mode);
        return Ok(false);
    }
    Ok(waited.is_ok())
}

#[cold]
fn reentrant(core: &HostCore, held: Option<Mode>, mode: Mode) -> CallErrorKind {
    let name = |mode| match mode {
        Mode::Shared => "&self",
        Mode::Exclusive => "&mut self",
    };
    let held = held.map_or("", name);
    let chain = format!(
        "a call above holds this {} `{held}`, and this one needs it `{}`",
        core.descriptor.name,
        name(mode)
    );
    CallErrorKind::Reentrant { chain }
}

/// Runs a call of the detached kind, on the module's threads where it has some.
pub(crate) async fn run_detached<T, O, R, F, Fut>(
    core: &Arc<HostCore>,
    method: &Method<O, R>,
    inherited: Inherited,
    shared: Shared<T>,
    arguments: O,
    run: F,
) -> Result<R, here::Stopped>
where
    T: Module + Sync,
    O: Send + 'static,
    R: Send + 'static,
    F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let deadline = inherited.deadline();
    let frame = here::frame(core, shared.instance(), Mode::Shared, method.index(), inherited);
    let descriptor = method.descriptor();
    if descriptor.compute
        && let Some(pool) = core.pool()
    {
        let theirs = core.clone();
        return pool
            .run(deadline, here::run(theirs, frame, run(shared, arguments)))
            .await
            .map_err(Box::new)?;
    }
    if descriptor.compute {
        return here::run(&**core, frame, run(shared, arguments)).await;
    }
    here::run_on(core, descriptor, core.clone(), frame, run(shared, arguments)).await
}

/// Runs a `&mut self` call, which may outlive its caller.
pub(crate) async fn run_exclusive<T, O, R, F, Fut>(
    core: &Arc<HostCore>,
    method: &Method<O, R>,
    inherited: Inherited,
    exclusive: Exclusive<T>,
    arguments: O,
    run: F,
) -> Result<R, here::Stopped>
where
    T: Module,
    O: Send + 'static,
    R: Send + 'static,
    F: FnOnce(Exclusive<T>, O) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let deadline = inherited.deadline();
    let descriptor = method.descriptor();
    let frame = here::frame(core, exclusive.instance(), Mode::Exclusive, method.index(), inherited);
    if descriptor.compute
        && let Some(pool) = core.pool()
    {
        let theirs = core.clone();
        return pool
            .run(deadline, here::run_unbounded(theirs, frame, run(exclusive, arguments)))
            .await
            .map_err(Box::new)?;
    }
    here::run_on(core, descriptor, here::ByHolders, frame, run(exclusive, arguments)).await
}

#[inline(always)]
pub(super) fn finish<O, R, W: Crossing<R>>(
    method: &Method<O, R>,
    wire: W,
    edge: &Edge,
    sampled: Option<Instant>,
    outcome: Result<R, here::Stopped>,
) -> R {
    if let Some(began) = sampled {
        edge.took(began.elapsed());
    }
    match outcome {
        Ok(result) => {
            let own_error = || {
                edge.own_error();
                method.callee()
            };
            if !cfg!(debug_assertions) {
                return wire.cross(result, own_error);
            }
            match far::prove_result(method, wire, result) {
                Ok(result) => wire.cross(result, own_error),
                Err(kind) => refuse(method, wire, edge, kind),
            }
        }
        Err(stopped) => refuse(method, wire, edge, *stopped),
    }
}

#[cold]
pub(crate) fn refuse<O, R, W: Crossing<R>>(
    method: &Method<O, R>,
    wire: W,
    edge: &Edge,
    kind: CallErrorKind,
) -> R {
    edge.call_error(&kind);
    wire.refuse(CallError::new(method.callee(), kind))
}
