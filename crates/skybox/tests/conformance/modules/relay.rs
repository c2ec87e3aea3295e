//! Modules that call modules: for chains, context and handles that travel.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skybox::{App, CallOptions, Handle, Result};

use super::{Desk, Register};
use crate::ledger::Ledger;

/// What the code of a call does next; what follows is done by the call that a step makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    /// A `&self` call of [`Nest`].
    Shared,
    /// A `&mut self` call of [`Nest`].
    Exclusive,
    /// A `&self` call of [`Relay`].
    Relayed,
    /// A `&mut self` call of [`Relay`].
    RelayedExclusive,
    /// A task that is left to itself.
    Detached,
    /// A task that keeps its context.
    Spawned,
    /// A call of [`come_back`], made here and awaited elsewhere.
    Task,
    /// Goes through a gate.
    Gate(String),
    /// The next call has a deadline.
    Within(Duration),
}

/// Does the steps. `done`, or how the first call to fail failed and whether it ran.
fn walk(
    app: App,
    within: Option<Duration>,
    mut steps: Vec<Step>,
) -> Pin<Box<dyn Future<Output = Result<String>> + Send>> {
    Box::pin(async move {
        if steps.is_empty() {
            return Ok("done".to_owned());
        }
        let options = within.map_or(CallOptions::new(), |within| CallOptions::new().deadline(within));
        let (nest, relay) = (app.get::<Nest>().with(options), app.get::<Relay>().with(options));
        let outcome = match steps.remove(0) {
            Step::Shared => nest.shared(steps).await,
            Step::Exclusive => nest.exclusive(steps).await,
            Step::Relayed => relay.shared(steps).await,
            Step::RelayedExclusive => relay.exclusive(steps).await,
            Step::Detached => return tokio::spawn(walk(app, within, steps)).await?,
            Step::Spawned => return skybox::spawn(walk(app, within, steps)).await?,
            Step::Task => tokio::spawn(come_back(steps)).await?,
            Step::Gate(gate) => {
                app.value::<Ledger>()?.pass(&gate).await;
                return walk(app, within, steps).await;
            }
            Step::Within(within) => return walk(app, Some(within), steps).await,
        };
        match outcome.as_ref().map_err(skybox::Error::call_error) {
            Err(Some(error)) => Ok(format!("{}: {}", error.kind().name(), error.ran())),
            _ => outcome,
        }
    })
}

/// Makes the steps as a task.
#[skybox::task]
pub async fn come_back(steps: Vec<Step>) -> Result<String> {
    walk(App::current()?, None, steps).await
}

/// The trace it is called in.
#[skybox::task]
pub async fn traced() -> Result<Option<String>> {
    Ok(trace())
}

fn trace() -> Option<String> {
    skybox::current_trace().map(|trace| trace.to_string())
}

fn left_s() -> Option<u64> {
    skybox::current_deadline()
        .map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()).as_secs())
}

/// Calls itself, in many ways.
#[derive(Default)]
pub struct Nest;

#[skybox::module]
impl Nest {
    pub async fn shared(&self, steps: Vec<Step>) -> Result<String> {
        walk(App::current()?, None, steps).await
    }

    pub async fn exclusive(&mut self, steps: Vec<Step>) -> Result<String> {
        walk(App::current()?, None, steps).await
    }

    /// Leaves a task behind that makes the steps when its gate opens.
    pub async fn leave_behind(&mut self, gate: &str, steps: Vec<Step>) -> Result<()> {
        let (app, gate) = (App::current()?, gate.to_owned());
        skybox::spawn(async move {
            let ledger = app.value::<Ledger>()?.clone();
            ledger.pass(&gate).await;
            let outcome = walk(app, None, steps).await?;
            ledger.note(&format!("{gate}: {outcome}"));
            Ok::<(), skybox::Error>(())
        });
        Ok(())
    }

    /// The seconds left.
    pub async fn left_s(&self) -> Result<Option<u64>> {
        Ok(left_s())
    }

    /// The trace before and after a gate.
    pub async fn trace_at(&self, gate: &str) -> Result<(Option<String>, Option<String>)> {
        let before = trace();
        App::current()?.value::<Ledger>()?.pass(gate).await;
        Ok((before, trace()))
    }

    /// Waits at a gate.
    pub async fn wait(&self, gate: &str) -> Result<()> {
        App::current()?.value::<Ledger>()?.pass(gate).await;
        Ok(())
    }
}

/// Passes calls on; in split mode from a third process.
#[derive(Default)]
pub struct Relay;

#[skybox::module]
impl Relay {
    pub async fn shared(&self, steps: Vec<Step>) -> Result<String> {
        walk(App::current()?, None, steps).await
    }

    pub async fn exclusive(&mut self, steps: Vec<Step>) -> Result<String> {
        walk(App::current()?, None, steps).await
    }

    /// The seconds left here, and in a call with a deadline of its own.
    pub async fn left_s(&self, within_s: Option<u64>) -> Result<(Option<u64>, Option<u64>)> {
        let options =
            within_s.map_or(CallOptions::new(), |s| CallOptions::new().deadline(Duration::from_secs(s)));
        let theirs = App::current()?.get::<Nest>().with(options).left_s().await?;
        Ok((left_s(), theirs))
    }

    /// What two calls at a time see: one with a deadline, one without; and this call itself, after both.
    pub async fn left_joined(&self, within_s: u64) -> Result<[Option<u64>; 3]> {
        let nest = App::current()?.get::<Nest>();
        let bounded = nest.with(CallOptions::new().deadline(Duration::from_secs(within_s)));
        let (bounded, unbounded) = tokio::join!(bounded.left_s(), nest.left_s());
        Ok([bounded?, unbounded?, left_s()])
    }

    /// Waits at a gate behind another call.
    pub async fn wait(&self, gate: &str) -> Result<()> {
        App::current()?.get::<Nest>().wait(gate).await
    }

    /// Uses a handle that it was given, and gives it back.
    pub async fn add_page(&self, desk: Handle<Desk>, page: u32) -> Result<Handle<Desk>> {
        desk.add(page).await?;
        Ok(desk)
    }

    pub async fn name_of(&self, register: Handle<Register>) -> Result<(String, Handle<Register>)> {
        Ok((register.name().await?, register))
    }
}
