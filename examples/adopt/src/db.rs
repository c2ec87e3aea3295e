//! The database file: how it is opened, and how its schema is brought up to date.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// SQLite has one writer at a time, and readers are short: more connections would only wait.
const CONNECTIONS_MAX: u32 = 4;

/// How long a statement waits for another writer. Writes here take a millisecond or two, so one that waits
/// this long has met a process that hangs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const SQLITE_BUSY: u32 = 5;

/// Pause before a new file is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);

/// Opens the database, and creates its file when it is missing.
pub(crate) async fn open(url: &str) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::from_str(url)
        .with_context(|| format!("{url} names no database"))?
        .create_if_missing(true)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // With a write-ahead log readers and the writer do not wait for each other, in other processes
        // neither; a commit is then safe against a crash of the program without a sync of its own.
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX);
        match pool.connect_with(options.clone()).await {
            // Of two processes that turn a new file to write-ahead logging at once, SQLite refuses one
            // without waiting.
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(REOPEN_PAUSE).await;
            }
            opened => return opened.with_context(|| format!("opening {url}")),
        }
    }
}

/// Whether SQLite gave up because another process holds the lock (`SQLITE_BUSY`, the low byte of its code).
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|cause| cause.code()?.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

/// Brings the schema up to date; several processes may do so at once.
///
/// All migrations run in one transaction that holds the write lock from its start: the process that comes
/// second waits, and then finds nothing left to do.
pub(crate) async fn migrate(pool: &SqlitePool) -> anyhow::Result<()> {
    let mut migration = pool.begin_with("BEGIN IMMEDIATE").await.context("locking the database")?;
    MIGRATIONS.run(&mut *migration).await.context("migrating the database")?;
    migration.commit().await.context("migrating the database")
}
