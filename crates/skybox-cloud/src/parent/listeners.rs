//! Each listener is bound once, by the parent, and its descriptor is handed to every node that serves it: one port,
//! and a node that dies resets only its own connections.

use std::collections::HashMap;
use std::io::IoSlice;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use skybox_node::control::{FromParent, line};

/// How long a port may still be held by the nodes of a parent that was killed a moment ago.
const BIND_RETRIES: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// The listeners that are bound.
#[derive(Debug, Default)]
pub(super) struct Listeners(HashMap<String, TcpListener>);

impl Listeners {
    /// The listener of that name, bound if it is not yet.
    pub(super) async fn get(&mut self, name: &str, address: &str) -> Result<TcpListener, String> {
        if !self.0.contains_key(name) {
            let listener = bind(name, address).await?;
            self.0.insert(name.to_owned(), listener);
        }
        self.0[name].try_clone().map_err(|error| format!("the listener `{name}` cannot be handed over: {error}"))
    }
}

async fn bind(name: &str, address: &str) -> Result<TcpListener, String> {
    let mut tries = 0;
    loop {
        match skybox_node::bind_listener(name, address) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let text = skybox_core::TextChain::of(&error).joined();
                tries += 1;
                if tries >= BIND_RETRIES || !text.contains("in use") {
                    return Err(text);
                }
                tokio::time::sleep(BIND_PAUSE).await;
            }
        }
    }
}

/// Sends a listener's descriptor beside the line that announces it.
pub(super) fn hand_over(stream: &UnixStream, listener: &TcpListener) -> std::io::Result<()> {
    let descriptors: [BorrowedFd<'_>; 1] = [listener.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the buffer is made for one descriptor");
    let text = line(&FromParent::Listener);
    // A fresh socket's buffer takes one short line whole.
    sendmsg(stream, &[IoSlice::new(&text)], &mut ancillary, SendFlags::empty())?;
    Ok(())
}
