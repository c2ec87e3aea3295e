//! What can be set from outside: by option, by environment variable, or in a `.env` file.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

use crate::password::Cost;

/// Accounts and notes over HTTP.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Config {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "ADOPT_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// The database; its file is created when missing.
    #[arg(long, env = "DATABASE_URL", default_value = "sqlite://adopt.db")]
    pub(crate) database: String,

    /// Wrong passwords a user may send in one window before the account is locked.
    #[arg(long, env = "ADOPT_LOGIN_ATTEMPTS_MAX", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) login_attempts_max: u32,

    /// Length of that window, in seconds, from its first attempt on; an hour at most.
    #[arg(long, env = "ADOPT_LOGIN_WINDOW_SECS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(..=3600))]
    login_window_secs: u32,

    /// How long a session lasts, in seconds.
    #[arg(long, env = "ADOPT_SESSION_SECS", default_value_t = 30 * 24 * 60 * 60)]
    pub(crate) session_secs: u32,

    #[command(flatten)]
    pub(crate) cost: Cost,
}

impl Config {
    pub(crate) fn login_window(&self) -> Duration {
        Duration::from_secs(self.login_window_secs.into())
    }
}
