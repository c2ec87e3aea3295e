//! The first bytes of a connection: who is there, and what both sides can say to each other.
//!
//! Both sides do the same, whoever connected:
//!
//! 1. Each sends its [`Hello`] at once, without waiting.
//! 2. Each reads the other's, and answers with a welcome, or with a refusal that says why and what to do.
//! 3. Who has sent a welcome and read one is done: [`Agreed`]. Everything behind it are frames.
//!
//! [`Handshake`] is that as a state machine: bytes in, bytes out. How long a peer may take is the connection's
//! business; how many bytes it may send is bounded here.

mod agreed;
mod error;
mod hello;

use bytes::{Buf, BufMut, BytesMut};
use skybox_core::{Incarnation, NodeName};

pub use agreed::{Agreed, ModuleMatch};
pub use error::{HandshakeError, RefusalCode};
pub use hello::{Hello, ModuleEntry, Role};

use crate::field::{Fields, put_text};

/// The lowest protocol version this build speaks.
pub const PROTOCOL_MIN: u16 = 1;

/// The highest protocol version this build speaks.
pub const PROTOCOL_MAX: u16 = 1;

/// The first bytes on every connection. The zero byte keeps text protocols from taking them for a line, and the
/// last one is the version of the hello's layout.
pub const MAGIC: [u8; 8] = *b"SKYBOX\0\x01";

/// Bytes of a hello or an answer behind its length field. Enough for ten thousand modules with long names.
pub const HELLO_BYTES_MAX: usize = 1 << 20;

/// Bytes of a refusal's text.
const WHY_BYTES_MAX: usize = 4 * 1024;

/// Bytes of the length field before a hello and an answer.
const LENGTH_BYTES: usize = 4;

const WELCOME: u8 = 1;
const REFUSE: u8 = 2;

/// One side of a handshake.
#[derive(Debug)]
pub struct Handshake {
    ours: Hello,
    expected: Option<(NodeName, Incarnation)>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits for the peer's magic.
    Magic,
    /// Waits for the peer's hello.
    Hello,
    /// The peer's hello was good, and it was told so. Waits for its answer.
    Answer(Box<Agreed>),
    /// Agreed or failed: nothing is read any more.
    Over,
}

impl Handshake {
    /// Begins: appends one's own hello to `out`.
    ///
    /// # Errors
    /// [`HandshakeError::OursTooLong`], [`HandshakeError::OursTwice`] and [`HandshakeError::Ours`]: one's own hello
    /// cannot be sent, and nothing was written.
    pub fn new(ours: Hello, out: &mut BytesMut) -> Result<Handshake, HandshakeError> {
        if let Some(name) = ours.duplicate_module() {
            return Err(HandshakeError::OursTwice { module: name.to_owned() });
        }
        let mut hello = BytesMut::new();
        put_framed(&mut hello, |hello| ours.write(hello))?;
        // What this side could not read itself, the peer cannot either.
        Hello::read(&hello[LENGTH_BYTES..]).map_err(|source| HandshakeError::Ours { source })?;
        out.put_slice(&MAGIC);
        out.put_slice(&hello);
        Ok(Handshake { ours, expected: None, state: State::Magic })
    }

    /// Accepts only this life of this node: who connects to an address that it learned a while ago may find
    /// somebody else there.
    #[must_use]
    pub fn expecting(mut self, node: NodeName, incarnation: Incarnation) -> Handshake {
        self.expected = Some((node, incarnation));
        self
    }

