//! Modules that start late, badly or never, and tasks that need nothing.

use std::fmt;

use skybox::{App, Result};

use crate::ledger::Ledger;
use crate::stage::CALLEES;

/// An error with a cause.
#[derive(Debug, thiserror::Error)]
#[error("the shelf is closed")]
struct Closed(#[source] Because);

#[derive(Debug)]
struct Because;

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key is lost")
    }
}

impl std::error::Error for Because {}

/// Starts when its gate opens.
pub struct Latecomer {
    pages: Vec<u32>,
}

#[skybox::module]
impl Latecomer {
    async fn start(app: &App) -> Result<Self> {
        app.value::<Ledger>()?.noted("latecomer open").await;
        Ok(Latecomer { pages: Vec::new() })
    }

    pub async fn hello(&self) -> Result<()> {
        Ok(())
    }

    pub async fn add(&mut self, page: u32) -> Result<()> {
        self.pages.push(page);
        Ok(())
    }

    pub async fn pages(&self) -> Result<Vec<u32>> {
        Ok(self.pages.clone())
    }
}

/// One for each name; on the callees' node it starts when its gate opens.
pub struct Sleeper {
    ledger: Ledger,
}

#[skybox::module(keyed)]
impl Sleeper {
    async fn start(app: &App, name: &str) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        if app.node() == CALLEES {
            ledger.pass(name).await;
        }
        Ok(Sleeper { ledger })
    }

    /// Where it lives.
    pub async fn node(&self) -> Result<String> {
        Ok(App::current()?.node().to_owned())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.ledger.note("sleeper dropped");
    }
}

/// Never starts, and is given up soon.
pub struct Stillborn;

#[skybox::module(max_restarts = 1)]
impl Stillborn {
    async fn start(app: &App) -> Result<Self> {
        app.value::<Ledger>()?.note("stillborn start");
        Err(Closed(Because).into())
    }

    pub async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

/// Never starts for any key: it panics.
pub struct StillbornKey;

#[skybox::module(keyed, max_restarts = 1)]
impl StillbornKey {
    async fn start(_app: &App, key: &u32) -> Result<Self> {
        panic!("there is no {key}")
    }

    pub async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

/// Fails to start, then starts.
pub struct Unsteady;

#[skybox::module]
impl Unsteady {
    async fn start(app: &App) -> Result<Self> {
        if app.value::<Ledger>()?.note("unsteady start") < 3 {
            return Err(Closed(Because).into());
        }
        Ok(Unsteady)
    }

    pub async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

/// A task that borrows.
#[skybox::task]
pub async fn lookup(names: &[String], at: usize) -> Result<String> {
    Ok(names[at].clone())
}

/// A task that is not async.
#[skybox::task]
pub fn book(note: &str) -> Result<usize> {
    Ok(note.len())
}
