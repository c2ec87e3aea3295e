//! Certificates for the nodes and operators of one program, made by an authority of its own.
//!
//! An authority is a directory: `authority.pem`, which every node and operator needs, and `authority.key`, which none
//! of them may have. Whoever has another authority (cert-manager, SPIRE) needs none of this: what a certificate has to
//! say stands in `docs/tls.md`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use skybox_node::config::TlsFiles;
use skybox_node::tls::{Identity, is_name, uris_in};
use time::OffsetDateTime;

/// The authority's certificate in its directory.
pub const AUTHORITY_CERTIFICATE: &str = "authority.pem";
/// Its private key.
pub const AUTHORITY_KEY: &str = "authority.key";

/// What both are named after.
const AUTHORITY: &str = "authority";
/// What the files of operators begin with, before the person's name.
const OPERATOR: &str = "operator-";

/// Certificates begin this long before they are made: clocks differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3600);

/// Who issues a program's certificates.
pub struct Authority {
    program: String,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both in PEM.
#[derive(Clone)]
pub struct Issued {
    identity: Identity,
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertsError {
    /// A name that cannot stand in a certificate.
    #[error("`{0}` cannot stand in a certificate: use letters, digits, `-`, `.` and `_`")]
    Name(String),
    /// A node whose files would be somebody else's.
    #[error("a node named `{0}` would write over the files of {whose}: give it another name", whose = whose_files(.0))]
    Taken(String),
    /// There is one already.
    #[error("{} is there already: another authority would cut off everybody who has a certificate of this one", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("{} has no authority: `skybox certs init` makes one", .0.display())]
    NoAuthority(PathBuf),
    /// It is not one of ours.
    #[error("{} is not an authority that `skybox certs init` has made: {why}", path.display())]
    NotOurs {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    Make(#[from] rcgen::Error),
}

impl Authority {
    /// Makes one for a program.
    ///
    /// # Errors
    /// [`CertsError::Name`] if the program's name cannot stand in a certificate.
    pub fn make(program: &str, lifetime: Duration) -> Result<Authority, CertsError> {
        if !is_name(program) {
            return Err(CertsError::Name(program.to_owned()));
        }
        let program = program.to_ascii_lowercase();
        let key = KeyPair::generate()?;
        let mut params = authority_params(&program, &key)?;
        (params.not_before, params.not_after) = validity(lifetime);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Authority { program, certificate, issuer: Issuer::new(params, key) })
    }

    /// The one in a directory.
    ///
    /// # Errors
    /// [`CertsError::NoAuthority`], [`CertsError::NotOurs`], [`CertsError::File`].
    pub fn open(directory: &Path) -> Result<Authority, CertsError> {
        let path = directory.join(AUTHORITY_CERTIFICATE);
        let read = |path: PathBuf| match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CertsError::NoAuthority(directory.to_owned()))
            }
            Err(source) => Err(CertsError::File { path, source }),
        };
        let certificate = read(path.clone())?;
        let key = read(directory.join(AUTHORITY_KEY))?;
        let not_ours = |why: String| CertsError::NotOurs { path: path.clone(), why };
        let program = program_of(&certificate).map_err(not_ours)?;
        let key = KeyPair::from_pem(&key).map_err(|error| not_ours(error.to_string()))?;
        // The same program and key make the same subject, which is all that issuing needs of the certificate.
        let params = authority_params(&program, &key)?;
        Ok(Authority { program, certificate, issuer: Issuer::new(params, key) })
    }

    /// Writes it into a directory of its own, for this user alone.
    ///
    /// # Errors
    /// [`CertsError::Exists`]: nothing is overwritten. [`CertsError::File`].
    pub fn save(&self, directory: &Path) -> Result<(), CertsError> {
        make_directory(directory)?;
        let key = directory.join(AUTHORITY_KEY);
        if key.exists() {
            return Err(CertsError::Exists(key));
        }
        write(&key, &self.issuer.key().serialize_pem())?;
        write(&directory.join(AUTHORITY_CERTIFICATE), &self.certificate)
    }

    /// The program that it is for.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Makes a certificate.
    ///
    /// # Errors
    /// [`CertsError::Name`] if its name cannot stand in one, [`CertsError::Taken`] if its files would be others'.
    pub fn issue(&self, identity: &Identity, lifetime: Duration) -> Result<Issued, CertsError> {
        if !is_name(identity.name()) {
            return Err(CertsError::Name(identity.name().to_owned()));
        }
        if let Identity::Node(node) = identity
            && !whose_files(node).is_empty()
        {
            return Err(CertsError::Taken(node.clone()));
        }
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = validity(lifetime);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, identity.name());
        params.subject_alt_names = vec![SanType::URI(identity.uri(&self.program).try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match identity {
            Identity::Node(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Identity::Operator { .. } => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { identity: identity.clone(), certificate, key: key.serialize_pem() })
    }
}

fn authority_params(program: &str, key: &KeyPair) -> Result<CertificateParams, CertsError> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{program}").try_into()?)];
    // Two authorities of one program have two names, so that whoever trusts one of them sees which.
    let of_key: String =
        params.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Skybox {program} {of_key}"));
    Ok(params)
}

fn validity(lifetime: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - CLOCKS_DIFFER, now + lifetime)
}

/// Whose the files would be that are named as this node; nobody's in general. Some file systems take upper for lower
/// case.
fn whose_files(node: &str) -> &'static str {
    let node = node.to_ascii_lowercase();
    match node.strip_prefix(OPERATOR) {
        Some(_) => "an operator",
        None if node == AUTHORITY => "the authority",
        None => "",
    }
}

/// The program in the certificate of an authority.
fn program_of(pem: &str) -> Result<String, String> {
    let uris = uris_in(pem.as_bytes())?;
    let found = uris.iter().find_map(|uri| uri.strip_prefix("spiffe://").map(str::to_owned));
    found.filter(|program| is_name(program)).ok_or_else(|| "it names no program".to_owned())
}

impl Issued {
    /// The name its files have: that of a node, `operator-` and that of a person.
    pub fn file_name(&self) -> String {
        match &self.identity {
            Identity::Node(node) => node.clone(),
            Identity::Operator { name, .. } => format!("{OPERATOR}{name}"),
        }
    }

    /// Writes both files beside an authority's certificate; an earlier certificate of that name is replaced, and
    /// whoever uses it takes the new one.
    ///
    /// # Errors
    /// [`CertsError::File`].
    pub fn write(&self, directory: &Path) -> Result<TlsFiles, CertsError> {
        let name = self.file_name();
        let files = TlsFiles {
            authority: directory.join(AUTHORITY_CERTIFICATE),
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key")),
        };
        write(&files.key, &self.key)?;
        write(&files.certificate, &self.certificate)?;
        Ok(files)
    }
}

/// Makes a directory for this user alone, unless there is one.
///
/// # Errors
/// [`CertsError::File`].
pub fn make_directory(directory: &Path) -> Result<(), CertsError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| CertsError::File { path: directory.to_owned(), source })
}

/// Writes a file that only this user reads, all at once: nobody sees half of it.
///
/// # Errors
/// [`CertsError::File`].
pub fn write(path: &Path, text: &str) -> Result<(), CertsError> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    written.map_err(|source| CertsError::File { path: path.to_owned(), source })
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.program)
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        write!(f, "Issued({})", self.identity)
    }
}
