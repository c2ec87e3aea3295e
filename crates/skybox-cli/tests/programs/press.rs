//! A program whose modules start only where a file says so, and end on demand, for the tests of what becomes of them.
//!
//! `printer` needs the file `paper` in the directory where the program runs, a `page` the one that is called as its
//! key. Each attempt is a line of the file `starts`. With the file `no-paper-at-first` there is none on the node that
//! needs it first.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use skybox::{App, Error, Result};
use tokio::sync::Semaphore;

/// Whether this is the node that needed it first, and that is to have none.
fn has_none(file: &str) -> Result<bool> {
    let node = std::env::var("SKYBOX_NODE").unwrap_or_default();
    let none = format!("no-{file}-at-first");
    match std::fs::read_to_string(&none) {
        Ok(first) if first.is_empty() => {
            std::fs::write(none, node)?;
            Ok(true)
        }
        Ok(first) => Ok(first == node),
        Err(_) => Ok(false),
    }
}

/// Notes an attempt, and fails without the file.
fn need(file: &str) -> Result<()> {
    let mut starts = OpenOptions::new().create(true).append(true).open("starts")?;
    // One write: attempts of several nodes do not mix.
    starts.write_all(format!("{file}\n").as_bytes())?;
    if has_none(file)? {
        return Err(Error::msg(format!("the {file} is elsewhere")));
    }
    if Path::new(file).exists() { Ok(()) } else { Err(Error::msg(format!("there is no {file}"))) }
}

/// Where calls wait until somebody lets one on.
struct Gate(Semaphore);

#[skybox::module]
impl Gate {
    fn start(_app: &App) -> Result<Self> {
        Ok(Gate(Semaphore::new(0)))
    }

    pub(crate) async fn pass(&self) -> Result<()> {
        self.0.acquire().await?.forget();
        Ok(())
    }

    /// Holds the thread that it runs on, until there is the file `release`.
    pub(crate) async fn block(&self) -> Result<()> {
        while !Path::new("release").exists() {
            // Sleeps because it is there to hold its thread.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub(crate) async fn open(&self) -> Result<()> {
        self.0.add_permits(1);
        Ok(())
    }
}

struct Printer {
    app: App,
    printed: u32,
}

#[skybox::module(max_restarts = 2, within = "1h")]
impl Printer {
    fn start(app: &App) -> Result<Self> {
        need("paper")?;
        Ok(Printer { app: app.clone(), printed: 0 })
    }

    /// How many sheets this one has printed.
    pub(crate) async fn print(&mut self) -> Result<u32> {
        self.printed += 1;
        Ok(self.printed)
    }

    /// Prints once the gate lets it.
    pub(crate) async fn print_later(&mut self) -> Result<u32> {
        self.app.get::<Gate>().pass().await?;
        self.print().await
    }

    pub(crate) async fn jam(&self) -> Result<()> {
        panic!("a paper jam")
    }

    /// Its last word, in the file `stops`.
    async fn stop(self) -> Result<()> {
        let mut stops = OpenOptions::new().create(true).append(true).open("stops")?;
        Ok(stops.write_all(format!("{} printed\n", self.printed).as_bytes())?)
    }
}

struct Page {
    app: App,
    words: u32,
}

#[skybox::module(keyed, max_restarts = 1, within = "1h", idle = "1h")]
impl Page {
    fn start(app: &App, title: &str) -> Result<Self> {
        need(title)?;
        Ok(Page { app: app.clone(), words: 0 })
    }

    /// How many words it has.
    pub(crate) async fn write(&mut self) -> Result<u32> {
        self.words += 1;
        Ok(self.words)
    }

    /// Writes once the gate lets it.
    pub(crate) async fn write_later(&mut self) -> Result<u32> {
        self.app.get::<Gate>().pass().await?;
        self.write().await
    }

    /// Never ends, and never awaits.
    pub(crate) async fn spin(&self) -> Result<()> {
        loop {
            // Sleeps because it is there to hold its thread.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) async fn tear(&self) -> Result<()> {
        panic!("torn")
    }

    pub(crate) async fn smudge(&self) -> Result<()> {
        Err(Error::msg("smudged"))
    }

    /// Has another page written and smudged so many times.
    pub(crate) async fn copy(&self, to: String, words: u32, smudges: u32) -> Result<()> {
        let other = self.app.at::<Page>(&to);
        for _ in 0..words {
            other.write().await?;
        }
        for _ in 0..smudges {
            drop(other.smudge().await);
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let app = App::builder().start().await?;
    app.draining().await;
    Ok(())
}
