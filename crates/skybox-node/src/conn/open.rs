//! The handshake of a new connection, the same whoever opened it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use skybox_core::{Incarnation, NodeName};
use skybox_wire::handshake::{Agreed, Handshake, Hello, Role};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::dial::DialError;
use super::proof::Proof;
use super::socket::WriteHalf;
use super::{Conn, Kin};
use crate::app::AppInner;

/// How long a peer may take for its handshake. It is a few round trips; a silent one is closed after this.
pub(super) const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// A connection that is about to be made.
pub(super) struct Opening {
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) app: Weak<AppInner>,
    pub(super) ours: Hello,
    /// Which node must be at the other end, and in which life if that is known.
    pub(super) expected: Option<(NodeName, Option<Incarnation>)>,
    /// Whether a cell is at one of its ends.
    pub(super) kin: Kin,
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
            kin: Kin::Peer,
        }
    }

    /// Shakes hands inside TLS.
    #[cfg(feature = "tls")]
    pub(super) async fn shake_known(self, known: super::tls::Known) -> Result<Arc<Conn>, DialError> {
        let super::tls::Known { read, write, peer } = known;
        let shaken = self.shake(Proof::Certificate(peer), read, WriteHalf::Tls(write)).await;
        // A side that dialled is done with TLS before the other one has judged its certificate: it hears of that here.
        shaken.map_err(|error| match error {
            DialError::Broke(broke) => match super::tls::TlsError::inside(&broke) {
                Some(why) => DialError::Tls(why),
                None => DialError::Broke(broke),
            },
            other => other,
        })
    }

    /// Shakes hands and starts the connection's tasks. `proof`: what the transport says of the peer.
    pub(super) async fn shake<R>(
        self,
        proof: Proof,
        mut read: R,
        write: WriteHalf,
    ) -> Result<Arc<Conn>, DialError>
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        let mut input = BytesMut::new();
        let agreed = agree(self.ours, self.expected, &proof, &mut read, &write, &mut input).await?;
        // The links of a node's cells are the cells' to end.
        let app = self.app.upgrade().filter(|_| !matches!(self.kin, Kin::Cell(_)));
        let conn = Arc::new(Conn::new(self.app, self.kin, agreed, &proof, write));
        if let Some(app) = app {
            app.links.opened(&conn);
        }
        conn.start(&self.runtime, read, input);
        Ok(conn)
    }
}

/// Shakes hands, and says who is there. What stands behind the handshake is left in `input`.
pub(super) async fn agree<R: AsyncRead + Unpin>(
    ours: Hello,
    expected: Option<(NodeName, Option<Incarnation>)>,
    proof: &Proof,
    read: &mut R,
    write: &WriteHalf,
    input: &mut BytesMut,
) -> Result<Agreed, DialError> {
    let mut output = BytesMut::new();
    let mut handshake = Handshake::new(ours, &mut output)?;
    let mut name = None;
    match expected {
        Some((node, Some(incarnation))) => handshake = handshake.expecting(node, incarnation),
        Some((node, None)) => name = Some(node),
        None => {}
    }
    let judge = |hello: &Hello| {
        proof.judge(hello)?;
        match &name {
            Some(name) if *name != hello.node => {
                Err(format!("{} answers where {name} was expected: check `[node.peers]`", hello.node))
            }
            _ => Ok(()),
        }
    };
    loop {
        write.write_all(&mut output).await.map_err(DialError::Broke)?;
        if read.read_buf(input).await.map_err(DialError::Broke)? == 0 {
            return Err(DialError::Closed);
        }
        match handshake.feed_judged(input, &mut output, judge) {
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
