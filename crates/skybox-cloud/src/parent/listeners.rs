//! Each listener is bound once, by the parent, and its descriptor is handed to every node that serves it: one port,
//! and a node that dies resets only its own connections.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use skybox_core::NodeName;
use skybox_node::control::{ControlError, FromParent, line};
use tokio::sync::{mpsc, oneshot};

use super::state::Event;

/// How long a port may still be held by the nodes of a parent that was killed a moment ago: they end within two
/// seconds.
const BIND_RETRIES: u32 = 40;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// What a node is answered: a listener, none because it does not serve it, or why there is none.
pub(super) type Answer = Result<Option<TcpListener>, String>;

/// How binding ended: a listener and the address that was asked for, or why there is none.
pub(super) type Outcome = Result<(TcpListener, String), String>;

/// The listeners that somebody has asked for.
#[derive(Debug, Default)]
pub(super) struct Listeners(BTreeMap<String, Slot>);

#[derive(Debug)]
enum Slot {
    /// Being bound, for those who wait.
    Binding(Vec<(NodeName, oneshot::Sender<Answer>)>),
    Bound(Bound),
    /// Everybody hears the same reason, until a node is started again.
    Failed(String),
}

#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    /// As it was asked for.
    address: String,
    /// Nobody of the program that runs now has asked for it: it may want another address.
    earlier: bool,
}

impl Listeners {
    /// Answers a node, now or when the listener is bound. Says whether it was refused.
    pub(super) fn ask(
        &mut self,
        name: &str,
        address: String,
        node: NodeName,
        reply: oneshot::Sender<Answer>,
        events: &mpsc::Sender<Event>,
    ) -> bool {
        self.close_if_elsewhere(name, &address);
        let answer = match self.0.get_mut(name) {
            Some(Slot::Bound(bound)) => {
                bound.earlier = false;
                duplicate(name, &bound.listener)
            }
            Some(Slot::Failed(why)) => Err(why.clone()),
            Some(Slot::Binding(waiting)) => {
                waiting.push((node, reply));
                return false;
            }
            None => {
                self.0.insert(name.to_owned(), Slot::Binding(vec![(node, reply)]));
                let (name, events) = (name.to_owned(), events.clone());
                tokio::spawn(async move {
                    let outcome = bind(&name, &address).await.map(|listener| (listener, address));
                    // The parent has ended meanwhile.
                    drop(events.send(Event::Bound { name, outcome }).await);
                });
                return false;
            }
        };
        let refused = answer.is_err();
        // The node died while it asked.
        drop(reply.send(answer));
        refused
    }

    /// Answers those who wait for a listener. Returns the nodes that were refused.
    pub(super) fn bound(&mut self, name: String, outcome: Outcome) -> Vec<NodeName> {
        let slot = match outcome {
            Ok((listener, address)) => Slot::Bound(Bound { listener, address, earlier: false }),
            Err(why) => Slot::Failed(why),
        };
        let mut refused = Vec::new();
        if let Some(Slot::Binding(waiting)) = self.0.remove(&name) {
            for (node, reply) in waiting {
                let answer = match &slot {
                    Slot::Bound(bound) => duplicate(&name, &bound.listener),
                    Slot::Failed(why) => Err(why.clone()),
                    Slot::Binding(_) => continue,
                };
                if answer.is_err() {
                    refused.push(node);
                }
                // The node died while it waited.
                drop(reply.send(answer));
            }
        }
        self.0.insert(name, slot);
        refused
    }

    /// Tries again what failed, when somebody asks again.
    pub(super) fn forget_failures(&mut self) {
        self.0.retain(|_, slot| !matches!(slot, Slot::Failed(_)));
    }

    /// Another build or configuration takes over: what is bound stays so until somebody asks for it elsewhere.
    pub(super) fn begin_anew(&mut self) {
        self.forget_failures();
        for slot in self.0.values_mut() {
            if let Slot::Bound(bound) = slot {
                bound.earlier = true;
            }
        }
    }

    /// Within one build the first address counts, whoever asks next.
    fn close_if_elsewhere(&mut self, name: &str, address: &str) {
        if let Some(Slot::Bound(bound)) = self.0.get(name)
            && bound.earlier
            && bound.address != address
        {
            self.0.remove(name);
        }
    }

    /// Where they are bound.
    pub(super) fn addresses(&self) -> BTreeMap<String, SocketAddr> {
        let bound = self.0.iter().filter_map(|(name, slot)| match slot {
            Slot::Bound(bound) => Some((name.clone(), bound.listener.local_addr().ok()?)),
            _ => None,
        });
        bound.collect()
    }
}

fn duplicate(name: &str, listener: &TcpListener) -> Answer {
    let twin = listener.try_clone();
    twin.map(Some).map_err(|error| format!("the listener `{name}` cannot be handed over: {error}"))
}

async fn bind(name: &str, address: &str) -> Result<TcpListener, String> {
    let mut tries = 1;
    loop {
        match skybox_node::bind_listener(name, address) {
            Ok(listener) => return Ok(listener),
            Err(error) if tries < BIND_RETRIES && is_in_use(&error) => {
                tries += 1;
                tokio::time::sleep(BIND_PAUSE).await;
            }
            Err(error) => return Err(skybox_core::TextChain::of(&error).joined()),
        }
    }
}

fn is_in_use(error: &ControlError) -> bool {
    matches!(error, ControlError::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
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
