//! From a found instance to a finished call: its turn, and its result.

use std::time::Instant;

use skybox_core::{CallError, CallErrorKind, Mode, Phase};

use super::future::Callee;
use super::{Crossing, far, here};
use crate::host::{Head, Hold, HostCore, InstanceCore, NoTurn, Taken};
use crate::metrics::Edge;
use crate::module::{Method, Module};
use crate::thread::Inherited;

/// Takes an instance's turn, if its calls have turns. `None`: it has crashed or was killed; look again.
#[inline]
pub(crate) async fn turn<T>(
    core: &HostCore,
    hold: Hold<T>,
    head: Option<Head>,
    mode: Mode,
    inherited: &Inherited,
) -> Result<Option<Taken<T>>, CallErrorKind> {
    let taken = hold.turn.is_none() || take_turn(core, &hold, head, mode, inherited).await?;
    Ok(taken.then(|| Taken::new(hold, mode)))
}

/// Says whether the turn was taken: it cannot be once the instance has crashed. `head`: the call is before others
/// that have waited for the instance as well, and they go on once it has its turn or waits for that.
#[inline]
async fn take_turn(
    core: &HostCore,
    instance: &InstanceCore,
    head: Option<Head>,
    mode: Mode,
    inherited: &Inherited,
) -> Result<bool, CallErrorKind> {
    let turn = instance.turns();
    let chain = &inherited.context().chain;
    let held = if chain.is_empty() { None } else { instance.held_by(chain.links()) };
    match (held, mode) {
        (Some(Mode::Exclusive), _) | (Some(Mode::Shared), Mode::Exclusive) => {
            return Err(reentrant(core, held, mode));
        }
        _ => {}
    }
    if turn.try_take(mode, held.is_some()) {
        return Ok(true);
    }
    if let Some(deadline) = inherited.deadline()
        && let Some(what) = turn.outlook().too_late(deadline, "their turn")
    {
        return Err(CallErrorKind::Overloaded { what });
    }
    let wait = match turn.wait(mode, chain) {
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
    if waited.is_ok() && !core.may_begin() {
        // It was stopped while it waited, and so was its node.
        turn.give_back(mode);
        return Ok(false);
    }
    if waited.is_ok() && instance.is_over() {
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

/// The end of a call that has run here. `callee` is only looked at where the call was timed or has failed: what is
/// counted of single instances costs the others nothing.
#[inline(always)]
pub(super) fn finish<T: Module, O, R, W: Crossing<R>>(
    callee: &Callee<'_, T, O, R, W>,
    method: &Method<O, R>,
    wire: W,
    edge: &Edge,
    sampled: Option<Instant>,
    outcome: Result<R, here::Stopped>,
) -> R {
    if let Some(began) = sampled {
        took(callee, edge, began);
    }
    match outcome {
        Ok(result) => {
            let own_error = || {
                edge.own_error();
                callee.target.note_error();
                method.callee()
            };
            if !cfg!(debug_assertions) {
                return wire.cross(result, own_error);
            }
            match far::prove_result(method, wire, result) {
                Ok(result) => wire.cross(result, own_error),
                Err(kind) => refuse_here(callee, method, wire, edge, kind),
            }
        }
        Err(stopped) => refuse_here(callee, method, wire, edge, *stopped),
    }
}

#[cold]
fn took<T: Module, O, R, W>(callee: &Callee<'_, T, O, R, W>, edge: &Edge, began: Instant) {
    let time = began.elapsed();
    edge.took(time);
    callee.target.note_time(time);
}

/// [`refuse`], of a call whose instance belongs here.
#[cold]
fn refuse_here<T: Module, O, R, W: Crossing<R>>(
    callee: &Callee<'_, T, O, R, W>,
    method: &Method<O, R>,
    wire: W,
    edge: &Edge,
    kind: CallErrorKind,
) -> R {
    callee.target.note_error();
    refuse(method, wire, edge, kind)
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
