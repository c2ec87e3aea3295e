//! Instances that code makes.

use std::num::NonZeroU8;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use skybox::{App, Child, ChildSpec, Handle, Result, Spawned, Supervisor};

use crate::ledger::Ledger;
use crate::stage::CALLEES;

/// What a booth is opened with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opening {
    pub name: String,
    pub stock: u32,
}

impl Opening {
    pub fn of(name: &str, stock: u32) -> Opening {
        Opening { name: name.to_owned(), stock }
    }
}

/// A booth that somebody opens.
pub struct Booth {
    ledger: Ledger,
    name: String,
    stock: u32,
}

#[skybox::module(spawned)]
impl Booth {
    async fn start(app: &App, opening: Opening) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        match opening.name.as_str() {
            "broke" => return Err(skybox::Error::msg("there is no money for a booth")),
            "cursed" => panic!("the ground gives way"),
            "slow" => ledger.pass("slow").await,
            _ => {}
        }
        ledger.note(&format!("booth {} opened", opening.name));
        Ok(Booth { ledger, name: opening.name, stock: opening.stock })
    }

    /// Sells some, one customer at a time.
    pub async fn sell(&mut self, count: u32) -> Result<u32> {
        self.stock = self.stock.checked_sub(count).ok_or_else(|| skybox::Error::msg("sold out"))?;
        Ok(self.stock)
    }

    pub async fn stock(&self) -> Result<u32> {
        Ok(self.stock)
    }

    /// Where it lives.
    pub async fn node(&self) -> Result<String> {
        Ok(App::current()?.node().to_owned())
    }

    /// Looks around, through a gate.
    pub async fn look(&self, gate: &str) -> Result<u32> {
        self.ledger.pass(gate).await;
        Ok(self.stock)
    }

    pub async fn burn_after(&self, gate: &str) -> Result<()> {
        self.ledger.pass(gate).await;
        panic!("{} burns", self.name);
    }

    pub async fn burn(&self) -> Result<()> {
        panic!("{} burns", self.name);
    }
}

impl Drop for Booth {
    fn drop(&mut self) {
        self.ledger.note(&format!("booth {} closed", self.name));
    }
}

/// Opens booths and owns them.
#[derive(Default)]
pub struct Fair {
    booths: Vec<Spawned<Booth>>,
}

#[skybox::module]
impl Fair {
    /// Opens a booth where booths are, and gives its handle away.
    pub async fn open(&mut self, opening: Opening) -> Result<Handle<Booth>> {
        let app = App::current()?;
        let spawning = app.spawn::<Booth>(opening);
        let booth = if app.node() == "alone" { spawning.await? } else { spawning.on(CALLEES).await? };
        let handle = Spawned::handle(&booth);
        self.booths.push(booth);
        Ok(handle)
    }

    /// Gives the booths to themselves.
    pub async fn let_go(&mut self) -> Result<()> {
        for booth in self.booths.drain(..) {
            Spawned::keep(booth).await?;
        }
        Ok(())
    }

    /// Sells something through a handle.
    pub async fn sell_at(&self, booth: Handle<Booth>, count: u32) -> Result<u32> {
        booth.sell(count).await
    }
}

/// Where booths stand in rows, with the callees.
#[derive(Default)]
pub struct Market;

#[skybox::module]
impl Market {
    /// Opens so many booths and gives them away.
    pub async fn open_row(&self, count: u32) -> Result<Vec<Handle<Booth>>> {
        let app = App::current()?;
        let mut row = Vec::new();
        for n in 0..count {
            row.push(Spawned::keep(app.spawn::<Booth>(Opening::of("row", n)).await?).await?);
        }
        Ok(row)
    }
}

/// A number that is written and cannot be read.
#[derive(Clone, Debug, Serialize)]
pub struct Odd(u8);

impl Odd {
    pub fn zero() -> Odd {
        Odd(0)
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Odd, D::Error> {
        NonZeroU8::deserialize(deserializer).map(|odd| Odd(odd.get()))
    }
}

/// Cannot be made with what others cannot read.
#[derive(Default)]
pub struct Oddity;

#[skybox::module(spawned)]
impl Oddity {
    async fn start(_: &App, odd: Odd) -> Result<Self> {
        let Odd(_) = odd;
        Ok(Oddity)
    }

    pub async fn hello(&self) -> Result<()> {
        Ok(())
    }
}

/// A row of booths that somebody lays out: a supervisor that is itself a child.
pub struct Lane {
    ledger: Ledger,
    booths: Option<Supervisor>,
    pears: Child<Booth>,
}

#[skybox::module(spawned)]
impl Lane {
    async fn start(app: &App, stock: u32) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        let mut booths = Supervisor::one_for_one().max_restarts(0, Duration::from_secs(60));
        let pears = booths.add(ChildSpec::new("pears", move |app: App| async move {
            app.spawn::<Booth>(Opening::of("pears", stock)).await
        }));
        let booths = booths.start(app).await?;
        ledger.note("lane opened");
        Ok(Lane { ledger, booths: Some(booths), pears })
    }

    /// The booth of the moment.
    pub async fn pears(&self) -> Result<Handle<Booth>> {
        Ok(self.pears.get().await?)
    }

    async fn stop(mut self, _app: &App) -> Result<()> {
        if let Some(booths) = self.booths.take() {
            booths.stop().await;
        }
        self.ledger.note("lane left");
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.ledger.note("lane closed");
    }
}
