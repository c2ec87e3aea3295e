//! Somebody who speaks TLS and is no node: one who knocks, and a server, with any certificate or none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme,
};

use crate::certs::Pair;

/// What nodes call the protocol inside TLS.
pub const SKYBOX: &[&[u8]] = &[b"skybox"];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Connects as somebody who lets in everybody, with this certificate or none; the alert that is the answer. `None`:
/// the connection stands.
pub fn knock(address: &str, with: Option<&Pair>) -> Option<AlertDescription> {
    knock_for(SKYBOX, address, with)
}

/// The same, by somebody who wants another protocol inside.
pub fn knock_for(protocols: &[&[u8]], address: &str, with: Option<&Pair>) -> Option<AlertDescription> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting));
    let mut config = match with {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = pair.ders();
            builder.with_client_auth_cert(chain, key).expect("they belong together")
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("node").expect("a label is a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("its settings are in order");
    let mut socket = TcpStream::connect(address).expect("somebody listens");
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let exchanged = stream.write_all(b"SKYBOX").and_then(|()| stream.read_exact(&mut [0; 8]));
    let error = exchanged.err()?;
    Some(alert_in(&error).unwrap_or_else(|| panic!("the peer says why: {error:?}")))
}

fn alert_in(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// A server that lets in everybody, and answers in its own way whatever it is told. Gone with its test's process.
pub struct Server {
    pub at: String,
    alerts: Receiver<AlertDescription>,
}

impl Server {
    /// One with this certificate, for these protocols inside.
    pub fn start(pair: &Pair, protocols: &[&[u8]]) -> Server {
        let (chain, key) = pair.ders();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3 is there")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("they belong together");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let config = Arc::new(config);
        let (heard, alerts) = channel();
        let at = listen(move |mut socket| {
            let mut connection = ServerConnection::new(config.clone()).expect("its settings are in order");
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            let exchanged = stream
                .read_exact(&mut [0; 6])
                .and_then(|()| stream.write_all(b"220 mail.example ready\r\n"))
                .and_then(|()| stream.read_to_end(&mut Vec::new()));
            if let Some(alert) = exchanged.err().as_ref().and_then(alert_in) {
                // Its test may be over.
                let _ = heard.send(alert);
            }
        });
        Server { at, alerts }
    }

    /// The alert with which somebody refused it.
    pub fn refused_with(&self) -> AlertDescription {
        self.alerts.recv_timeout(crate::node::PATIENCE).expect("whoever refuses says why")
    }
}

/// A server of an older TLS: it ends every handshake with the alert `protocol_version`.
pub fn older_server() -> String {
    listen(|mut socket| {
        let hello = socket.read(&mut [0; 4096]);
        // An alert of TLS 1.2: fatal, and 70. Whoever knocked may be gone.
        let _ = hello.and_then(|_| socket.write_all(&[21, 3, 3, 0, 2, 2, 70]));
    })
}

/// Serves one connection after the other; the address.
fn listen(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let at = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(serve));
    at
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

/// The first word of a client that trusts everybody and has no certificate.
pub fn client_hello() -> Vec<u8> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there");
    let trusting = builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    let mut config = trusting.with_no_client_auth();
    config.alpn_protocols = SKYBOX.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("node").expect("a label is a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("its settings are in order");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("a Vec takes everything");
    hello
}
