//! A session on its socket: the half that is read from, and the half that is written to.
//!
//! Both share the session under a short lock: a record is opened or sealed under it, at most 16 KiB or four times
//! that; no system call is made.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::session::{RECORD_BYTES_MAX, Session, Step};
use crate::host::lock;

/// Sealed bytes that are read at once. A record always fits, and what many callers sent together is one read.
const ARRIVED_BYTES: usize = 128 * 1024;
/// Sealed bytes of the largest record, header and all: by the protocol 256 bytes more than its plaintext, and five.
const SEALED_RECORD_BYTES_MAX: usize = RECORD_BYTES_MAX + 256 + 5;
/// Plaintext that is sealed before it is written. Records are sealed one after the other, so that the kernel has the
/// first ones while the next are made.
const SEAL_BYTES: usize = 4 * RECORD_BYTES_MAX;

/// A socket in two halves, before its handshake.
pub(super) fn split(stream: TcpStream, session: Session) -> (TlsRead, TlsWrite) {
    let (read, write) = stream.into_split();
    let session = Arc::new(Mutex::new(session));
    let read = TlsRead {
        socket: read,
        session: session.clone(),
        arrived: vec![0; ARRIVED_BYTES].into_boxed_slice(),
        start: 0,
        end: 0,
        left: BytesMut::new(),
    };
    (read, TlsWrite { socket: write, session, sealed: Mutex::default() })
}

/// The half that is read from: plaintext.
#[derive(Debug)]
pub(crate) struct TlsRead {
    socket: OwnedReadHalf,
    session: Arc<Mutex<Session>>,
    /// What has arrived, sealed: `arrived[start..end]`.
    arrived: Box<[u8]>,
    start: usize,
    end: usize,
    /// Plaintext for which there was no room.
    left: BytesMut,
}

impl TlsRead {
    /// Takes one step with what has arrived.
    pub(super) fn step(
        &mut self,
        mut plain: impl FnMut(&[u8]),
        sealed: &mut BytesMut,
    ) -> Result<Step, rustls::Error> {
        let arrived = &mut self.arrived[self.start..self.end];
        let (used, step) = lock(&self.session).step(arrived, &mut plain, sealed)?;
        self.start += used;
        Ok(step)
    }

    /// Plaintext that arrives before somebody reads: behind the handshake.
    pub(super) fn step_and_keep(&mut self, sealed: &mut BytesMut) -> Result<Step, rustls::Error> {
        let mut left = std::mem::take(&mut self.left);
        let step = self.step(|plain| left.extend_from_slice(plain), sealed);
        self.left = left;
        step
    }

    /// Reads what the socket has. Zero: nothing comes any more.
    pub(super) fn poll_arrive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.arrived.len() - self.start < SEALED_RECORD_BYTES_MAX {
            // The beginning of a record moves to the front, so that its end fits.
            self.arrived.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut room = ReadBuf::new(&mut self.arrived[self.end..]);
        debug_assert!(room.remaining() > 0, "an incomplete record is smaller than the buffer");
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }

    /// Reads until the peer ends its side, or has sent too much, and forgets it.
    pub(super) async fn drain(&mut self, bytes_max: usize) {
        let mut read = 0;
        while read <= bytes_max {
            self.start = self.end;
            match std::future::poll_fn(|cx| self.poll_arrive(cx)).await {
                Ok(0) | Err(_) => return,
                Ok(more) => read += more,
            }
        }
    }

    /// The first bytes that arrived, of a peer that may not speak TLS at all.
    pub(super) fn first(&self) -> &[u8] {
        &self.arrived[..self.end]
    }

    /// What the session has to say to the peer at the end of a handshake that failed.
    pub(super) fn alert(&self) -> BytesMut {
        lock(&self.session).alert()
    }

    /// Looks at what both sides know of each other.
    pub(super) fn with_state<T>(&self, look: impl FnOnce(&rustls::CommonState) -> T) -> T {
        look(lock(&self.session).state())
    }
}

