//! Modules with a last word, which they note: `… stopping`, `… stopped` and, when the value is gone, `… dropped`.

use skybox::{App, Result};

use super::Probe;
use crate::ledger::Ledger;
use crate::stage::RELAYS;

/// Its lives are counted where it lives.
pub struct Diary {
    ledger: Ledger,
    life: u64,
}

#[skybox::module]
impl Diary {
    fn start(app: &App) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        let life = ledger.note("diary started");
        Ok(Diary { ledger, life })
    }

    pub async fn life(&self) -> Result<u64> {
        Ok(self.life)
    }

    pub async fn node(&self) -> Result<String> {
        Ok(App::current()?.node().to_owned())
    }

    pub async fn read(&self, gate: &str) -> Result<u64> {
        self.ledger.pass(gate).await;
        Ok(self.life)
    }

    pub async fn fail(&self) -> Result<()> {
        panic!("boom")
    }

    async fn stop(self, app: App) -> Result<()> {
        self.ledger.note("diary stopping");
        if app.node() == RELAYS {
            // What this node counts goes with it: it says its last word to another.
            app.get::<Probe>().pass("farewell").await?;
        }
        self.ledger.note(&format!("diary {} stopped", self.life));
        Ok(())
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        self.ledger.note("diary dropped");
    }
}

/// Falls asleep at once, and stops as its name says.
pub struct Guest {
    ledger: Ledger,
    name: String,
    life: u64,
}

#[skybox::module(keyed, idle = "20ms", stop_wait = "1m")]
impl Guest {
    fn start(app: &App, name: &str) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        let life = ledger.note(&format!("{name} started"));
        Ok(Guest { ledger, name: name.to_owned(), life })
    }

    /// Which one of that name it is, here.
    pub async fn life(&self) -> Result<u64> {
        Ok(self.life)
    }

    pub async fn fail(&self) -> Result<()> {
        panic!("boom")
    }

    async fn stop(self, app: &App) -> Result<()> {
        self.ledger.note(&format!("{} stopping", self.name));
        assert_eq!(App::current()?.node(), app.node(), "it is code of its App");
        match self.name.as_str() {
            "failing" => return Err(skybox::Error::msg("the ink is dry")),
            "panicking" => panic!("no goodbye"),
            "gate" if app.node() != RELAYS => self.ledger.pass("gate").await,
            _ => {}
        }
        self.ledger.note(&format!("{} {} stopped", self.name, self.life));
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.ledger.note(&format!("{} {} dropped", self.name, self.life));
    }
}

/// Falls asleep at once, but never ends stopping.
pub struct Lingerer {
    ledger: Ledger,
    life: u64,
}

#[skybox::module(keyed, idle = "20ms", stop_wait = "20ms")]
impl Lingerer {
    fn start(app: &App, _name: &str) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        let life = ledger.note("lingerer started");
        Ok(Lingerer { ledger, life })
    }

    pub async fn life(&self) -> Result<u64> {
        Ok(self.life)
    }

    async fn stop(self) {
        self.ledger.pass("never").await;
    }
}

impl Drop for Lingerer {
    fn drop(&mut self) {
        self.ledger.note("lingerer dropped");
    }
}

/// As a [`Guest`], but callers do not know its type.
#[skybox::module(keyed = str)]
pub trait Lodger {
    /// Which one of that name it is, here.
    async fn life(&self) -> Result<u64>;
}

/// The one implementation.
pub struct Subtenant {
    ledger: Ledger,
    name: String,
    life: u64,
}

impl Subtenant {
    fn start(app: &App, name: &str) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        let life = ledger.note(&format!("{name} started"));
        Ok(Subtenant { ledger, name: name.to_owned(), life })
    }

    async fn stop(self, app: &App) -> Result<()> {
        assert_eq!(App::current()?.node(), app.node(), "it is code of its App");
        self.ledger.note(&format!("{} {} stopped", self.name, self.life));
        Err(skybox::Error::msg("the key is lost"))
    }
}

#[skybox::module(keyed, idle = "20ms", stop_wait = "1m")]
impl Lodger for Subtenant {
    async fn life(&self) -> Result<u64> {
        Ok(self.life)
    }
}

impl Drop for Subtenant {
    fn drop(&mut self) {
        self.ledger.note(&format!("{} {} dropped", self.name, self.life));
    }
}
