//! kameo: actors whose supervisor starts them again behind the same reference.

use std::time::Duration;

use anyhow::{Result, ensure};
use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::error::Infallible;
use kameo::message::{Context, Message};
use kameo::supervision::RestartPolicy;

use super::measure::{Actors, Counter};

pub(super) const NAME: &str = "kameo";

pub(super) struct Adder(Counter);

impl Actor for Adder {
    type Args = u64;
    type Error = Infallible;

    async fn on_start(count: u64, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Adder(Counter::begin(count)))
    }
}

struct Add(u64);

impl Message<Add> for Adder {
    type Reply = u64;

    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self, u64>) -> u64 {
        self.0.add(n)
    }
}

struct Crash;

impl Message<Crash> for Adder {
    type Reply = u64;

    async fn handle(&mut self, Crash: Crash, _: &mut Context<Self, u64>) -> u64 {
        self.0.crash()
    }
}

struct Supervisor;

impl Actor for Supervisor {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Supervisor)
    }
}

pub(super) struct Kameo {
    victim: ActorRef<Adder>,
    _supervisor: ActorRef<Supervisor>,
}

impl Actors for Kameo {
    type One = ActorRef<Adder>;

    async fn begin() -> Result<Self> {
        let supervisor = Supervisor::spawn(());
        let child = Adder::supervise(&supervisor, 0).restart_policy(RestartPolicy::Transient);
        let victim = child.restart_limit(u32::MAX, Duration::from_secs(1)).spawn().await;
        Ok(Kameo { victim, _supervisor: supervisor })
    }

    async fn spawn(&self, count: u64) -> Result<Self::One> {
        Ok(Adder::spawn(count))
    }

    async fn add(one: &Self::One, n: u64) -> Result<u64> {
        Ok(one.ask(Add(n)).await?)
    }

    /// The message waits in the mailbox, which its successor takes over.
    async fn crash_and_add(&mut self, n: u64) -> Result<u64> {
        ensure!(self.victim.ask(Crash).await.is_err(), "a crash is no answer");
        Ok(self.victim.ask(Add(n)).await?)
    }

    async fn stop(ones: Vec<Self::One>) -> Result<()> {
        for one in &ones {
            one.stop_gracefully().await?;
        }
        Ok(())
    }
}
