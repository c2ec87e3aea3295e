//! Listeners of the program's own.

use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::control::ControlError;

/// The first descriptor that systemd hands over.
const LISTEN_FDS_START: RawFd = 3;

/// Binds a listener, or takes the one of that name that was handed over as `LISTEN_FDS`.
///
/// # Errors
/// [`ControlError::Bind`], with the address.
pub fn bind(name: &str, address: &str) -> Result<TcpListener, ControlError> {
    let failed = |source| ControlError::Bind { name: name.to_owned(), address: address.to_owned(), source };
    if let Some(listener) = handed_over(name).map_err(failed)? {
        return Ok(listener);
    }
    TcpListener::bind(address).map_err(failed)
}

/// The `LISTEN_FDS` protocol of systemd: descriptors from 3 on, their names in `LISTEN_FDNAMES`.
fn handed_over(name: &str) -> std::io::Result<Option<TcpListener>> {
    let var = |name| std::env::var(name).ok();
    if var("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(None);
    }
    let count: RawFd = var("LISTEN_FDS").and_then(|n| n.parse().ok()).unwrap_or(0);
    let names = var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').take(usize::try_from(count).unwrap_or(0));
    let Some(at) = names.position(|given| given == name) else { return Ok(None) };
    let descriptor = LISTEN_FDS_START + RawFd::try_from(at).unwrap_or(0);
    // SAFETY: systemd gave this process the descriptor to own, and it is duplicated here and never closed, so
    // that whoever asks again gets another one of the same socket.
    let borrowed = unsafe { std::mem::ManuallyDrop::new(OwnedFd::from_raw_fd(descriptor)) };
    Ok(Some(TcpListener::from(borrowed.try_clone()?)))
}
