//! Spawned instances that link themselves to others.

use serde::{Deserialize, Serialize};
use skybox::{App, Handle, Result};

use crate::ledger::Ledger;

/// What a climber sets out with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tour {
    pub name: String,
    /// To whom he ropes up before he sets out.
    pub with: Option<Handle<Climber>>,
    /// Where he waits then.
    pub gate: Option<String>,
}

impl Tour {
    pub fn of(name: &str) -> Tour {
        Tour { name: name.to_owned(), with: None, gate: None }
    }

    pub fn with(self, with: &Handle<Climber>) -> Tour {
        Tour { with: Some(with.clone()), ..self }
    }

    pub fn through(self, gate: &str) -> Tour {
        Tour { gate: Some(gate.to_owned()), ..self }
    }
}

/// Climbs, roped up with others.
pub struct Climber {
    ledger: Ledger,
    name: String,
}

#[skybox::module(spawned)]
impl Climber {
    async fn start(app: &App, tour: Tour) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        if let Some(with) = &tour.with {
            Handle::link(&app.this::<Climber>()?, with).await?;
        }
        if let Some(gate) = &tour.gate {
            ledger.pass(gate).await;
        }
        if tour.name == "clumsy" {
            return Err(skybox::Error::msg("he stumbles at the hut"));
        }
        Ok(Climber { ledger, name: tour.name })
    }

    pub async fn name(&self) -> Result<String> {
        Ok(self.name.clone())
    }

    /// Ropes up with another one.
    pub async fn rope_up(&self, with: Handle<Climber>) -> Result<()> {
        Ok(Handle::link(&App::current()?.this::<Climber>()?, &with).await?)
    }

    pub async fn look_out(&self, gate: &str) -> Result<()> {
        self.ledger.pass(gate).await;
        Ok(())
    }

    pub async fn fall(&self) -> Result<()> {
        panic!("{} falls", self.name);
    }
}

impl Drop for Climber {
    fn drop(&mut self) {
        self.ledger.note(&format!("climber {} gone", self.name));
    }
}
