//! State behind gates: for turns, cancellation, crashes and order.

use std::time::Duration;

use skybox::{App, Epoch, Result};

use crate::ledger::Ledger;

/// Pages that are read and written.
pub struct Desk {
    ledger: Ledger,
    pages: Vec<u32>,
}

#[skybox::module]
impl Desk {
    fn start(app: &App) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        ledger.note("desk started");
        Ok(Desk { ledger, pages: Vec::new() })
    }

    pub async fn pages(&self) -> Result<Vec<u32>> {
        Ok(self.pages.clone())
    }

    /// Reads at a gate.
    pub async fn look(&self, gate: &str) -> Result<Vec<u32>> {
        self.ledger.pass(gate).await;
        Ok(self.pages.clone())
    }

    /// Never ends, and notes nothing.
    pub async fn stare(&self) -> Result<()> {
        std::future::pending().await
    }

    /// Reads at a gate, whether anybody still waits for it or not.
    #[to_completion]
    pub async fn file(&self, gate: &str) -> Result<()> {
        self.ledger.pass(gate).await;
        Ok(())
    }

    pub async fn add(&mut self, page: u32) -> Result<()> {
        self.pages.push(page);
        Ok(())
    }

    /// Takes this long at least.
    pub async fn toil(&mut self, ms: u64) -> Result<()> {
        // Sleeps because that is its work: how long a queue's calls take is what the cases are about.
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(())
    }

    pub fn add_now(&mut self, page: u32) -> Result<()> {
        self.pages.push(page);
        Ok(())
    }

    /// Half of its work is done at the gate.
    pub async fn write(&mut self, gate: &str) -> Result<Vec<u32>> {
        self.pages.push(1);
        self.ledger.pass(gate).await;
        self.pages.push(2);
        Ok(self.pages.clone())
    }

    #[cancel_on_drop]
    pub async fn draft(&mut self, gate: &str) -> Result<()> {
        self.pages.push(1);
        self.ledger.pass(gate).await;
        self.pages.push(2);
        Ok(())
    }

    pub async fn fail(&self, message: &str) -> Result<()> {
        panic!("{message}")
    }

    pub fn fail_now(&self, message: &str) -> Result<()> {
        panic!("{message}")
    }

    /// Panics with something that is no text.
    pub async fn fail_wordless(&self) -> Result<()> {
        std::panic::panic_any(7)
    }

    /// Panics at a gate, half of its work done.
    pub async fn fail_writing(&mut self, gate: &str) -> Result<()> {
        self.pages.push(1);
        self.ledger.pass(gate).await;
        panic!("in the middle of it")
    }

    #[idempotent]
    pub async fn again(&self) -> Result<u64> {
        Ok(self.ledger.note("again"))
    }

    pub async fn once(&self) -> Result<u64> {
        Ok(self.ledger.note("once"))
    }

    pub async fn process(&self) -> Result<u32> {
        Ok(std::process::id())
    }

    /// Waits at a gate in this process, for ever; says in which other one it ran.
    #[idempotent]
    pub async fn look_elsewhere(&self, gate: &str, process: u32) -> Result<u32> {
        if std::process::id() == process {
            self.ledger.pass(gate).await;
        }
        Ok(std::process::id())
    }

    pub async fn weigh(&self, load: &[u8]) -> Result<usize> {
        Ok(load.len())
    }

    pub async fn swallow(&self, load: bytes::Bytes) -> Result<usize> {
        self.ledger.note("swallowed");
        Ok(load.len())
    }

    /// How many loads were swallowed here.
    pub async fn swallowed(&self) -> Result<u64> {
        Ok(self.ledger.count("swallowed"))
    }

    /// As many bytes as asked for.
    pub async fn fill(&self, bytes: usize) -> Result<bytes::Bytes> {
        Ok((0..bytes).map(|n| n as u8).collect::<Vec<_>>().into())
    }
}

/// Two at a time.
pub struct Narrow {
    ledger: Ledger,
}

#[skybox::module(concurrency = 2)]
impl Narrow {
    fn start(app: &App) -> Result<Self> {
        Ok(Narrow { ledger: app.value::<Ledger>()?.clone() })
    }

