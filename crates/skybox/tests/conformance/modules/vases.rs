//! Keyed modules whose keys are given up soon.

use skybox::{App, Result};

use crate::ledger::Ledger;
use crate::stage::RELAYS;

/// With an odd number it starts on the relays' node alone. The window within which it may fail is over at once.
pub struct Settler;

#[skybox::module(keyed, max_restarts = 0, within = "1ms")]
impl Settler {
    async fn start(app: &App, number: &u32) -> Result<Self> {
        app.value::<Ledger>()?.note(&format!("settler {number} start"));
        if number % 2 == 1 && app.node() != RELAYS {
            return Err(skybox::Error::msg(format!("{number} wants to be elsewhere")));
        }
        Ok(Settler)
    }

    pub async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

/// Once broken, it stays so.
pub struct Vase {
    ledger: Ledger,
    flowers: u32,
}

#[skybox::module(keyed, restart = "never")]
impl Vase {
    async fn start(app: &App, name: &str) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        ledger.note(&format!("vase {name} started"));
        Ok(Vase { ledger, flowers: 0 })
    }

    pub async fn add(&mut self) -> Result<u32> {
        self.flowers += 1;
        Ok(self.flowers)
    }

    /// Looks until the gate is open.
    pub async fn look(&self, gate: &str) -> Result<u32> {
        self.ledger.pass(gate).await;
        Ok(self.flowers)
    }

    pub async fn drop(&self) -> Result<()> {
        panic!("in pieces")
    }
}
