//! Certificates for a test, in a directory that goes with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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
    pub fn trust(&self, other: &str) {
        let both = format!("{}{other}", self.authority.certificate());
        write(&self.path("authority.pem"), &both);
    }

    pub fn node(&self, name: &str) -> TlsFiles {
        self.put(&self.authority.issue(&Identity::Node(name.to_owned()), DAY).expect("it is issued"))
    }

    pub fn operator(&self, right: Right) -> TlsFiles {
        let identity = Identity::Operator { right, name: right.to_string() };
        self.put(&self.authority.issue(&identity, DAY).expect("it is issued"))
    }

    /// Any certificate under a name of its own.
    pub fn put_pair(&self, name: &str, pair: &Pair) -> TlsFiles {
        let [certificate, key] = ["pem", "key"].map(|end| self.path(&format!("{name}.{end}")));
        write(&certificate, &pair.certificate);
        write(&key, &pair.key);
        TlsFiles { authority: self.path("authority.pem"), certificate, key }
    }

    pub fn put(&self, issued: &Issued) -> TlsFiles {
        issued.write(&self.directory).expect("the directory is there")
    }
}

/// A certificate and its key, whoever made them.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl From<Issued> for Pair {
    fn from(issued: Issued) -> Pair {
        Pair { certificate: issued.certificate, key: issued.key }
    }
}

impl Pair {
    /// The chain of one, and the key, as rustls takes them.
    pub fn ders(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        (vec![certificate.expect("it is PEM")], key.expect("it is PEM"))
    }
}

/// An authority that issues what `skybox certs` never would.
pub struct OddAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate and key, which name a node of the program: only it itself knows that it is an authority.
    pub own: Pair,
}

impl OddAuthority {
    pub fn new() -> OddAuthority {
        let key = KeyPair::generate().expect("there is randomness");
        let mut params = params_of("spiffe://shop/node/b");
        params.distinguished_name.push(DnType::CommonName, "odd");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it is signed").pem();
        let own = Pair { certificate, key: key.serialize_pem() };
        OddAuthority { issuer: Issuer::new(params, key), own }
    }

    /// A certificate for that URI, valid now, changed in any way before it is signed.
    pub fn issue(&self, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().expect("there is randomness");
        let mut params = params_of(uri);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed").pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

fn params_of(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("it is ASCII"))];
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - DAY, now + DAY);
    params
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
