//! Which network is whose, and what is left of the dead.
//!
//! A network has a number, which all its names and addresses contain. Who uses it holds a lock on a file with that
//! number. The kernel lets go of the lock when the process ends, however it ends: so whoever gets the lock knows that
//! what stands under the number belongs to nobody. A process id in the names would say less, since ids are used again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::namespace::Namespace;
use crate::run;

/// Where the locks are. They stay when their networks go: a file that is removed could be locked by two.
const LOCKS: &str = "/run/skybox-hosts";

/// The first number that is not given to somebody who does not ask for it.
pub(crate) const ASKED_FOR: u8 = 200;

/// A network of ours, as long as this lives.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u8,
    directory: PathBuf,
    lock: File,
}

impl Slot {
    /// The first that is free, or the one with this number. What dead runs have left is gone afterwards.
    pub(crate) fn take(number: Option<u8>) -> Result<Slot> {
        std::fs::create_dir_all(LOCKS).context(LOCKS)?;
        sweep()?;
        if let Some(number) = number {
            return Slot::try_take(number)?.with_context(|| format!("network {number} is in use"));
        }
        let routes = run::routes()?;
        for number in 0..ASKED_FOR {
            if !routes.contains(&format!("10.213.{number}."))
                && let Some(slot) = Slot::try_take(number)?
            {
                return Ok(slot);
            }
        }
        bail!("all {ASKED_FOR} networks are in use")
    }

    fn try_take(number: u8) -> Result<Option<Slot>> {
        let Some(mut lock) = lock(&lock_path(number))? else { return Ok(None) };
        clear(number, &mut lock)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
        let name = format!("skybox-hosts-{number}-{}", now.as_nanos());
        let directory = std::env::temp_dir().join(name);
        // Written first: what is never made need not be removed.
        lock.write_all(directory.as_os_str().as_encoded_bytes()).context(LOCKS)?;
        std::fs::create_dir(&directory).with_context(|| directory.display().to_string())?;
        Ok(Some(Slot { number, directory, lock }))
    }

    /// With this all names of it begin.
    pub(crate) fn prefix(&self) -> String {
        prefix(self.number)
    }

    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// The link of the machine itself, in the machine's own namespace.
    pub(crate) fn machine_link(&self) -> String {
        machine_link(self.number)
    }

    /// An address in it.
    pub(crate) fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, last)
    }

    /// For files, which go with it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Err(error) = clear(self.number, &mut self.lock) {
            eprintln!("network {} of test hosts is not removed whole: {error:#}", self.number);
        }
    }
}

/// Removes what dead runs have left.
fn sweep() -> Result<()> {
    for entry in std::fs::read_dir(LOCKS).context(LOCKS)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        if let (Some(number), Some(mut lock)) = (number, lock(&path)?) {
            clear(number, &mut lock)?;
        }
    }
    Ok(())
}

/// Removes everything of a network; its lock is ours.
fn clear(number: u8, lock: &mut File) -> Result<()> {
    // It would go with the switch, but a while later: whoever makes it again would find it there.
    let link = machine_link(number);
    if Path::new("/sys/class/net").join(&link).exists() {
        run::ip(&["link", "delete", &link])?;
    }
    for name in Namespace::names(&prefix(number)) {
        Namespace::open(&name)?.remove()?;
    }
    let mut directory = String::new();
    lock.rewind().and_then(|()| lock.read_to_string(&mut directory)).context(LOCKS)?;
    if !directory.is_empty() {
        let removed = std::fs::remove_dir_all(&directory);
        if removed.as_ref().is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound) {
            removed.context(directory)?;
        }
        lock.set_len(0).and_then(|()| lock.rewind()).context(LOCKS)?;
    }
    Ok(())
}

fn lock(path: &Path) -> Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn lock_path(number: u8) -> PathBuf {
    Path::new(LOCKS).join(number.to_string())
}

fn prefix(number: u8) -> String {
    format!("skybox-{number}-")
}

fn machine_link(number: u8) -> String {
    format!("skybox{number}")
}
