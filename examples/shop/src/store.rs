//! The store: a file that lines are appended to, and a pool of open handles on it.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use skybox::App;
use tokio::sync::Semaphore;

/// The store's version that this program's migrations lead to.
pub(crate) const VERSION: u32 = 2;

/// A few open handles, shared by everything in the process. Provided to the App, never sent anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    path: PathBuf,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<File>>>,
}

impl Pool {
    /// Opens a store, made if it is not there.
    pub(crate) fn open(path: &Path, handles: usize) -> Result<Pool> {
        let pool =
            Pool { path: path.to_owned(), places: Arc::new(Semaphore::new(handles)), idle: Arc::default() };
        let first = pool.handle()?;
        pool.give_back(first);
        Ok(pool)
    }

    /// Appends a line, whole even among those of other processes.
    pub(crate) async fn append(&self, line: &str) -> Result<()> {
        let _place = self.places.acquire().await.map_err(std::io::Error::other)?;
        let mut handle = self.handle()?;
        let written = handle.write_all(format!("{line}\n").as_bytes());
        self.give_back(handle);
        written
    }

    fn handle(&self) -> Result<File> {
        let idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        idle.map_or_else(|| OpenOptions::new().append(true).create(true).open(&self.path), Ok)
    }

    fn give_back(&self, handle: File) {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(handle);
    }
}

/// Brings the store to a version. Run by one node, while the others wait.
pub(crate) async fn migrate(app: App, version: u32) -> anyhow::Result<()> {
    if version > VERSION {
        anyhow::bail!("no migration leads to version {version}; the newest is {VERSION}");
    }
    app.value::<Pool>()?.append(&format!("migrated to version {version}")).await?;
    Ok(())
}
