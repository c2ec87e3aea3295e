//! Accounts and notes over HTTP. Sign up, log in, and keep notes that nobody else can read.
//!
//! Start reading at `routes.rs`: it names every path and the function behind it.

mod accounts;
mod config;
mod db;
mod error;
mod limits;
mod notes;
mod password;
mod routes;

use std::future::Future;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::routes::AppState;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match dotenvy::dotenv() {
        Err(error) if !error.not_found() => return Err(error).context("reading .env"),
        _ => {}
    }
    let config = Arc::new(Config::parse());
    start_log()?;
    config.cost.params().context("the password cost is out of range")?;

    let pool = db::open(&config.database).await?;
    db::migrate(&pool).await?;

    let stop = stop_signal().context("installing the signal handlers")?;
    let app = skybox::App::builder().provide(config.clone()).listener("http", config.listen).start().await?;
    let listener = app.listen("http").await?;
    tracing::info!("listening on http://{}", listener.local_addr()?);

    let state = AppState { pool: pool.clone(), config, app };
    axum::serve(listener, routes::router(state)).with_graceful_shutdown(stop).await?;

    pool.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Logs to standard error, at the level that `RUST_LOG` asks for, else at `info`.
fn start_log() -> anyhow::Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(directives) => EnvFilter::try_new(directives).context("reading RUST_LOG")?,
        Err(_) => EnvFilter::new("info"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Resolves at the first ctrl-c or SIGTERM.
///
/// The handlers are in place when this returns, so that a signal which comes before the server's first
/// poll is not lost.
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("stopping: interrupted"),
            _ = terminate.recv() => tracing::info!("stopping: asked to terminate"),
        }
    })
}
