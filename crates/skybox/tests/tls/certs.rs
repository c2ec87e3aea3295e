//! Certificates for a test, in a directory that goes with it, and somebody who knocks with any of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use skybox::TlsFiles;
use skybox_cloud::certs::{Authority, Issued};
use skybox_node::Right;
use skybox_node::tls::Identity;

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// A directory of certificates.
pub struct Certs {
    directory: PathBuf,
    pub authority: Authority,
}

impl Certs {
    /// An authority for a program, in a directory of its own.
    pub fn of(program: &str) -> Certs {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("skybox-test-tls-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let authority = Authority::make(program, DAY).expect("an authority is made");
        authority.save(&directory).expect("the directory is new");
        Certs { directory, authority }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Trusts another authority as well.
    pub fn trust(&self, other: &Authority) {
        let both = format!("{}{}", self.authority.certificate(), other.certificate());
        write(&self.path("authority.pem"), &both);
    }

    pub fn node(&self, name: &str) -> TlsFiles {
        self.put(&self.authority.issue(&Identity::Node(name.to_owned()), DAY).expect("it is issued"))
    }

    pub fn operator(&self, right: Right) -> TlsFiles {
        let identity = Identity::Operator { right, name: right.to_string() };
        self.put(&self.authority.issue(&identity, DAY).expect("it is issued"))
    }

    pub fn put(&self, issued: &Issued) -> TlsFiles {
        issued.write(&self.directory).expect("the directory is there")
    }
}

impl Drop for Certs {
    fn drop(&mut self) {
        // What is left behind in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub fn write(path: &Path, text: &str) {
    skybox_cloud::certs::write(path, text).expect("the directory is there");
}

/// A node's settings for these files.
pub fn settings<'s>(files: &'s TlsFiles, more: &[(&'s str, &'s str)]) -> Vec<(&'s str, &'s str)> {
    let path = |path: &'s PathBuf| path.to_str().expect("the temporary directory is text");
    let mut settings = vec![
        ("SKYBOX_TLS__AUTHORITY", path(&files.authority)),
        ("SKYBOX_TLS__CERTIFICATE", path(&files.certificate)),
        ("SKYBOX_TLS__KEY", path(&files.key)),
    ];
    settings.extend_from_slice(more);
    settings
}

/// Connects as somebody who lets in everybody, with this certificate or none; the alert that is the answer. `None`:
/// the connection stands.
pub fn knock(address: &str, with: Option<&Issued>) -> Option<AlertDescription> {
    use std::io::{Read, Write};
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting));
    let mut config = match with {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).expect("they belong together")
        }
    };
    config.alpn_protocols = vec![b"skybox".to_vec()];
    let mut connection =
        ClientConnection::new(Arc::new(config), ServerName::try_from("node").unwrap()).unwrap();
    let mut socket = std::net::TcpStream::connect(address).expect("somebody listens");
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let exchanged = stream.write_all(b"SKYBOX").and_then(|()| stream.read_exact(&mut [0; 8]));
    let error = exchanged.err()?;
    let refused = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match refused {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => panic!("the peer says why: {error:?}"),
    }
}

/// Lets in everybody.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
