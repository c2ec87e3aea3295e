//! Who is waiting for whom: the calls that a call is made under.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::{CallId, InstanceId};

/// Links in one chain. A longer one is refused: it is a recursion that does not end.
pub const CHAIN_LEN_MAX: usize = 64;

/// How a call holds its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// `&self`: beside others of its kind.
    Shared,
    /// `&mut self`: alone.
    Exclusive,
}

/// One call of a chain: which instance it holds, how, and its own id.
///
/// The id matters: a task that a call left behind still carries its chain, but the call no longer holds anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The instance that is held.
    pub instance: InstanceId,
    /// The call that holds it, counted by the node where the instance is.
    pub call: CallId,
    /// How.
    pub mode: Mode,
}

/// The calls under which code runs, innermost first. Cloning is one reference count.
#[derive(Clone, Default)]
pub struct Chain(Option<Arc<Node>>);

struct Node {
    link: Link,
    len: usize,
    /// Set when the call ends: from then on the link counts no more. Only known where the call runs; a copy
    /// that crossed the wire asks the instance instead.
    ended: AtomicBool,
    outer: Chain,
}

impl Chain {
    /// The chain of code that no call runs.
    pub const fn none() -> Chain {
        Chain(None)
    }

    /// The chain with one more call in front. `None` once it is [`CHAIN_LEN_MAX`] long.
    pub fn push(&self, link: Link) -> Option<Chain> {
        let len = self.len() + 1;
        if len > CHAIN_LEN_MAX {
            return None;
        }
        Some(Chain(Some(Arc::new(Node { link, len, ended: AtomicBool::new(false), outer: self.clone() }))))
    }

    /// Calls in the chain.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |node| node.len)
    }

    /// Whether no call is above.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Marks the innermost call as ended.
    pub fn end(&self) {
        if let Some(node) = &self.0 {
            node.ended.store(true, Ordering::Release);
        }
    }

    /// The links whose calls are not known to have ended, innermost first.
    pub fn links(&self) -> impl Iterator<Item = Link> + '_ {
        let mut at = self;
        std::iter::from_fn(move || {
            let node = at.0.as_deref()?;
            at = &node.outer;
            Some((node.link, node.ended.load(Ordering::Acquire)))
        })
        .filter_map(|(link, ended)| (!ended).then_some(link))
    }

    /// Rebuilds a chain that crossed the wire (innermost first). `None` if it is too long.
    pub fn from_links(links: &[Link]) -> Option<Chain> {
        links.iter().rev().try_fold(Chain::none(), |chain, link| chain.push(*link))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.links()).finish()
    }
}
