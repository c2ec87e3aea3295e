//! What `[store]` says, as the client of etcd takes it.

use std::path::Path;

use etcd_client::{Certificate, Identity, TlsOptions};
use skybox_core::TextChain;
use skybox_node::config::StoreConfig;

use super::EtcdConfig;
use crate::store::StoreError;

impl EtcdConfig {
    /// Reads the files that a configuration names: passwords and certificates, as they are now.
    ///
    /// # Errors
    /// `Refused`, with the file that cannot be read.
    pub fn of(config: &StoreConfig, program: &str) -> Result<EtcdConfig, StoreError> {
        let refused = |why: String| StoreError::Refused { why };
        let user = config.credentials().map_err(|error| refused(TextChain::of(&error).joined()))?;
        Ok(EtcdConfig {
            members: config.members(),
            prefix: config.prefix(program),
            user,
            tls: tls(config).map_err(refused)?,
            ..EtcdConfig::default()
        })
    }
}

fn tls(config: &StoreConfig) -> Result<Option<TlsOptions>, String> {
    if !config.is_tls() {
        return Ok(None);
    }
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let files = config.tls();
    let mut options = TlsOptions::new();
    if let Some(authority) = &files.authority {
        options = options.ca_certificate(Certificate::from_pem(read(authority)?));
    }
    if let Some((certificate, key)) = &files.identity {
        options = options.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(Some(options))
}
