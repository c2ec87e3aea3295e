//! Skybox's spawned instances, in a node that is alone.

use anyhow::{Result, bail};
use skybox::{App, CallError, CallErrorKind, Spawned};

use super::measure::{Actors, Counter};

pub(super) const NAME: &str = "skybox";

/// A counter as a module.
pub(crate) struct Adder(Counter);

#[skybox::module(spawned)]
impl Adder {
    async fn start(_app: &App, count: u64) -> skybox::Result<Self> {
        Ok(Adder(Counter::begin(count)))
    }

    pub(crate) async fn add(&mut self, n: u64) -> skybox::Result<u64> {
        Ok(self.0.add(n))
    }

    pub(crate) async fn crash(&mut self) -> skybox::Result<u64> {
        Ok(self.0.crash())
    }
}

pub(super) struct Skybox {
    app: App,
    victim: Spawned<Adder>,
}

impl Actors for Skybox {
    type One = Spawned<Adder>;

    async fn begin() -> Result<Self> {
        let app = App::builder().aside().start().await?;
        app.settled().await;
        let victim = app.spawn::<Adder>(0).await?;
        Ok(Skybox { app, victim })
    }

    async fn spawn(&self, count: u64) -> Result<Self::One> {
        Ok(self.app.spawn::<Adder>(count).await?)
    }

    async fn add(one: &Self::One, n: u64) -> Result<u64> {
        one.add(n).await.map_err(|error| anyhow::anyhow!("{error:#}"))
    }

    /// The owner hears of the crash from its call, and makes another one.
    async fn crash_and_add(&mut self, n: u64) -> Result<u64> {
        match self.victim.crash().await {
            Err(error)
                if matches!(error.call_error().map(CallError::kind), Some(CallErrorKind::Crashed { .. })) =>
            {
                self.victim = self.app.spawn::<Adder>(0).await?;
                Self::add(&self.victim, n).await
            }
            other => bail!("a crash ended with {other:?}"),
        }
    }

    async fn stop(ones: Vec<Self::One>) -> Result<()> {
        drop(ones);
        Ok(())
    }
}
