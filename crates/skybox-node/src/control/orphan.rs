//! The end of a node whose parent is gone, where nothing else ends it.
//!
//! The node's runtime reads the parent's connection, and leaves in order when that breaks off. Code that holds all of
//! its threads keeps it from reading; so a thread of its own asks the kernel whether the parent still has its end.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::net::UnixStream;

/// How long a node may take to leave when its parent is gone. More than what it takes in order.
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// Ends this process if it is still there some time after the parent has hung up.
///
/// # Errors
/// There are no descriptors or threads left.
pub(super) fn ends_in_time(parent: &UnixStream) -> io::Result<()> {
    let parent = parent.as_fd().try_clone_to_owned()?;
    let watch = move || {
        // A hang-up is told of whether it is asked for or not.
        while let Err(error) = poll(&mut [PollFd::new(&parent, PollFlags::empty())], None) {
            if error != rustix::io::Errno::INTR {
                return;
            }
        }
        std::thread::sleep(LEAVE_WAIT);
        // Nothing is logged: whoever holds the threads may hold the output as well.
        std::process::exit(0);
    };
    std::thread::Builder::new().name("skybox-orphan".to_owned()).spawn(watch)?;
    Ok(())
}
