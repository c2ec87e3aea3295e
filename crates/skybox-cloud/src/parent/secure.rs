//! What nodes that talk over TCP need: an address each, and certificates. If the configuration names none, the parent
//! makes them for this run; the authority's key never leaves its memory.

use std::path::Path;

use skybox_core::NodeName;
use skybox_node::config::TlsFiles;

use super::{Config, ParentConfig, ParentError};

/// Where nodes listen: each at a port of its own, which the kernel chooses.
pub const NODE_ADDRESS: &str = "127.0.0.1:0";

/// Who gives nodes their certificates.
#[derive(Debug)]
pub(super) enum Secure {
    /// Nodes talk over Unix sockets.
    Unneeded,
    /// The configuration's files, for each node its own.
    Configured(TlsFiles),
    /// An authority of this run.
    #[cfg(feature = "certs")]
    ForThisRun { authority: Box<crate::certs::Authority>, directory: std::path::PathBuf },
}

/// How long the certificates of a run are valid: longer than it will last. They cannot be used after it, since nobody
/// else trusts their authority.
#[cfg(feature = "certs")]
const RUN_LIFETIME: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 24 * 3600);

impl Secure {
    /// Prepares what the configuration asks for. `directory`: the program's own, for this user alone.
    pub(super) fn new(config: &ParentConfig, program: &str, directory: &Path) -> Result<Secure, ParentError> {
        if !config.tcp {
            return Ok(Secure::Unneeded);
        }
        match config.config.tls()? {
            Some(files) => Ok(Secure::Configured(files)),
            None => Secure::for_this_run(program, directory),
        }
    }

    #[cfg(feature = "certs")]
    fn for_this_run(program: &str, directory: &Path) -> Result<Secure, ParentError> {
        use crate::certs::{AUTHORITY_CERTIFICATE, Authority, make_directory, write};
        let directory = directory.join("certs");
        let authority = Authority::make(program, RUN_LIFETIME)?;
        make_directory(&directory)?;
        write(&directory.join(AUTHORITY_CERTIFICATE), authority.certificate())?;
        Ok(Secure::ForThisRun { authority: Box::new(authority), directory })
    }

    #[cfg(not(feature = "certs"))]
    fn for_this_run(_program: &str, _directory: &Path) -> Result<Secure, ParentError> {
        Err(ParentError::NoCertificates)
    }

    /// What takes its place under another configuration, if anything does. Certificates of this run stay those.
    pub(super) fn under(&self, config: &Config) -> Option<Secure> {
        match (self, config.tls()) {
            (Secure::Configured(_), Ok(Some(files))) => Some(Secure::Configured(files)),
            _ => None,
        }
    }

    /// A node's certificate. `None`: nodes talk over Unix sockets.
    pub(super) fn files(&self, node: &NodeName) -> Result<Option<TlsFiles>, ParentError> {
        match self {
            Secure::Unneeded => Ok(None),
            Secure::Configured(files) => Ok(Some(files.of_node(node.as_str()))),
            #[cfg(feature = "certs")]
            Secure::ForThisRun { authority, directory } => {
                let identity = skybox_node::tls::Identity::Node(node.to_string());
                Ok(Some(authority.issue(&identity, RUN_LIFETIME)?.write(directory)?))
            }
        }
    }

    /// An operator's certificate of this run. `None`: the configuration's authority issues those.
    #[cfg(feature = "certs")]
    pub(super) fn operator(
        &self,
        name: &str,
        right: skybox_node::Right,
    ) -> Result<Option<TlsFiles>, ParentError> {
        let Secure::ForThisRun { authority, directory } = self else { return Ok(None) };
        let identity = skybox_node::tls::Identity::Operator { right, name: name.to_owned() };
        Ok(Some(authority.issue(&identity, RUN_LIFETIME)?.write(directory)?))
    }

    /// What a node's process is told of it.
    pub(super) fn environment(&self, node: &NodeName) -> Result<Vec<(String, String)>, ParentError> {
        let Some(files) = self.files(node)? else { return Ok(Vec::new()) };
        let path = |path: &Path| path.to_string_lossy().into_owned();
        Ok(vec![
            ("SKYBOX_NODE__LISTEN".to_owned(), NODE_ADDRESS.to_owned()),
            ("SKYBOX_TLS__AUTHORITY".to_owned(), path(&files.authority)),
            ("SKYBOX_TLS__CERTIFICATE".to_owned(), path(&files.certificate)),
            ("SKYBOX_TLS__KEY".to_owned(), path(&files.key)),
        ])
    }
}
