//! A shop: items, carts, and a warehouse that packs orders.
//!
//! It is an ordinary `#[tokio::main]` program with arguments, a store, a pool and a migration. `cargo run -p shop`
//! runs it in one process, `skybox run --nodes 3` in the same directory as three, with one port and one migration.

mod carts;
mod catalog;
mod error;
mod store;
mod warehouse;
mod web;

use std::path::PathBuf;

use clap::Parser;
use skybox::App;
use tracing_subscriber::EnvFilter;

use crate::store::Pool;

/// Sells fruit.
#[derive(Debug, Parser)]
struct Options {
    /// The store: a file of lines
    #[arg(long, env = "SHOP_STORE", default_value = "shop.log")]
    store: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Requires a version of the store that no migration leads to
    #[arg(long, default_value_t = store::VERSION)]
    store_version: u32,
    /// Ends without waiting for anybody, as programs do that have no graceful shutdown
    #[arg(long)]
    abrupt: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let pool = Pool::open(&options.store, 4)?;
    let version = options.store_version;

    let app = App::builder()
        .provide(pool)
        .listener("http", &options.listen)
        .once("migrate", move |app| store::migrate(app, version))
        .start()
        .await?;

    let listener = app.listen("http").await?;
    tracing::info!("{} listens on http://{}", app.node(), listener.local_addr()?);
    let serving = axum::serve(listener, web::routes(app.clone()));
    if options.abrupt {
        serving.await?;
    } else {
        serving.with_graceful_shutdown(app.draining()).await?;
    }
    Ok(())
}
