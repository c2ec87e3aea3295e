//! Interfaces and their implementations. The callers, [`crate::cases::interfaces`], name the traits alone.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use skybox::{App, Handle, Result, Stream};

use crate::ledger::Ledger;

/// Accounts and what is in them.
#[skybox::module]
pub trait Teller {
    /// Puts money into an account; returns what is in it then.
    async fn deposit(&mut self, account: &str, cents: u64) -> Result<u64>;

    /// What is in an account.
    #[idempotent]
    async fn balance(&self, account: &str) -> Result<Option<u64>>;

    /// As two deposits of half of it.
    async fn deposit_in_halves(&mut self, account: &str, cents: u64) -> Result<u64> {
        self.deposit(account, cents / 2).await?;
        self.deposit(account, cents - cents / 2).await
    }

    /// Names a drawer, and gives its handle back.
    async fn name_of(&self, drawer: Handle<dyn Drawer>) -> Result<(String, Handle<dyn Drawer>)>;

    /// Gives each coin back twice its worth.
    async fn double(&self, coins: Stream<u64>) -> Result<Stream<u64>>;

    /// Fails with that text.
    async fn refuse(&self, why: &str) -> Result<()>;

    /// Panics with it.
    async fn panic(&self, why: &str) -> Result<()>;

    /// Goes through a gate, stops there if its caller stops waiting.
    async fn wait(&self, gate: &str) -> Result<()>;
}

/// Coins, in one drawer for each name.
#[skybox::module(keyed = str)]
pub trait Drawer {
    /// Puts a coin in; returns how many are in it then.
    async fn put(&mut self, coin: u32) -> Result<usize>;

    /// Whose it is.
    async fn name(&self) -> Result<String>;
}

/// The one implementation that is linked in, so that nothing has to be configured.
pub struct Bank {
    ledger: Ledger,
    accounts: BTreeMap<String, u64>,
}

impl Bank {
    async fn start(app: &App) -> Result<Bank> {
        let ledger = app.value::<Ledger>()?.clone();
        ledger.note("bank started");
        Ok(Bank { ledger, accounts: BTreeMap::new() })
    }
}

#[skybox::module(concurrency = 4)]
impl Teller for Bank {
    async fn deposit(&mut self, account: &str, cents: u64) -> Result<u64> {
        self.ledger.note("deposit");
        let balance = self.accounts.entry(account.to_owned()).or_default();
        *balance += cents;
        Ok(*balance)
    }

    async fn balance(&self, account: &str) -> Result<Option<u64>> {
        Ok(self.accounts.get(account).copied())
    }

    async fn name_of(&self, drawer: Handle<dyn Drawer>) -> Result<(String, Handle<dyn Drawer>)> {
        Ok((drawer.name().await?, drawer))
    }

    async fn double(&self, coins: Stream<u64>) -> Result<Stream<u64>> {
        Ok(Stream::from_stream(coins.map(|coin| coin.map(|coin| 2 * coin))))
    }

    async fn refuse(&self, why: &str) -> Result<()> {
        Err(skybox::Error::from(std::io::Error::other(why.to_owned())))
    }

    async fn panic(&self, why: &str) -> Result<()> {
        panic!("{why}")
    }

    async fn wait(&self, gate: &str) -> Result<()> {
        self.ledger.pass(gate).await;
        Ok(())
    }
}

/// A drawer that remembers its coins as long as it is awake.
pub struct Wooden {
    name: String,
    coins: Vec<u32>,
}

impl Wooden {
    fn start(_: &App, name: &str) -> Wooden {
        Wooden { name: name.to_owned(), coins: Vec::new() }
    }
}

#[skybox::module(keyed)]
impl Drawer for Wooden {
    async fn put(&mut self, coin: u32) -> Result<usize> {
        self.coins.push(coin);
        Ok(self.coins.len())
    }

    async fn name(&self) -> Result<String> {
        Ok(self.name.clone())
    }
}