impl AsyncRead for TlsRead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let taken = this.left.len().min(buffer.remaining());
        buffer.put_slice(&this.left.split_to(taken));
        loop {
            // A record is opened whole: there should be room for it, unless the reader has none to begin with.
            while buffer.remaining() >= RECORD_BYTES_MAX || buffer.filled().len() == before {
                let mut left = std::mem::take(&mut this.left);
                let mut said = BytesMut::new();
                let fill = |plain: &[u8]| {
                    let (fits, rest) = plain.split_at(plain.len().min(buffer.remaining()));
                    buffer.put_slice(fits);
                    left.extend_from_slice(rest);
                };
                let step = this.step(fill, &mut said);
                this.left = left;
                match step.map_err(io::Error::other)? {
                    // What the session answers by itself goes out with the next record that is sealed.
                    Step::Again if said.is_empty() => {}
                    Step::Again => return Poll::Ready(Err(io::Error::other("TLS speaks out of turn"))),
                    Step::Open | Step::Blocked => break,
                    Step::Closed => return Poll::Ready(Ok(())),
                }
            }
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if ready!(this.poll_arrive(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The half that is written to.
#[derive(Debug)]
pub(crate) struct TlsWrite {
    socket: OwnedWriteHalf,
    session: Arc<Mutex<Session>>,
    /// Locked by the only one who writes.
    sealed: Mutex<Sealed>,
}

/// Records on their way to the kernel.
#[derive(Debug, Default)]
struct Sealed {
    bytes: BytesMut,
    /// Of each record that the kernel does not have whole: its sealed bytes that are missing, and its plaintext.
    records: VecDeque<(usize, usize)>,
}

impl TlsWrite {
    pub(crate) fn socket(&self) -> &OwnedWriteHalf {
        &self.socket
    }

    /// Tells the peer that nothing more comes.
    pub(super) fn end(&self) {
        // An error says that the connection is over, which is what is wanted.
        let _ = rustix::net::shutdown(self.socket.as_ref(), rustix::net::Shutdown::Write);
    }

    /// Seals and writes; returns how many bytes of plaintext the kernel has in whole records. Nobody can have read
    /// the others: a record that is cut off does not open.
    ///
    /// # Errors
    /// Only where the kernel has taken no whole record: what it has is said first, and why it takes no more at the next
    /// call. `WouldBlock`: come again with the same bytes first. Some of them may be sealed, and must not be a second
    /// time.
    pub(crate) fn try_write(&self, plain: &[u8]) -> io::Result<usize> {
        let mut sealed = lock(&self.sealed);
        if sealed.records.is_empty() {
            let mut session = lock(&self.session);
            for record in plain[..plain.len().min(SEAL_BYTES)].chunks(RECORD_BYTES_MAX) {
                sealed.seal(&mut session, record)?;
            }
        }
        debug_assert!(sealed.records.iter().map(|(_, plain)| plain).sum::<usize>() <= plain.len());
        let mut whole = 0;
        while !sealed.records.is_empty() {
            match self.socket.try_write(&sealed.bytes) {
                Ok(written) if written > 0 => whole += sealed.written(written),
                _ if whole > 0 => break,
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }

    /// Writes what the session itself says, before any plaintext is sealed.
    pub(super) async fn say(&self, mut said: BytesMut) -> io::Result<()> {
        debug_assert!(lock(&self.sealed).records.is_empty());
        while said.has_remaining() {
            match self.socket.try_write(&said) {
                Ok(written) => said.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Sealed {
    fn seal(&mut self, session: &mut Session, plain: &[u8]) -> io::Result<()> {
        let before = self.bytes.len();
        session.seal(plain, &mut self.bytes).map_err(io::Error::other)?;
        self.records.push_back((self.bytes.len() - before, plain.len()));
        Ok(())
    }

    /// The kernel has taken so many bytes; returns the plaintext of the records that it now has whole.
    fn written(&mut self, mut written: usize) -> usize {
        self.bytes.advance(written);
        let mut whole = 0;
        while let Some((missing, plain)) = self.records.front_mut() {
            if *missing > written {
                *missing -= written;
                break;
            }
            written -= *missing;
            whole += *plain;
            self.records.pop_front();
        }
        whole
    }
}
