//! Spawned instances that have names.

use skybox::{App, Handle, Result};

use super::Booth;
use crate::ledger::Ledger;

/// Puts up signs and reads them, with the callees.
#[derive(Default)]
pub struct Signs;

#[skybox::module]
impl Signs {
    /// Gives a booth a name.
    pub async fn put_up(&self, name: &str, booth: Handle<Booth>) -> Result<()> {
        Ok(App::current()?.register(name, &booth).await?)
    }

    pub async fn read(&self, name: &str) -> Result<Option<Handle<Booth>>> {
        Ok(App::current()?.whereis(name).await?)
    }

    pub async fn take_down(&self, name: &str) -> Result<bool> {
        Ok(App::current()?.unregister(name).await?)
    }
}

/// A stall, which gives itself its name when it starts.
pub struct Stall {
    ledger: Ledger,
    name: String,
}

#[skybox::module(spawned)]
impl Stall {
    async fn start(app: &App, name: String) -> Result<Self> {
        app.register(&name, &app.this::<Stall>()?).await?;
        let ledger = app.value::<Ledger>()?.clone();
        match name.as_str() {
            "bare" => return Err(skybox::Error::msg("there is nothing to sell")),
            "slow stall" => ledger.pass("slow stall").await,
            _ => {}
        }
        Ok(Stall { ledger, name })
    }

    pub async fn name(&self) -> Result<String> {
        Ok(self.name.clone())
    }

    /// Gives itself another name.
    pub async fn be_called(&self, name: &str) -> Result<()> {
        let app = App::current()?;
        Ok(app.register(name, &app.this::<Stall>()?).await?)
    }

    pub async fn burn(&self) -> Result<()> {
        panic!("{} burns", self.name);
    }

    /// Its last word: it wants a name still.
    async fn stop(self, app: App) -> Result<()> {
        if self.name == "restless" {
            let found =
                app.whereis::<Stall>("restless").await?.expect("its name is its own until it has ended");
            let refused = app.register("late", &found).await.expect_err("it takes no more calls");
            self.ledger.note(&format!("late is refused with {}", refused.code().name()));
        }
        Ok(())
    }
}
