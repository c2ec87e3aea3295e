//! Certificates of the peers that speak TLS: one for both sides, made by the server and left in a file for the client.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::{Certificate, Identity};

/// The name in the certificate.
pub(super) const NAME: &str = "localhost";

/// Stands between an address and the file of the certificates.
const SEPARATOR: char = '#';

/// An authority, a certificate and its key, in PEM; the server's file goes with it.
#[derive(Debug)]
pub(super) struct Certificates {
    authority: String,
    certificate: String,
    key: String,
    /// The file, at the one who made it.
    file: Option<PathBuf>,
}

impl Certificates {
    /// Makes them, in a file that this user alone reads.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub(super) fn make() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new([NAME.to_owned()])?;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let key = key.serialize_pem();
        let file = std::env::temp_dir().join(format!("skybox-bench-{}.json", std::process::id()));
        let text = serde_json::to_string(&[&authority, &certificate, &key])?;
        skybox_cloud::certs::write(&file, &text)?;
        Ok(Self { authority, certificate, key, file: Some(file) })
    }

    /// An address that leads to them.
    pub(super) fn with(&self, address: &str) -> String {
        let file = self.file.as_deref().unwrap_or(std::path::Path::new(""));
        format!("{address}{SEPARATOR}{}", file.display())
    }

    /// Those of an address, and the bare address. The file is removed: its server has it in memory.
    ///
    /// # Errors
    /// When the server has left none.
    pub(super) fn of(address: &str) -> Result<(Self, &str)> {
        let (address, file) = address.split_once(SEPARATOR).context("an address with certificates")?;
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        std::fs::remove_file(file).with_context(|| format!("removing {file}"))?;
        let [authority, certificate, key]: [String; 3] = serde_json::from_str(&text)?;
        Ok((Self { authority, certificate, key, file: None }, address))
    }

    /// For tonic.
    pub(super) fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }

    /// For tonic.
    pub(super) fn authority(&self) -> Certificate {
        Certificate::from_pem(&self.authority)
    }

    /// For tokio-rustls, the side that is dialled. TLS 1.3 alone.
    ///
    /// # Errors
    /// When the certificates do not fit together.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor> {
        let clients = WebPkiClientVerifier::builder(Arc::new(self.roots()?)).build()?;
        let (chain, key) = self.own()?;
        let config = ServerConfig::builder_with_protocol_versions(&[&version::TLS13])
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// For tokio-rustls, the side that dials.
    ///
    /// # Errors
    /// When the certificates do not fit together.
    pub(super) fn connector(&self) -> Result<TlsConnector> {
        let (chain, key) = self.own()?;
        let config = ClientConfig::builder_with_protocol_versions(&[&version::TLS13])
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)?;
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes())?)?;
        Ok(roots)
    }

    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes())?;
        Ok((vec![certificate], PrivateKeyDer::from_pem_slice(self.key.as_bytes())?))
    }
}

/// The name in the certificate, as rustls takes it.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("it is a name")
}
