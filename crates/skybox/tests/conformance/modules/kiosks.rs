//! Spawned instances that have a last word, know their own name and end themselves.

use skybox::{App, Handle, Result};

use crate::ledger::Ledger;

/// A kiosk, which closes when it likes to.
pub struct Kiosk {
    ledger: Ledger,
    name: String,
    itself: Handle<Kiosk>,
}

#[skybox::module(spawned)]
impl Kiosk {
    async fn start(app: &App, name: String) -> Result<Self> {
        // A `start` that ended its own instance would fail.
        app.end_this().expect_err("it has not started yet");
        Ok(Kiosk { ledger: app.value::<Ledger>()?.clone(), name, itself: app.this()? })
    }

    pub async fn name(&self) -> Result<String> {
        Ok(self.name.clone())
    }

    /// Its own handle, as its `start` had it.
    pub async fn itself_at_first(&self) -> Result<Handle<Kiosk>> {
        Ok(self.itself.clone())
    }

    /// Its own handle, as its methods have it.
    pub async fn itself(&self) -> Result<Handle<Kiosk>> {
        Ok(App::current()?.this::<Kiosk>()?)
    }

    pub async fn look(&self, gate: &str) -> Result<String> {
        self.ledger.pass(gate).await;
        Ok(self.name.clone())
    }

    /// Closes for good, whoever looks around.
    pub async fn close(&self) -> Result<String> {
        let app = App::current()?;
        app.end_this()?;
        // To say it twice changes nothing.
        app.end_this()?;
        Ok(self.name.clone())
    }

    /// Sells its last, and closes.
    pub async fn sell_out(&mut self, gate: &str) -> Result<String> {
        self.ledger.pass(gate).await;
        App::current()?.end_this()?;
        Ok(std::mem::take(&mut self.name))
    }

    /// Closes, and falls down.
    pub async fn collapse(&self) -> Result<()> {
        App::current()?.end_this()?;
        panic!("{} collapses", self.name);
    }

    async fn stop(self, _app: App) -> Result<()> {
        if self.name == "shutter" {
            self.ledger.pass("shutter").await;
        }
        self.ledger.note("kiosk stopped");
        if self.name == "jammed" {
            return Err(skybox::Error::msg("its shutter is jammed"));
        }
        Ok(())
    }
}
