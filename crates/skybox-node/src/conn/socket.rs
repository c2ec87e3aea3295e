//! The half of a connection that is written to: one face for every transport.

use std::io::{self, IoSlice};

use bytes::{Buf, BytesMut};

/// Whoever has scheduled [`Out`](super::out::Out) is the only one who writes.
#[derive(Debug)]
pub(super) enum WriteHalf {
    Unix(tokio::net::unix::OwnedWriteHalf),
    Tcp(tokio::net::tcp::OwnedWriteHalf),
    #[cfg(feature = "tls")]
    Tls(super::tls::TlsWrite),
}

impl WriteHalf {
    /// Whether both ends are on one machine for certain.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, WriteHalf::Unix(_))
    }

    /// Hands over as many bytes as the kernel takes now: what it returns has left this process. One slice after the
    /// other, and none of them is empty.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel takes nothing: wait until it is [`writable`](WriteHalf::writable), then come again
    /// with the same first slice.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (WriteHalf::Unix(socket), [one]) => socket.try_write(one),
            (WriteHalf::Unix(socket), slices) => socket.try_write_vectored(slices),
            (WriteHalf::Tcp(socket), [one]) => socket.try_write(one),
            (WriteHalf::Tcp(socket), slices) => socket.try_write_vectored(slices),
            // Records are sealed from one slice each, so that the same bytes come first again.
            #[cfg(feature = "tls")]
            (WriteHalf::Tls(tls), slices) => tls.try_write(slices.first().map_or(&[], |first| first)),
        }
    }

    /// Resolves when the kernel may take more.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            WriteHalf::Unix(socket) => socket.writable().await,
            WriteHalf::Tcp(socket) => socket.writable().await,
            #[cfg(feature = "tls")]
            WriteHalf::Tls(tls) => tls.socket().writable().await,
        }
    }

    /// Writes everything: for the handshake, before the connection has a writer.
    pub(super) async fn write_all(&self, bytes: &mut BytesMut) -> io::Result<()> {
        while bytes.has_remaining() {
            match self.try_write(&[IoSlice::new(bytes)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes; what it sends can still be read.
    pub(super) fn end(&self) {
        self.shut(rustix::net::Shutdown::Write);
    }

    /// Ends the connection for both sides at once, whoever still holds it.
    pub(super) fn shut_down(&self) {
        self.shut(rustix::net::Shutdown::Both);
    }

    fn shut(&self, how: rustix::net::Shutdown) {
        let ended = match self {
            WriteHalf::Unix(socket) => rustix::net::shutdown(socket.as_ref(), how),
            WriteHalf::Tcp(socket) => rustix::net::shutdown(socket.as_ref(), how),
            #[cfg(feature = "tls")]
            WriteHalf::Tls(tls) => rustix::net::shutdown(tls.socket().as_ref(), how),
        };
        if let Err(error) = ended {
            tracing::debug!("the peer had ended the connection before: {error}");
        }
    }
}
