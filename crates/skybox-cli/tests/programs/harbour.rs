//! A program of a cloud, for `tests/programs/clouds.rs`: it finds its other nodes through etcd.

use skybox::{App, Error, Result};

/// One, wherever there is room.
struct Pilot {
    node: String,
}

#[skybox::module]
impl Pilot {
    async fn start(app: &App) -> Result<Pilot> {
        // A test says what is to come of it.
        let wanted = std::env::var("HARBOUR_PILOT").unwrap_or_default();
        if wanted == "fail" {
            return Err(Error::msg("the pilot is not well"));
        }
        if let Some(gate) = wanted.strip_prefix("wait-for:") {
            while !std::path::Path::new(gate).exists() {
                // Sleeps because a file tells nobody that it is there.
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
        Ok(Pilot { node: app.node().to_string() })
    }

    /// Where that is.
    pub(crate) async fn place(&self) -> Result<String> {
        Ok(self.node.clone())
    }
}

/// One for each ship.
struct Berth {
    node: String,
    ropes: u64,
}

#[skybox::module(keyed)]
impl Berth {
    async fn start(app: &App, _ship: &str) -> Result<Berth> {
        Ok(Berth { node: app.node().to_string(), ropes: 0 })
    }

    /// How many there are now, and where.
    pub(crate) async fn moor(&mut self, ropes: u64) -> Result<(u64, String)> {
        self.ropes += ropes;
        Ok((self.ropes, self.node.clone()))
    }
}

/// On every node.
#[skybox::task(replicas = "per-node")]
async fn tide(hours: u64) -> Result<String> {
    let app = App::current().expect("a task runs in one");
    Ok(format!("{hours} h, says {}", app.get::<Pilot>().place().await?))
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let app = App::builder().start().await?;
    app.draining().await;
    Ok(())
}