    /// Takes what arrived off `input` and appends what is to be sent to `out`. `None`: more bytes are needed.
    /// What is left in `input` once it is agreed are frames.
    ///
    /// # Errors
    /// [`HandshakeError`]: send what was appended to `out` and close the connection. It tells the peer why, unless
    /// the peer has been welcomed: then what it reads are frames.
    pub fn feed(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Agreed>, HandshakeError> {
        self.feed_judged(input, out, |_| Ok(()))
    }

    /// [`feed`](Handshake::feed), with a say of the connection's own: `judge` sees the peer's hello once, before
    /// the peer is welcomed, and may refuse it: its certificate names another node, for instance.
    ///
    /// # Errors
    /// As for `feed`; [`HandshakeError::Denied`] if `judge` refuses.
    pub fn feed_judged(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        judge: impl FnOnce(&Hello) -> Result<(), String>,
    ) -> Result<Option<Agreed>, HandshakeError> {
        let result = self.step(input, out, judge);
        if let Err(error) = &result {
            let state = std::mem::replace(&mut self.state, State::Over);
            // Who was welcomed takes what follows for frames.
            let is_welcomed = matches!(state, State::Answer(_));
            if let Some(code) = error.refusal().filter(|_| !is_welcomed) {
                put_refusal(out, code, &error.to_string());
            }
        }
        result
    }

    fn step(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        judge: impl FnOnce(&Hello) -> Result<(), String>,
    ) -> Result<Option<Agreed>, HandshakeError> {
        if let State::Magic = self.state {
            if !read_magic(input)? {
                return Ok(None);
            }
            self.state = State::Hello;
        }
        if let State::Hello = self.state {
            let Some(body) = take_framed(input)? else { return Ok(None) };
            let peer = Hello::read(&body).map_err(|source| HandshakeError::Malformed { source })?;
            let agreed = agreed::agree(&self.ours, self.expected.as_ref(), peer)?;
            judge(&agreed.peer).map_err(|why| HandshakeError::Denied { why })?;
            put_framed(out, |out| {
                out.put_u8(WELCOME);
                out.put_u16_le(agreed.protocol);
            })?;
            self.state = State::Answer(Box::new(agreed));
        }
        let State::Answer(agreed) = &self.state else { return Err(HandshakeError::Over) };
        let Some(answer) = take_framed(input)? else { return Ok(None) };
        read_answer(&answer, agreed.protocol)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Answer(agreed) => Ok(Some(*agreed)),
            _ => Err(HandshakeError::Over),
        }
    }
}

/// Takes the magic off the input. `false`: it is not all there, and what is there fits.
fn read_magic(input: &mut BytesMut) -> Result<bool, HandshakeError> {
    let first = &input[..input.len().min(MAGIC.len())];
    if MAGIC.starts_with(first) {
        let complete = first.len() == MAGIC.len();
        if complete {
            input.advance(MAGIC.len());
        }
        return Ok(complete);
    }
    match error::foreign(first) {
        Some(error) => Err(error),
        None if first.len() == MAGIC.len() => {
            Err(HandshakeError::NotSkybox { first: first.escape_ascii().to_string() })
        }
        // Too few bytes to name the protocol; the next ones tell, and there are at most eight.
        None => Ok(false),
    }
}

/// Takes a length and as many bytes off the input, once they are all there.
fn take_framed(input: &mut BytesMut) -> Result<Option<BytesMut>, HandshakeError> {
    let Some(length) = input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let len = u32::from_le_bytes(*length);
    let Some(body_len) = usize::try_from(len).ok().filter(|len| *len <= HELLO_BYTES_MAX) else {
        return Err(HandshakeError::TooLong { len });
    };
    if input.len() < LENGTH_BYTES + body_len {
        return Ok(None);
    }
    input.advance(LENGTH_BYTES);
    Ok(Some(input.split_to(body_len)))
}

/// Appends what `write` writes, behind its length.
fn put_framed(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) -> Result<(), HandshakeError> {
    let start = out.len();
    out.put_u32_le(0);
    write(out);
    let len = out.len() - start - LENGTH_BYTES;
    let length = u32::try_from(len).ok().filter(|_| len <= HELLO_BYTES_MAX);
    let Some(length) = length else { return Err(HandshakeError::OursTooLong { len }) };
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn put_refusal(out: &mut BytesMut, code: RefusalCode, why: &str) {
    let why = &why[..why.floor_char_boundary(WHY_BYTES_MAX)];
    put_framed(out, |out| {
        out.put_u8(REFUSE);
        out.put_u16_le(code.0);
        put_text(out, why);
    })
    .expect("the text was cut far below the bound");
}

fn read_answer(answer: &[u8], agreed: u16) -> Result<(), HandshakeError> {
    let malformed = |source| HandshakeError::Malformed { source };
    let mut fields = Fields::new(answer);
    match fields.u8("answer").map_err(malformed)? {
        WELCOME => {
            let theirs = fields.u16("protocol").map_err(malformed)?;
            if theirs != agreed {
                return Err(HandshakeError::OtherVersion { ours: agreed, theirs });
            }
            Ok(())
        }
        REFUSE => {
            let code = RefusalCode(fields.u16("code").map_err(malformed)?);
            let why = fields.text("why", WHY_BYTES_MAX).map_err(malformed)?.to_owned();
            Err(HandshakeError::Refused { code, why })
        }
        other => Err(malformed(crate::FieldError::BadValue { field: "answer", value: u64::from(other) })),
    }
}
