//! Who is let in: a certificate of one of our authorities, valid now, for a node or an operator of this program.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::identity::{Identity, IdentityError};

/// Judges both sides' certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    program: String,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    /// One that trusts these authorities for that program.
    ///
    /// # Errors
    /// There is no authority.
    pub(super) fn new(
        program: &str,
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Verifier, rustls::server::VerifierBuilderError> {
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        Ok(Verifier { program: program.to_owned(), roots, provider, clients })
    }

    /// Who a certificate is for, whoever issued it.
    pub(super) fn identity(&self, certificate: &CertificateDer<'_>) -> Result<Identity, Error> {
        let certificate = webpki::EndEntityCert::try_from(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        Identity::of_names(certificate.valid_uri_names(), &self.program).map_err(refuse)
    }

    fn check_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }

    /// Judges one's own certificate as the other side will at that time, so that a wrong file is found here.
    pub(super) fn check_own(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Identity, Error> {
        let (end_entity, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let identity = self.identity(end_entity)?;
        self.clients.verify_client_cert(end_entity, intermediates, now)?;
        if let Identity::Node(_) = identity {
            self.check_chain(end_entity, intermediates, now)?;
        }
        Ok(identity)
    }
}

/// The URIs among the names of the first certificate in a PEM text.
///
/// # Errors
/// It holds none, or one that cannot be read.
pub fn uris_in(pem: &[u8]) -> Result<Vec<String>, String> {
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let certificate = webpki::EndEntityCert::try_from(&certificate).map_err(|error| error.to_string())?;
    Ok(certificate.valid_uri_names().map(str::to_owned).collect())
}

fn refuse(why: IdentityError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

/// Who signs is judged alike on both sides; each side's trait wants to hear it for itself.
macro_rules! judge_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            // Nobody offers it: it is not even compiled in.
            Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // A node moves from address to address: its certificate is for its name, which the handshake inside checks.
        _address: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_chain(end_entity, intermediates, now)?;
        self.identity(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    judge_signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Each side has one certificate, so there is nothing to choose by; and a stranger learns no names.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.clients.verify_client_cert(end_entity, intermediates, now)?;
        self.identity(end_entity)?;
        Ok(verified)
    }

    judge_signatures!();
}
