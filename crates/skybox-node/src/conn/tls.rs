//! TLS between nodes: version 1.3, both sides with a certificate, and Skybox's own handshake inside.
//!
//! Nobody is let in by an address or a host's name: a certificate is for a node or an operator of one program (see
//! `tls/identity.rs`), and the hello inside must say the same. There is no way back to plain TCP: a node with
//! certificates dials nobody without.
//!
//! Certificates are files that others rotate. They are looked at each second; new connections use what is there,
//! those that are open go on. A file that cannot be used changes nothing but the log.
//!
//! The cryptography is ring's: it builds with a C compiler alone, in half the time of aws-lc.

mod files;
mod identity;
mod refusal;
mod session;
mod stream;
mod verify;

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use tokio::net::TcpStream;

pub use files::judge_files;
use files::{ALPN, Loaded, Stamp};
pub use identity::{Identity, IdentityError, is_name};
pub use refusal::{TlsError, TlsFilesError};
use session::{Session, Step};
use stream::TlsRead;
pub(crate) use stream::TlsWrite;
pub use verify::uris_in;

use crate::config::TlsFiles;

/// How often the files are looked at. Three `stat`s each time.
const LOOK: Duration = Duration::from_secs(1);
/// How long a peer that was refused may take to read why, before the connection is closed over its head: closing a
/// socket on bytes that were not read takes back what was written.
const LINGER: Duration = Duration::from_secs(1);
/// What a peer that was refused may still send meanwhile: its hello.
const LINGER_BYTES_MAX: usize = 2 << 20;

/// This process's certificates.
#[derive(Debug)]
pub(crate) struct Tls {
    program: String,
    files: TlsFiles,
    /// What they looked like before they were read first.
    first: Stamp,
    loaded: ArcSwap<Loaded>,
}

/// A connection whose peer is known.
pub(super) struct Known {
    pub(super) read: TlsRead,
    pub(super) write: TlsWrite,
    pub(super) peer: Identity,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsFilesError`]: they cannot be used, and nothing starts.
    pub(crate) fn load(program: &str, files: TlsFiles) -> Result<Tls, TlsFilesError> {
        // Before they are read: what is written meanwhile shows as a change.
        let first = Stamp::of(&files);
        let loaded = Loaded::read(program, &files)?;
        Ok(Tls { program: program.to_owned(), files, first, loaded: ArcSwap::from_pointee(loaded) })
    }

    /// Who this process is.
    pub(crate) fn identity(&self) -> Identity {
        self.loaded.load().identity.clone()
    }

    /// Looks at the files until nobody needs them any more.
    pub(crate) async fn watch(tls: Weak<Tls>) {
        let Some((files, first)) = tls.upgrade().map(|tls| (tls.files.clone(), tls.first.clone())) else {
            return;
        };
        let look = async || {
            let files = files.clone();
            // A disk that hangs must not hold a thread that serves calls.
            tokio::task::spawn_blocking(move || Stamp::of(&files)).await.ok()
        };
        let mut taken = Some(first);
        let mut before = taken.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(tls) = tls.upgrade() else { return };
            let now = look().await;
            // Who writes three files writes them one after the other: they are read once they rest.
            if now != taken && now == before {
                taken = now.clone();
                tls.reload().await;
            }
            before = now;
        }
    }

    async fn reload(&self) {
        let (program, files) = (self.program.clone(), self.files.clone());
        let before = self.identity();
        let read = tokio::task::spawn_blocking(move || Loaded::read(&program, &files)).await;
        match read {
            Ok(Ok(loaded)) if loaded.identity == before => {
                self.loaded.store(Arc::new(loaded));
                tracing::info!("new certificates for {before}: new connections use them");
            }
            Ok(Ok(loaded)) => tracing::error!(
                "the new certificate in {} is for {}, and this process is {before}: the old one stays in use",
                self.files.certificate.display(),
                loaded.identity
            ),
            Ok(Err(error)) => {
                let error = skybox_core::TextChain::of(&error).joined();
                tracing::error!("new certificates cannot be used, the old ones stay in use: {error}");
            }
            Err(error) => tracing::error!("new certificates could not be read: {error}"),
        }
    }

    /// The side that dialled.
    pub(super) async fn connect(&self, stream: TcpStream) -> Result<Known, TlsError> {
        let loaded = self.loaded.load_full();
        // Certificates are for nodes, not for hosts: nothing is sent of this name, and nothing compared with it.
        let name = ServerName::try_from("node").expect("a label is a name");
        let client =
            UnbufferedClientConnection::new(loaded.client.clone(), name).map_err(TlsError::Protocol)?;
        let known = shake(stream, Session::Client(Box::new(client)), &loaded).await?;
        match known.peer {
            Identity::Node(_) => Ok(known),
            Identity::Operator { .. } => Err(TlsError::NotANode),
        }
    }

    /// The side that was dialled.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<Known, TlsError> {
        let loaded = self.loaded.load_full();
        let server = UnbufferedServerConnection::new(loaded.server.clone()).map_err(TlsError::Protocol)?;
        shake(stream, Session::Server(Box::new(server)), &loaded).await
    }
}

async fn shake(stream: TcpStream, session: Session, loaded: &Loaded) -> Result<Known, TlsError> {
    let (mut read, write) = stream::split(stream, session);
    loop {
        let mut said = BytesMut::new();
        let step = match read.step_and_keep(&mut said) {
            Ok(step) => step,
            Err(error) => {
                let error = judge(error, &read);
                refuse(read, &write).await;
                return Err(error);
            }
        };
        write.say(said).await.map_err(TlsError::Broke)?;
        match step {
            Step::Again => {}
            Step::Open => break,
            Step::Closed => return Err(TlsError::Closed),
            Step::Blocked => {
                if poll_fn(|cx| read.poll_arrive(cx)).await.map_err(TlsError::Broke)? == 0 {
                    return Err(TlsError::Closed);
                }
            }
        }
    }
    if !speaks_skybox(&read) {
        return Err(TlsError::NotSkybox);
    }
    let peer = read.with_state(|state| {
        let certificate = state.peer_certificates().and_then(<[_]>::first).ok_or(TlsError::NoCertificate)?;
        loaded.verifier.identity(certificate).map_err(|error| TlsError::of(error, &[]))
    })?;
    Ok(Known { read, write, peer })
}

/// What an error of the handshake means.
fn judge(error: rustls::Error, read: &TlsRead) -> TlsError {
    use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
    match error {
        // Some other server or client: what is wrong is where it was looked for, not whom its certificate is from.
        InvalidCertificate(_) | NoCertificatesPresented if !speaks_skybox(read) => TlsError::NotSkybox,
        error => TlsError::of(error, read.first()),
    }
}

/// Whether both sides have named Skybox as the protocol inside, which they do before they show certificates.
fn speaks_skybox(read: &TlsRead) -> bool {
    read.with_state(|state| state.alpn_protocol() == Some(ALPN))
}

/// Tells the peer why, and leaves it the time to hear it.
async fn refuse(mut read: TlsRead, write: &TlsWrite) {
    let telling = async {
        // It may be gone already.
        if write.say(read.alert()).await.is_ok() {
            write.end();
            read.drain(LINGER_BYTES_MAX).await;
        }
    };
    drop(tokio::time::timeout(LINGER, telling).await);
}
