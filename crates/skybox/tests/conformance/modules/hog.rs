//! A module that keeps others waiting.

use skybox::{App, Result};

use crate::ledger::Ledger;

/// Holds the thread that it is called on.
pub struct Hog {
    ledger: Ledger,
}

#[skybox::module]
impl Hog {
    fn start(app: &App) -> Result<Self> {
        Ok(Hog { ledger: app.value::<Ledger>()?.clone() })
    }

    /// Until its gate is open, without an await.
    pub async fn hold(&self, gate: &str) -> Result<()> {
        // What is held is the thread of a task of its own: in strict mode the way in is free then.
        tokio::task::yield_now().await;
        self.ledger.pass_now(gate);
        Ok(())
    }

    /// For no time.
    pub async fn pass(&self) -> Result<()> {
        Ok(())
    }
}
