//! Certificates from files that others rotate: read whole, judged as the peers will judge them, and noticed when
//! they change.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::identity::Identity;
use super::refusal::{TlsError, TlsFilesError};
use super::verify::Verifier;
use crate::config::TlsFiles;

/// What both sides name as the protocol inside: a TLS server of another kind is told apart before anything is said.
pub(super) const ALPN: &[u8] = b"skybox";

/// Bytes of a file at most: a bundle of a few hundred authorities.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the files say at one moment.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// Who this process is.
    pub(super) identity: Identity,
    pub(super) verifier: Arc<Verifier>,
}

impl Loaded {
    /// Reads and judges the files.
    ///
    /// # Errors
    /// [`TlsFilesError`], with the file and what is wrong with it.
    pub(super) fn read(program: &str, files: &TlsFiles) -> Result<Loaded, TlsFilesError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.authority, "authority's certificate")? {
            roots
                .add(authority)
                .map_err(|error| content(&files.authority, "authority's certificate", error))?;
        }
        let chain = certificates(&files.certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|error| content(&files.key, "private key", error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(program, roots, provider.clone());
        let verifier =
            verifier.map_err(|error| content(&files.authority, "authority's certificate", error))?;
        let refused = |error| TlsFilesError::Refused {
            certificate: files.certificate.clone(),
            source: TlsError::of(error, &[]),
        };
        let identity = verifier.check_own(&chain, UnixTime::now()).map_err(refused)?;
        let verifier = Arc::new(verifier);
        let apart = |source| TlsFilesError::Apart {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        };
        let client =
            client(provider.clone(), verifier.clone(), chain.clone(), key.clone_key()).map_err(apart)?;
        let server = server(provider, verifier.clone(), chain, key).map_err(apart)?;
        Ok(Loaded { client: Arc::new(client), server: Arc::new(server), identity, verifier })
    }
}

/// Judges the files of a node or an operator as its peers would, and says for how long they will be let in, counted from
/// now; at most a hundred years, and as whole hours.
///
/// # Errors
/// [`TlsFilesError`], with the file and what is wrong with it.
pub fn judge_files(program: &str, files: &TlsFiles) -> Result<(Identity, Duration), TlsFilesError> {
    const HOUR: u64 = 3_600;
    const HOURS_MAX: u64 = 100 * 366 * 24;
    let loaded = Loaded::read(program, files)?;
    let chain = certificates(&files.certificate, "certificate")?;
    let now = UnixTime::now().as_secs();
    let lasts = |hours: u64| {
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now + hours * HOUR));
        loaded.verifier.check_own(&chain, then).is_ok()
    };
    // What is let in now is so until some moment, and not afterwards.
    let (mut good, mut bad) = (0, HOURS_MAX);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if lasts(middle) { good = middle } else { bad = middle }
    }
    Ok((loaded.identity, Duration::from_secs(good * HOUR)))
}

fn client(
    provider: Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    // Each connection is judged anew: nobody is let in by a ticket from before their certificate expired.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server(
    provider: Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsFilesError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| content(path, what, error))?;
    if found.is_empty() {
        return Err(content(path, what, "it has no BEGIN CERTIFICATE"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFilesError> {
    use std::io::Read;
    let failed = |source| TlsFilesError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(content(path, "PEM", format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn content(path: &Path, what: &'static str, why: impl ToString) -> TlsFilesError {
    TlsFilesError::Content { path: path.to_owned(), what, why: why.to_string() }
}

/// What the files look like from outside: another stamp, another content. Links are followed, so that a directory
/// that is swapped whole, as Kubernetes does, shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<FileStamp>; 3]);

/// One file, if it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

impl Stamp {
    pub(super) fn of(files: &TlsFiles) -> Stamp {
        let look = |path: &PathBuf| {
            let seen = std::fs::metadata(path).ok()?;
            let modified = (seen.mtime(), seen.mtime_nsec());
            Some(FileStamp { device: seen.dev(), inode: seen.ino(), modified, bytes: seen.size() })
        };
        Stamp([&files.authority, &files.certificate, &files.key].map(look))
    }
}
