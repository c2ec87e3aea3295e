//! The callees: small modules, each with what one group of sentences needs.

mod booths;
mod climbers;
mod desk;
mod errors;
mod hog;
mod inn;
mod kiosks;
mod pipes;
mod relay;
mod rows;
mod signs;
mod starts;
mod stops;
mod tellers;
mod vases;
mod versions;

use std::collections::BTreeMap;

use skybox::{App, Result};

pub use booths::{Booth, Fair, Lane, Market, Odd, Oddity, Opening};
pub use climbers::{Climber, Tour};
pub use desk::{Cramped, Desk, Narrow, Overdue, Pooled, Register, work};
#[cfg(feature = "anyhow")]
pub use errors::any::Anyhow;
pub use errors::{Plain, PlainError, ShopError, Shops};
pub use hog::Hog;
pub use inn::{BERTHS, Berth};
pub use kiosks::Kiosk;
pub use pipes::{Brook, Conduit, Pipes, Source, louder};
pub use relay::{Nest, Relay, Step, traced};
pub use rows::*;
pub use signs::{Signs, Stall};
pub use starts::{Latecomer, Sleeper, Stillborn, StillbornKey, Unsteady, book, lookup};
pub use stops::{Diary, Guest, Lingerer, Lodger};
pub use tellers::{Drawer, Teller};
pub use vases::{Settler, Vase};
pub use versions::{Edition, Ours, Theirs};

use crate::ledger::Ledger;

/// The modules and tasks that live on the callees' node in split mode; [`Relay`] lives on another.
pub const CALLEES: &[&str] = &[
    "anyhow",
    "berth",
    "book",
    "brook",
    "come_back",
    "cramped",
    "desk",
    "diary",
    "drawer",
    "edition",
    "guest",
    "hog",
    "latecomer",
    "lingerer",
    "lodger",
    "lookup",
    "louder",
    "market",
    "narrow",
    "nest",
    "overdue",
    "pipes",
    "plain",
    "pooled",
    "probe",
    "register",
    "rows",
    "settler",
    "shops",
    "signs",
    "sleeper",
    "stillborn",
    "stillborn_key",
    "teller",
    "traced",
    "unsteady",
    "vase",
    "work",
];

/// The callees that live in cells where the mode says so: all but the one who looks at their node.
pub fn in_cells() -> impl Iterator<Item = &'static str> {
    CALLEES
        .iter()
        .copied()
        .chain(["conduit", "relay"])
        .filter(|module| *module != "probe" && (cfg!(feature = "anyhow") || *module != "anyhow"))
}

/// Shows the test what happened on the callees' side.
pub struct Probe {
    ledger: Ledger,
}

#[skybox::module]
impl Probe {
    fn start(app: &App) -> Result<Self> {
        Ok(Probe { ledger: app.value::<Ledger>()?.clone() })
    }

    pub async fn note(&self, what: &str) -> Result<u64> {
        Ok(self.ledger.note(what))
    }

    pub async fn count(&self, what: &str) -> Result<u64> {
        Ok(self.ledger.count(what))
    }

    pub async fn all(&self) -> Result<BTreeMap<String, u64>> {
        Ok(self.ledger.all())
    }

    /// Waits at a gate.
    pub async fn pass(&self, gate: &str) -> Result<()> {
        self.ledger.pass(gate).await;
        Ok(())
    }

    /// How a module's instances have ended, the first one first.
    pub async fn endings(&self, module: &str) -> Result<Vec<String>> {
        let modules = App::current()?.status_with_cells().await.modules.into_iter();
        let endings = modules.filter(|status| status.module == module).flat_map(|status| status.endings);
        Ok(endings.map(|ending| ending.exit.to_string()).collect())
    }

    /// The methods of a module that have held async threads, and how often.
    pub async fn holds(&self, module: &str) -> Result<Vec<String>> {
        let modules = App::current()?.status_with_cells().await.modules.into_iter();
        let holds = modules.filter(|status| status.module == module).flat_map(|status| status.holds);
        Ok(holds.map(|hold| format!("{} {}", hold.method, hold.count)).collect())
    }

    /// Kills the live instances of a module; says how many there were.
    pub async fn kill(&self, module: &str) -> Result<usize> {
        let app = App::current()?;
        let modules = app.status().modules.into_iter().filter(|status| status.module == module);
        let instances = modules.flat_map(|status| status.instances);
        Ok(instances.filter(|instance| app.kill(&instance.instance)).count())
    }

    /// Calls that hold a module's instances.
    pub async fn holding(&self, module: &str) -> Result<u64> {
        let status = App::current()?.status();
        let instances =
            status.modules.into_iter().filter(|status| status.module == module).flat_map(|m| m.instances);
        Ok(instances.filter_map(|instance| instance.holding).sum())
    }

    /// Calls that wait for their turn on a module's instances.
    pub async fn waiting(&self, module: &str) -> Result<u64> {
        let status = App::current()?.status_with_cells().await;
        let instances =
            status.modules.into_iter().filter(|status| status.module == module).flat_map(|m| m.instances);
        Ok(instances.filter_map(|instance| instance.waiting).sum())
    }

    /// Has the App here shut down.
    pub async fn shut_down(&self) -> Result<()> {
        let app = App::current()?;
        drop(tokio::spawn(async move { app.shutdown().await }));
        Ok(())
    }

    /// Lets everything that is ready here run first.
    pub async fn settle(&self) -> Result<()> {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
