//! Why TLS does not let two sides together, in words that say what to do.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::identity::IdentityError;

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer speaks something else.
    #[error(
        "the peer does not speak TLS (its first bytes are `{first}`), and this side does: give both `[tls]`, and check the address"
    )]
    Plain {
        /// Its first bytes, escaped.
        first: String,
    },
    /// The peer speaks TLS, but is no node.
    #[error("the peer speaks TLS but not Skybox: check the address")]
    NotSkybox,
    /// The peer speaks TLS of another version, or with other algorithms: no node does.
    #[error("the peer speaks TLS, but not version 1.3 as nodes do: check the address")]
    OtherTls,
    /// The peer has no certificate.
    #[error("the peer has no certificate: give it one with `[tls]`; `skybox certs` makes them")]
    NoCertificate,
    /// The peer's certificate is from somebody else's authority.
    #[error(
        "the peer's certificate is from an authority that this side does not trust: issue it from this program's, or add its authority to the file `[tls] authority` names"
    )]
    OtherAuthority,
    /// The peer's certificate is over.
    #[error("the peer's certificate has expired: renew it; running nodes read the new file by themselves")]
    Expired,
    /// The peer's certificate has not begun.
    #[error("the peer's certificate is not valid yet: compare the clocks of both machines")]
    NotYet,
    /// The peer's certificate cannot be used for this.
    #[error(
        "the peer's certificate does not allow this use: a node's needs both server and client authentication, an operator's client authentication"
    )]
    Purpose,
    /// The peer shows the certificate of an authority as its own.
    #[error("the peer's certificate is an authority's own: it needs one of a node or an operator")]
    Authority,
    /// The peer's certificate is not one of this program's.
    #[error("the peer is refused")]
    Identity(#[source] IdentityError),
    /// An operator's certificate, where a node should be.
    #[error("an operator's certificate answers where a node should: check the address")]
    NotANode,
    /// The peer does not accept this side's certificate.
    #[error("the peer refuses this side's certificate: {0}")]
    Refused(&'static str),
    /// Anything else the protocol has to say.
    #[error("TLS failed")]
    Protocol(#[source] Error),
    /// The peer ended the connection.
    #[error(
        "the peer closed the connection during the TLS handshake: its log may say why; if it is no node, check the address"
    )]
    Closed,
    /// The connection broke.
    #[error("the connection broke during the TLS handshake")]
    Broke(#[source] io::Error),
}

impl TlsError {
    /// What a session's error means. `first`: the first bytes that came from the peer.
    pub(super) fn of(error: Error, first: &[u8]) -> TlsError {
        match error {
            Error::NoCertificatesPresented => TlsError::NoCertificate,
            Error::NoApplicationProtocol => TlsError::NotSkybox,
            Error::PeerIncompatible(_) => TlsError::OtherTls,
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => {
                let first = &first[..first.len().min(8)];
                TlsError::Plain { first: first.escape_ascii().to_string() }
            }
            Error::InvalidCertificate(why) => TlsError::of_certificate(why),
            Error::AlertReceived(alert) => TlsError::of_alert(alert),
            other => TlsError::Protocol(other),
        }
    }

    /// What TLS has to say of a read or a write that failed.
    pub(crate) fn inside(broke: &io::Error) -> Option<TlsError> {
        let error = broke.get_ref()?.downcast_ref::<Error>()?;
        Some(TlsError::of(error.clone(), &[]))
    }

    fn of_certificate(why: CertificateError) -> TlsError {
        use CertificateError::*;
        match why {
            Expired | ExpiredContext { .. } => TlsError::Expired,
            NotValidYet | NotValidYetContext { .. } => TlsError::NotYet,
            // An authority of the same name with another key.
            UnknownIssuer | BadSignature => TlsError::OtherAuthority,
            InvalidPurpose | InvalidPurposeContext { .. } => TlsError::Purpose,
            Other(other) => match (other.0.downcast_ref(), other.0.downcast_ref()) {
                (Some(identity), _) => TlsError::Identity(IdentityError::clone(identity)),
                (_, Some(webpki::Error::CaUsedAsEndEntity)) => TlsError::Authority,
                _ => TlsError::Protocol(Error::InvalidCertificate(Other(other))),
            },
            other => TlsError::Protocol(Error::InvalidCertificate(other)),
        }
    }

    /// The peer's log has the particulars: an alert is one byte.
    fn of_alert(alert: AlertDescription) -> TlsError {
        let why = match alert {
            AlertDescription::CertificateRequired => "it was given none; `[tls] certificate` names one",
            AlertDescription::CertificateExpired => {
                "it has expired or is not valid yet; renew it, and compare the clocks"
            }
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "it does not trust its authority; issue both from one, or add this one to the file its `[tls] authority` names"
            }
            AlertDescription::CertificateUnknown => {
                "it is for another program, or for neither a node nor an operator; the peer's log says which"
            }
            AlertDescription::UnsupportedCertificate => {
                "it does not allow this use; a node's needs both server and client authentication"
            }
            AlertDescription::NoApplicationProtocol => return TlsError::NotSkybox,
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
                return TlsError::OtherTls;
            }
            other => return TlsError::Protocol(Error::AlertReceived(other)),
        };
        TlsError::Refused(why)
    }

    /// A name for each cause, so that a flood of one hides no other in the log.
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            TlsError::Plain { .. } => "tls-plain",
            TlsError::NotSkybox | TlsError::OtherTls => "tls-not-skybox",
            TlsError::NoCertificate => "tls-no-certificate",
            TlsError::OtherAuthority => "tls-other-authority",
            TlsError::Expired | TlsError::NotYet => "tls-expired",
            TlsError::Purpose | TlsError::Authority => "tls-purpose",
            TlsError::Identity(_) | TlsError::NotANode => "tls-identity",
            TlsError::Refused(_) => "tls-refused",
            TlsError::Protocol(_) => "tls-protocol",
            TlsError::Closed => "tls-closed",
            TlsError::Broke(_) => "tls-broke",
        }
    }
}

/// Why certificate files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFilesError {
    /// One of them cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of them does not hold what it should.
    #[error("{} holds no usable {what}: {why}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {} does not belong to the certificate in {}: {source}", key.display(), certificate.display())]
    Apart {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What TLS says.
        source: Error,
    },
    /// Others would refuse this certificate.
    #[error("others will refuse the certificate in {}: {}", certificate.display(), own(source))]
    Refused {
        /// Its file.
        certificate: PathBuf,
        /// Why.
        source: TlsError,
    },
}

/// The same causes, said of one's own certificate.
fn own(error: &TlsError) -> String {
    match error {
        TlsError::OtherAuthority => {
            "it is not from an authority in the file `[tls] authority` names".to_owned()
        }
        TlsError::Expired => "it has expired".to_owned(),
        TlsError::NotYet => "it is not valid yet; look at the clock".to_owned(),
        TlsError::Purpose => "a node's must allow both server and client authentication".to_owned(),
        TlsError::Authority => "it is an authority's own; have one issued for this node".to_owned(),
        TlsError::Identity(why) => why.to_string(),
        other => skybox_core::TextChain::of(other).joined(),
    }
}
