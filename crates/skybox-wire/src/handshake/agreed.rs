//! What follows from two hellos.

use std::collections::BTreeMap;

use skybox_core::{Incarnation, NodeName};

use super::{HandshakeError, Hello, ModuleEntry, Role};
use crate::frame::ModuleNumber;

/// What both sides know of each other once the handshake is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The protocol version of the frames that follow: the highest that both speak.
    pub protocol: u16,
    /// What the peer says of itself.
    pub peer: Hello,
    /// For each of this side's modules, the peer's.
    to_peer: Vec<ModuleMatch>,
    /// For each of the peer's modules, this side's, whatever its interface.
    from_peer: Vec<Option<ModuleNumber>>,
}

/// What the peer has of one of this side's modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleMatch {
    /// It knows it with the same interface: this is its number for call frames.
    Same(ModuleNumber),
    /// It knows one of that name, with another interface: calls to it are a mismatch.
    OtherInterface,
    /// It does not know it.
    Absent,
}

impl Agreed {
    /// What the peer has of this side's module. [`ModuleMatch::Absent`] for a number this side did not send.
    pub fn to_peer(&self, ours: ModuleNumber) -> ModuleMatch {
        self.to_peer.get(usize::from(ours.0)).copied().unwrap_or(ModuleMatch::Absent)
    }

    /// This side's module of the same name as the peer's: for the `caller` of a call frame. The interfaces may
    /// differ. `None` if this side does not know it, or the peer did not list it.
    pub fn from_peer(&self, theirs: ModuleNumber) -> Option<ModuleNumber> {
        self.from_peer.get(usize::from(theirs.0)).copied().flatten()
    }

    /// The name of the peer's module, if it listed it.
    pub fn peer_module(&self, theirs: ModuleNumber) -> Option<&str> {
        self.peer.modules.get(usize::from(theirs.0)).map(|module| module.name.as_str())
    }
}

/// Judges the peer's hello against one's own, and against who was expected.
pub(super) fn agree(
    ours: &Hello,
    expected: Option<&(NodeName, Incarnation)>,
    peer: Hello,
) -> Result<Agreed, HandshakeError> {
    if let Some(name) = peer.duplicate_module() {
        return Err(HandshakeError::Twice { module: name.to_owned() });
    }
    if peer.program != ours.program {
        return Err(HandshakeError::OtherProgram { ours: ours.program.clone(), theirs: peer.program });
    }
    let protocol = ours.protocols.1.min(peer.protocols.1);
    if protocol < ours.protocols.0.max(peer.protocols.0) {
        return Err(HandshakeError::NoCommonVersion { ours: ours.protocols, theirs: peer.protocols });
    }
    check_identity(ours, expected, &peer)?;
    let (to_peer, from_peer) = match_modules(&ours.modules, &peer.modules);
    Ok(Agreed { protocol, peer, to_peer, from_peer })
}

/// An operator has no node name: what it calls itself collides with nobody.
fn check_identity(
    ours: &Hello,
    expected: Option<&(NodeName, Incarnation)>,
    peer: &Hello,
) -> Result<(), HandshakeError> {
    if ours.role == Role::Node && peer.role == Role::Node && peer.node == ours.node {
        let node = ours.node.clone();
        return Err(if peer.incarnation == ours.incarnation {
            HandshakeError::Itself { node }
        } else {
            HandshakeError::NameTaken { node }
        });
    }
    match expected {
        Some((node, incarnation)) if (node, *incarnation) != (&peer.node, peer.incarnation) => {
            Err(HandshakeError::NotExpected {
                expected: node.clone(),
                expected_incarnation: *incarnation,
                theirs: peer.node.clone(),
                theirs_incarnation: peer.incarnation,
            })
        }
        _ => Ok(()),
    }
}

fn match_modules(
    ours: &[ModuleEntry],
    theirs: &[ModuleEntry],
) -> (Vec<ModuleMatch>, Vec<Option<ModuleNumber>>) {
    let numbered = |entries| {
        // Both lists have at most u16::MAX entries: one was read under that bound, the other sent under it.
        (0..=u16::MAX).map(ModuleNumber).zip::<std::slice::Iter<'_, ModuleEntry>>(entries)
    };
    let by_name: BTreeMap<&str, (ModuleNumber, u64)> = numbered(theirs.iter())
        .map(|(number, entry)| (entry.name.as_str(), (number, entry.digest)))
        .collect();
    let mut from_peer = vec![None; theirs.len()];
    let to_peer = numbered(ours.iter())
        .map(|(our_number, entry)| match by_name.get(entry.name.as_str()) {
            None => ModuleMatch::Absent,
            Some((their_number, digest)) => {
                from_peer[usize::from(their_number.0)] = Some(our_number);
                if *digest == entry.digest {
                    ModuleMatch::Same(*their_number)
                } else {
                    ModuleMatch::OtherInterface
                }
            }
        })
        .collect();
    (to_peer, from_peer)
}
