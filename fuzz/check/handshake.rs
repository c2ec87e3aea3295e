//! Bytes as what a peer says first.
//!
//! 1. The outcome, and what is answered, do not depend on where the bytes are cut.
//! 2. What is answered can be read: by an honest peer it is taken for a welcome or for the refusal that it is, and
//!    there is nothing behind it.
//! 3. Whoever was agreed with could say the same once more.
//! 4. After the end nothing is read.

use bytes::BytesMut;
use skybox_core::{Incarnation, NodeName};
use skybox_wire::handshake::{Agreed, HELLO_BYTES_MAX, Handshake, HandshakeError, Hello, ModuleEntry, Role};

use crate::memory;

/// Memory for each byte: a module of nine bytes has an entry in five tables.
const MEMORY_PER_BYTE_MAX: usize = 64;

/// Memory beside that: this side's own hello, its answer, and the text of an error.
const MEMORY_BYTES_MAX: usize = 64 * 1024;

/// A node that knows one of the modules in the golden hello under its own interface, and one under another.
fn hello(node: &str) -> Hello {
    let module = |name: &str, digest| ModuleEntry { name: name.into(), digest };
    Hello {
        protocols: Hello::PROTOCOLS,
        role: Role::Node,
        incarnation: Incarnation(7),
        clock_us: 1,
        program: "shop".into(),
        build: "b2".into(),
        node: NodeName::new(node),
        modules: vec![module("cart", 1), module("stock", 2), module("thumbnail", 20)],
    }
}

type Outcome = Result<Option<Agreed>, HandshakeError>;

/// What one side makes of a peer's bytes.
struct Heard {
    outcome: Outcome,
    /// All that it has sent: its hello, and its answer.
    sent: BytesMut,
    /// What is left behind the handshake.
    left: BytesMut,
}

pub(crate) fn check(bytes: &[u8]) {
    let (heard, taken) = memory::peak(|| hear(hello("node-9"), bytes, bytes.len()));
    let bound = MEMORY_BYTES_MAX + bytes.len() * MEMORY_PER_BYTE_MAX;
    assert!(taken <= bound, "{} bytes took {taken}, and {bound} is the bound", bytes.len());

    let cut = hear(hello("node-9"), bytes, 1);
    assert_eq!((&heard.outcome, &heard.sent), (&cut.outcome, &cut.sent), "it depends on where bytes are cut");
    check_answer(&heard);
    if let Ok(Some(agreed)) = heard.outcome {
        assert_eq!(heard.left, cut.left, "what follows the handshake depends on where bytes are cut");
        check_said_again(agreed);
    }
}

/// Feeds the bytes in pieces of this length until the handshake is over.
fn hear(ours: Hello, bytes: &[u8], piece_len: usize) -> Heard {
    let (mut sent, mut input) = (BytesMut::new(), BytesMut::new());
    let mut side = Handshake::new(ours, &mut sent).expect("a hello that can be sent");
    let mut outcome = Ok(None);
    let mut pieces = bytes.chunks(piece_len.max(1));
    while matches!(outcome, Ok(None)) {
        let Some(piece) = pieces.next() else { break };
        input.extend_from_slice(piece);
        outcome = side.feed(&mut input, &mut sent);
    }
    if !matches!(outcome, Ok(None)) {
        let (sent_len, left_len) = (sent.len(), input.len());
        assert_eq!(side.feed(&mut input, &mut sent), Err(HandshakeError::Over));
        assert_eq!((sent.len(), input.len()), (sent_len, left_len), "something is read after the end");
    }
    pieces.for_each(|piece| input.extend_from_slice(piece));
    Heard { outcome, sent, left: input }
}

/// An honest peer reads what was sent.
fn check_answer(heard: &Heard) {
    let told = hear(hello("node-8"), &heard.sent, heard.sent.len());
    match (&heard.outcome, &told.outcome) {
        (Ok(Some(_)), Ok(Some(_))) | (Ok(None) | Err(_), Ok(_)) => {}
        (Err(error), Err(HandshakeError::Refused { why, .. })) => {
            assert!(error.to_string().starts_with(why.as_str()), "{error} was told as {why}");
        }
        (ours, theirs) => panic!("{ours:?} was told in a way that is understood as {theirs:?}"),
    }
    if told.outcome.is_ok() {
        assert_eq!(&told.left[..], b"", "there is something behind the answer to {:?}", heard.outcome);
    }
}

/// The peer's hello, written again with the answer that this side gave, leads to the same.
fn check_said_again(agreed: Agreed) {
    let mut said = BytesMut::new();
    if let Err(error) = Handshake::new(agreed.peer.clone(), &mut said) {
        panic!("{:?} was agreed with and cannot be sent: {error}", agreed.peer);
    }
    assert!(said.len() <= HELLO_BYTES_MAX + 12);
    said.extend_from_slice(&[3, 0, 0, 0, 1]);
    said.extend_from_slice(&agreed.protocol.to_le_bytes());
    let again = hear(hello("node-9"), &said, said.len());
    assert_eq!(again.outcome, Ok(Some(agreed)));
}
