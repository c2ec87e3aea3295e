//! The thread that speaks to the store.

use std::future::Future;
use std::sync::Arc;

use skybox_node::config::StoreConfig;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::store::{Store, StoreError};

/// A thread with a runtime of its own, which ends with this.
pub(super) struct StoreThread {
    runtime: Handle,
    /// Dropped, it ends.
    end: oneshot::Sender<()>,
}

impl StoreThread {
    pub(super) fn begin() -> std::io::Result<StoreThread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("skybox-store".to_owned()).spawn(move || {
            // An error says that the other end is gone: that is what is waited for.
            runtime.block_on(async { drop(ended.await) });
        })?;
        Ok(StoreThread { runtime: handle, end })
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends it once this is done.
    pub(super) fn end_after(self, last: impl Future<Output = ()> + Send + 'static) {
        let StoreThread { runtime, end } = self;
        runtime.spawn(async move {
            last.await;
            drop(end);
        });
    }
}

/// Connects to the store that a configuration names.
#[cfg(feature = "etcd")]
pub(super) async fn connect(config: StoreConfig, program: String) -> Result<Arc<dyn Store>, StoreError> {
    use crate::store::{Etcd, EtcdConfig};
    Ok(Arc::new(Etcd::connect(EtcdConfig::of(&config, &program)?).await?))
}

/// Says that it cannot.
#[cfg(not(feature = "etcd"))]
pub(super) async fn connect(_config: StoreConfig, _program: String) -> Result<Arc<dyn Store>, StoreError> {
    let why = "the program is built without the feature `etcd` of skybox";
    let error = StoreError::Refused { why: why.to_owned() };
    tracing::debug!("{}", skybox_core::TextChain::of(&error).joined());
    Err(error)
}
