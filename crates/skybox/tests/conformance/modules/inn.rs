//! A keyed module of which few may be awake.

use skybox::{App, Result};

use crate::ledger::Ledger;

/// How many may be awake in a node.
pub const BERTHS: u64 = 2;

/// What happens to one is noted under its name, and under `berth`.
pub struct Berth {
    ledger: Ledger,
    name: String,
    life: u64,
}

#[skybox::module(keyed, awake = 2, idle = "1h", stop_wait = "1m")]
impl Berth {
    fn start(app: &App, name: &str) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        if name == "broken" {
            return Err(skybox::Error::msg("the slats are broken"));
        }
        let awake = ledger.note("berth started") - ledger.count("berth gone");
        if awake > BERTHS {
            ledger.note("too many");
        }
        let life = ledger.note(&format!("{name} started"));
        Ok(Berth { ledger, name: name.to_owned(), life })
    }

    /// Which one of that name it is.
    pub async fn life(&self) -> Result<u64> {
        Ok(self.life)
    }

    /// Is busy as long as a gate is closed.
    pub async fn rest(&self, gate: &str) -> Result<u64> {
        self.ledger.pass(gate).await;
        Ok(self.life)
    }

    pub async fn fail(&self) -> Result<()> {
        panic!("boom")
    }

    async fn stop(self) {
        self.ledger.note(&format!("{} stopped", self.name));
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.ledger.note("berth gone");
    }
}