    pub async fn look(&self, gate: &str) -> Result<()> {
        self.ledger.pass(gate).await;
        Ok(())
    }
}

/// Has room for one call that waits, in the nodes of split mode.
pub struct Cramped {
    ledger: Ledger,
}

#[skybox::module]
impl Cramped {
    fn start(app: &App) -> Result<Self> {
        Ok(Cramped { ledger: app.value::<Ledger>()?.clone() })
    }

    /// Waits at a gate in this process; says in which one it ran.
    pub async fn hold(&mut self, gate: &str, process: u32) -> Result<u32> {
        if std::process::id() == process {
            self.ledger.pass(gate).await;
        }
        Ok(std::process::id())
    }
}

/// Has its own limits.
pub struct Overdue {
    ledger: Ledger,
    pages: u32,
}

#[skybox::module(deadline = "1s", overrun = "100ms")]
impl Overdue {
    fn start(app: &App) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        ledger.note("overdue started");
        Ok(Overdue { ledger, pages: 0 })
    }

    pub async fn look(&self, gate: &str) -> Result<()> {
        self.ledger.pass(gate).await;
        Ok(())
    }

    pub async fn write(&mut self, gate: &str) -> Result<()> {
        self.pages += 1;
        self.ledger.pass(gate).await;
        Ok(())
    }

    pub async fn pages(&self) -> Result<u32> {
        Ok(self.pages)
    }

    pub async fn has_deadline(&self) -> Result<bool> {
        Ok(skybox::current_deadline().is_some())
    }
}

/// Has a thread of its own.
pub struct Pooled {
    ledger: Ledger,
}

#[skybox::module(cpu = 1)]
impl Pooled {
    fn start(app: &App) -> Result<Self> {
        Ok(Pooled { ledger: app.value::<Ledger>()?.clone() })
    }

    /// Holds its thread this long at least.
    pub fn toil(&self, ms: u64) -> Result<()> {
        // Sleeps because that is its work, as above.
        std::thread::sleep(Duration::from_millis(ms));
        Ok(())
    }

    /// Holds its thread at a gate.
    pub fn grind(&self, gate: &str) -> Result<String> {
        self.ledger.pass_now(gate);
        Ok(std::thread::current().name().unwrap_or_default().to_owned())
    }

    /// Waits on the module's thread.
    #[compute]
    pub async fn stir(&self) -> Result<String> {
        Ok(std::thread::current().name().unwrap_or_default().to_owned())
    }

    pub fn fail(&self) -> Result<()> {
        panic!("on a thread of its own")
    }
}

/// One for each name.
pub struct Register {
    ledger: Ledger,
    name: String,
    entries: Vec<u32>,
    begun_in: Option<Epoch>,
}

#[skybox::module(keyed)]
impl Register {
    fn start(app: &App, name: &str) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        ledger.note(&format!("register {name} started"));
        let begun_in = app.epoch().ok();
        Ok(Register { ledger, name: name.to_owned(), entries: Vec::new(), begun_in })
    }

    pub async fn name(&self) -> Result<String> {
        Ok(self.name.clone())
    }

    pub async fn enter(&mut self, entry: u32) -> Result<()> {
        self.entries.push(entry);
        Ok(())
    }

    pub async fn entries(&self) -> Result<Vec<u32>> {
        Ok(self.entries.clone())
    }

    pub async fn look(&self, gate: &str) -> Result<Vec<u32>> {
        self.ledger.pass(gate).await;
        Ok(self.entries.clone())
    }

    pub async fn fail(&self) -> Result<()> {
        panic!("the register burns")
    }

    /// Which of its owners its `start` saw, and which its method sees.
    pub async fn epochs(&self) -> Result<(Option<Epoch>, Option<Epoch>)> {
        let now = || App::current().ok().and_then(|app| app.epoch().ok());
        let in_a_task = skybox::spawn(async move { now() }).await;
        assert_eq!(in_a_task.ok().flatten(), None, "a task is nobody's");
        Ok((self.begun_in, now()))
    }
}

/// Work without state; a bad piece of it panics.
#[skybox::task]
pub async fn work(good: bool) -> Result<u32> {
    assert!(good, "a bad piece of work");
    Ok(std::process::id())
}
