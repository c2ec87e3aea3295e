//! A program whose modules wait for each other, for the test that has `skybox ps` show it.

use skybox::{App, Result};
use tokio::sync::Barrier;

/// Where both meet, so that each holds itself before it asks the other one.
struct Table(Barrier);

#[skybox::module]
impl Table {
    fn start(_app: &App) -> Result<Self> {
        Ok(Table(Barrier::new(2)))
    }

    pub(crate) async fn sit(&self) -> Result<()> {
        self.0.wait().await;
        Ok(())
    }
}

struct Ann(App);

#[skybox::module]
impl Ann {
    fn start(app: &App) -> Result<Self> {
        Ok(Ann(app.clone()))
    }

    pub(crate) async fn quarrel(&mut self) -> Result<()> {
        self.0.get::<Table>().sit().await?;
        self.0.at::<Bob>("bob").give_in().await
    }

    pub(crate) async fn give_in(&mut self) -> Result<()> {
        Ok(())
    }
}

struct Bob(App);

#[skybox::module(keyed)]
impl Bob {
    fn start(app: &App, _name: &str) -> Result<Self> {
        Ok(Bob(app.clone()))
    }

    pub(crate) async fn quarrel(&mut self) -> Result<()> {
        self.0.get::<Table>().sit().await?;
        self.0.get::<Ann>().give_in().await
    }

    pub(crate) async fn give_in(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let app = App::builder().start().await?;
    app.draining().await;
    Ok(())
}
