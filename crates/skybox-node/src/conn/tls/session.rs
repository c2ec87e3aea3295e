//! A TLS session without its socket: bytes in, bytes out.

use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error};

/// Bytes of plaintext in one record at most, by the protocol.
pub(super) const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a sealed record has besides: a header of five bytes, the type, the tag. Generous, since a change of keys may
/// go before it; where it is not enough, the session says how much is.
const RECORD_EXTRA_BYTES: usize = 128;

/// One side.
pub(super) enum Session {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is more to do with what has arrived.
    Again,
    /// The handshake needs more from the peer.
    Blocked,
    /// Everything that has arrived is taken, and plaintext may be sent.
    Open,
    /// The peer sends nothing any more.
    Closed,
}

impl Session {
    /// Takes a step with what has arrived: gives plaintext to `plain`, at most one record's, appends what must be sent
    /// to `sealed`, and says how many bytes of `arrived` are used up.
    ///
    /// # Errors
    /// The peer breaks the protocol, or is refused: [`Session::alert`] tells it so.
    pub(super) fn step(
        &mut self,
        arrived: &mut [u8],
        plain: impl FnMut(&[u8]),
        sealed: &mut BytesMut,
    ) -> Result<(usize, Step), Error> {
        match self {
            Session::Client(client) => take(client.process_tls_records(arrived), plain, sealed),
            Session::Server(server) => take(server.process_tls_records(arrived), plain, sealed),
        }
    }

    /// Appends `plain` as sealed records.
    ///
    /// # Errors
    /// The session is not open for writing.
    pub(super) fn seal(&mut self, plain: &[u8], sealed: &mut BytesMut) -> Result<(), Error> {
        loop {
            let done = match self {
                Session::Client(client) => seal(client.process_tls_records(&mut []), plain, sealed)?,
                Session::Server(server) => seal(server.process_tls_records(&mut []), plain, sealed)?,
            };
            if done {
                return Ok(());
            }
        }
    }

    /// What tells the peer why a step failed.
    pub(super) fn alert(&mut self) -> BytesMut {
        let mut sealed = BytesMut::new();
        // No step further: after an error, rustls must not be asked to look at what has arrived.
        while self.state().wants_write() {
            if self.step(&mut [], |_| (), &mut sealed).is_err() {
                break;
            }
        }
        sealed
    }

    /// What both sides know of each other.
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Session::Client(client) => client,
            Session::Server(server) => server,
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Session::Client(_) => "Session(client)",
            Session::Server(_) => "Session(server)",
        })
    }
}

fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    mut plain: impl FnMut(&[u8]),
    sealed: &mut BytesMut,
) -> Result<(usize, Step), Error> {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                plain(record.payload);
            }
            Step::Again
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(sealed, 0, |room| data.encode(room).map_err(too_small))?;
            Step::Again
        }
        // It stands in `sealed`, which is the caller's to send.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Step::Again
        }
        ConnectionState::BlockedHandshake => Step::Blocked,
        ConnectionState::WriteTraffic(_) => Step::Open,
        ConnectionState::PeerClosed | ConnectionState::Closed => Step::Closed,
        other => return Err(Error::General(format!("TLS is in a state that was not asked for: {other:?}"))),
    };
    Ok((discard, step))
}

/// Seals `plain` if the session can at this step; `false`: something of its own goes before it.
fn seal<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &[u8],
    sealed: &mut BytesMut,
) -> Result<bool, Error> {
    match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => {
            let records = plain.len().div_ceil(RECORD_BYTES_MAX);
            let guess = plain.len() + records * RECORD_EXTRA_BYTES;
            append(sealed, guess, |room| {
                traffic.encrypt(plain, room).map_err(|error| match error {
                    EncryptError::InsufficientSize(size) => TooSmall::Needs(size.required_size),
                    EncryptError::EncryptExhausted => TooSmall::Never,
                })
            })?;
            Ok(true)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(sealed, 0, |room| data.encode(room).map_err(too_small))?;
            Ok(false)
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(false)
        }
        // The reader sees the end of the socket as well.
        ConnectionState::PeerClosed => Ok(false),
        _ => Err(Error::HandshakeNotComplete),
    }
}

/// Appends what `write` writes into the room it is given, and gives it more if it says that it needs more.
fn append(
    sealed: &mut BytesMut,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, TooSmall>,
) -> Result<(), Error> {
    let start = sealed.len();
    let mut room = guess;
    loop {
        sealed.resize(start + room, 0);
        match write(&mut sealed[start..]) {
            Ok(written) => {
                sealed.truncate(start + written);
                return Ok(());
            }
            Err(TooSmall::Needs(needed)) if needed > room => room = needed,
            Err(_) => {
                sealed.truncate(start);
                return Err(Error::EncryptError);
            }
        }
    }
}

enum TooSmall {
    Needs(usize),
    Never,
}

fn too_small(error: EncodeError) -> TooSmall {
    match error {
        EncodeError::InsufficientSize(size) => TooSmall::Needs(size.required_size),
        EncodeError::AlreadyEncoded => TooSmall::Never,
    }
}
