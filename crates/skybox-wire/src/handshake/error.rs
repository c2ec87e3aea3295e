//! Why two sides do not come together, and what to do about it.

use std::fmt;

use skybox_core::{Incarnation, NodeName};

use crate::FieldError;

use super::{HELLO_BYTES_MAX, MAGIC};

/// The handshake failed: the connection cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer speaks HTTP, asking or answering.
    #[error(
        "the peer speaks HTTP: this is the address where nodes meet; the program's own HTTP port is another one"
    )]
    Http,
    /// The peer speaks TLS, where this side speaks plainly.
    #[error("the peer speaks TLS and this side does not: give both certificates, or neither")]
    Tls,
    /// The peer speaks something else.
    #[error("the peer does not speak Skybox; its first bytes are `{first}`: check the address")]
    NotSkybox {
        /// Its first bytes, escaped.
        first: String,
    },
    /// A hello or an answer is above the bound. Nothing was reserved for it.
    #[error("a hello of {len} bytes, above the bound of {}", HELLO_BYTES_MAX)]
    TooLong {
        /// What the length field says.
        len: u32,
    },
    /// One's own hello is above the bound: fewer modules, or shorter names.
    #[error(
        "this node's hello has {len} bytes, above the bound of {}: it has too many modules",
        HELLO_BYTES_MAX
    )]
    OursTooLong {
        /// Its length.
        len: usize,
    },
    /// Two of one's own modules have the same name.
    #[error("two modules are named `{module}`: rename one")]
    OursTwice {
        /// The name.
        module: String,
    },
    /// One's own hello breaks a bound of the specification: a name is too long, or there are too many modules.
    #[error("this node's hello cannot be sent")]
    Ours {
        /// Which field, and what is wrong with it.
        #[source]
        source: FieldError,
    },
    /// A hello or an answer that breaks the specification.
    #[error("the peer's hello is malformed")]
    Malformed {
        /// Which field, and what is wrong with it.
        #[source]
        source: FieldError,
    },
    /// Two of the peer's modules have the same name.
    #[error("the peer names module `{module}` twice")]
    Twice {
        /// The name.
        module: String,
    },
    /// The peer runs another program.
    #[error(
        "the peer runs program `{theirs}` and this node `{ours}`: check the address, or give each program its own store"
    )]
    OtherProgram {
        /// This side's program.
        ours: String,
        /// The peer's.
        theirs: String,
    },
    /// There is no protocol version that both speak.
    #[error(
        "the peer speaks protocol versions {} to {}, this node {} to {}: deploy a version in between first",
        .theirs.0, .theirs.1, .ours.0, .ours.1
    )]
    NoCommonVersion {
        /// This side's lowest and highest.
        ours: (u16, u16),
        /// The peer's.
        theirs: (u16, u16),
    },
    /// The peer's welcome names another version than the one that follows from both hellos.
    #[error("the peer chose protocol version {theirs}, where {ours} follows from both hellos")]
    OtherVersion {
        /// What follows from both hellos.
        ours: u16,
        /// What the peer chose.
        theirs: u16,
    },
    /// Both ends are this very node.
    #[error("node {node} is connected to itself: check the addresses of its peers")]
    Itself {
        /// This node.
        node: NodeName,
    },
    /// Two living processes have the same node name.
    #[error(
        "the peer is also named {node}: give each node its own name, or end the other process if it is an earlier life of this node"
    )]
    NameTaken {
        /// The name.
        node: NodeName,
    },
    /// Somebody else lives at that address now.
    #[error(
        "{theirs} (incarnation {:x}) answers where {expected} (incarnation {:x}) was expected: that node has moved or restarted; look its address up again",
        .theirs_incarnation.0, .expected_incarnation.0
    )]
    NotExpected {
        /// Who was expected.
        expected: NodeName,
        /// In which life.
        expected_incarnation: Incarnation,
        /// Who answered.
        theirs: NodeName,
        /// In which life.
        theirs_incarnation: Incarnation,
    },
    /// This side's connection refuses the peer.
    #[error("this node refuses the peer: {why}")]
    Denied {
        /// Its reason.
        why: String,
    },
    /// The peer refuses this side.
    #[error("the peer refuses this node ({code}): {why}")]
    Refused {
        /// The reason, for programs.
        code: RefusalCode,
        /// The reason, for people.
        why: String,
    },
    /// The handshake is over; what arrives are frames.
    #[error("the handshake is over")]
    Over,
}

impl HandshakeError {
    /// What the peer is told. `None`: it would not understand, or said so itself.
    pub(super) fn refusal(&self) -> Option<RefusalCode> {
        use HandshakeError::*;
        match self {
            Http
            | Tls
            | NotSkybox { .. }
            | OursTooLong { .. }
            | OursTwice { .. }
            | Ours { .. }
            | Refused { .. }
            | Over => None,
            TooLong { .. } | Malformed { .. } | Twice { .. } | OtherVersion { .. } => {
                Some(RefusalCode::MALFORMED)
            }
            OtherProgram { .. } => Some(RefusalCode::OTHER_PROGRAM),
            NoCommonVersion { .. } => Some(RefusalCode::NO_COMMON_VERSION),
            Itself { .. } | NameTaken { .. } => Some(RefusalCode::NAME_TAKEN),
            NotExpected { .. } => Some(RefusalCode::NOT_EXPECTED),
            Denied { .. } => Some(RefusalCode::DENIED),
        }
    }
}

/// Why a side refuses the other, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefusalCode(pub u16);

impl RefusalCode {
    /// The hello cannot be read.
    pub const MALFORMED: RefusalCode = RefusalCode(1);
    /// It comes from another program.
    pub const OTHER_PROGRAM: RefusalCode = RefusalCode(2);
    /// There is no protocol version that both speak.
    pub const NO_COMMON_VERSION: RefusalCode = RefusalCode(3);
    /// Its node name is this side's own.
    pub const NAME_TAKEN: RefusalCode = RefusalCode(4);
    /// Another node, or another life of it, was expected.
    pub const NOT_EXPECTED: RefusalCode = RefusalCode(5);
    /// It may not connect.
    pub const DENIED: RefusalCode = RefusalCode(6);
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RefusalCode::MALFORMED => f.write_str("malformed"),
            RefusalCode::OTHER_PROGRAM => f.write_str("other-program"),
            RefusalCode::NO_COMMON_VERSION => f.write_str("no-common-version"),
            RefusalCode::NAME_TAKEN => f.write_str("name-taken"),
            RefusalCode::NOT_EXPECTED => f.write_str("not-expected"),
            RefusalCode::DENIED => f.write_str("denied"),
            RefusalCode(code) => write!(f, "code {code}"),
        }
    }
}

/// The protocol that these first bytes, which are not the magic, belong to, if it is a common mistake.
pub(super) fn foreign(first: &[u8]) -> Option<HandshakeError> {
    debug_assert!(!MAGIC.starts_with(first));
    // The first four letters of HTTP's methods, of the HTTP/2 preface, and of an answer.
    const HTTP: [&[u8; 4]; 11] =
        [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ", b"HTTP"];
    // A TLS record: an alert (what a TLS server answers to a hello) or a handshake, version 3.
    if let [0x15 | 0x16, 0x03, ..] = first {
        return Some(HandshakeError::Tls);
    }
    HTTP.iter().any(|start| first.starts_with(*start)).then_some(HandshakeError::Http)
}
