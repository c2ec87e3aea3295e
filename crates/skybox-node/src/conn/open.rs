//! The handshake of a new connection, the same whoever opened it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use skybox_core::{Incarnation, NodeName};
use skybox_wire::handshake::{Agreed, Handshake, Hello, Role};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Conn;
use super::dial::DialError;
use super::socket::WriteHalf;
use crate::app::AppInner;

/// How long a peer may take for its handshake. It is a few round trips; a silent one is closed after this.
pub(super) const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// A connection that is about to be made.
pub(super) struct Opening {
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) app: Weak<AppInner>,
    pub(super) ours: Hello,
    /// Which life of which node must be at the other end.
    pub(super) expected: Option<(NodeName, Incarnation)>,
}

/// Ends a handshake that takes too long.
pub(super) async fn in_time<T>(opening: impl Future<Output = Result<T, DialError>>) -> Result<T, DialError> {
    tokio::time::timeout(HANDSHAKE_WAIT, opening).await.map_err(|_| DialError::Silent)?
}

impl Opening {
    /// One of a node, to whoever is there.
    pub(super) fn of(app: &Arc<AppInner>) -> Opening {
        Opening {
            runtime: app.runtime.clone(),
            app: Arc::downgrade(app),
            ours: app.hello(Role::Node),
            expected: None,
        }
    }

    /// Shakes hands and starts the connection's tasks.
    pub(super) async fn shake<R>(self, mut read: R, write: WriteHalf) -> Result<Arc<Conn>, DialError>
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        let mut input = BytesMut::new();
        let agreed = agree(self.ours, self.expected, &mut read, &write, &mut input).await?;
        let conn = Arc::new(Conn::new(self.app, agreed, write));
        conn.start(&self.runtime, read, input);
        Ok(conn)
    }
}

async fn agree<R: AsyncRead + Unpin>(
    ours: Hello,
    expected: Option<(NodeName, Incarnation)>,
    read: &mut R,
    write: &WriteHalf,
    input: &mut BytesMut,
) -> Result<Agreed, DialError> {
    let mut output = BytesMut::new();
    let mut handshake = Handshake::new(ours, &mut output)?;
    if let Some((node, incarnation)) = expected {
        handshake = handshake.expecting(node, incarnation);
    }
    loop {
        write.write_all(&mut output).await.map_err(DialError::Broke)?;
        if read.read_buf(input).await.map_err(DialError::Broke)? == 0 {
            return Err(DialError::Broke(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match handshake.feed(input, &mut output) {
            Ok(None) => {}
            Ok(Some(agreed)) => {
                write.write_all(&mut output).await.map_err(DialError::Broke)?;
                return Ok(agreed);
            }
            Err(error) => {
                // The peer is told why, if it still listens.
                drop(write.write_all(&mut output).await);
                write.end();
                return Err(error.into());
            }
        }
    }
}
