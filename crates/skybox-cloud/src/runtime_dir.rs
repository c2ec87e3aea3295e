//! The directory of a running program: its parent's socket and its nodes'.
//!
//! `$XDG_RUNTIME_DIR/skybox/` or `/tmp/skybox-<user>/`, then `<program>.<parent's process>/`; readable by its user
//! alone. What a killed parent left behind is removed by the next one.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The parent's socket in a program's directory.
pub const PARENT_SOCKET: &str = "parent.sock";
/// The socket of the parent's store beside it.
pub const STORE_SOCKET: &str = "store.sock";

/// The directory that holds the directories of all running programs of this user.
pub fn base() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) => PathBuf::from(directory).join("skybox"),
        None => PathBuf::from(format!("/tmp/skybox-{}", rustix::process::geteuid().as_raw())),
    }
}

/// A program's directory, removed when this is dropped.
#[derive(Debug)]
pub struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// Makes a directory for this process as the parent of `program`, and removes those of dead parents.
    ///
    /// # Errors
    /// When it cannot be made, or belongs to somebody else.
    pub fn make(program: &str) -> io::Result<RuntimeDir> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let base = base();
        private(&base)?;
        remove_dead(&base);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let suffix = if count == 0 { String::new() } else { format!("-{count}") };
        let path = base.join(format!("{program}.{}{suffix}", std::process::id()));
        private(&path)?;
        Ok(RuntimeDir(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!("{} was left behind: {error}", self.0.display());
        }
    }
}

/// Makes a directory for this user alone, or checks that it is one.
fn private(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(path)?;
    let user = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != user {
        let why =
            format!("{} is not a directory of user {user}: somebody else has put it there", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Directories of running programs: program name, parent's process, path.
pub fn running() -> Vec<(String, u32, PathBuf)> {
    let entries = fs::read_dir(base()).into_iter().flatten().flatten();
    let mut running: Vec<_> = entries
        .filter_map(|entry| {
            let (program, pid) = parse(&entry.file_name().to_string_lossy())?;
            alive(pid).then(|| (program, pid, entry.path()))
        })
        .collect();
    running.sort();
    running
}

fn parse(name: &str) -> Option<(String, u32)> {
    let (program, pid) = name.rsplit_once('.')?;
    let pid = pid.split('-').next()?.parse().ok()?;
    Some((program.to_owned(), pid))
}

fn alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn remove_dead(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let dead = parse(&entry.file_name().to_string_lossy()).is_some_and(|(_, pid)| !alive(pid));
        if dead && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::debug!("{} could not be removed: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_process_they_belong_to() {
        assert_eq!(parse("shop.v2.4711"), Some(("shop.v2".into(), 4711)));
        assert_eq!(parse("shop.4711-3"), Some(("shop".into(), 4711)));
        assert_eq!(parse("shop"), None);
        assert!(alive(std::process::id()));
    }
}
