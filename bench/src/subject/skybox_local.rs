//! Skybox within one process: a held handle, no `concurrency`, `skybox::Error`, no subscriber.

mod modules;

use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;
use skybox::{App, Handle};

use super::{BoxFuture, LocalCalls, LocalSubject};
use crate::work::same;
use modules::{Both, Reader, Teller, Writer};

/// Which methods a module has, and how many threads call it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SkyboxLocal {
    /// `&self` alone.
    Shared,
    /// The same, called by two threads.
    SharedTwoThreads,
    /// `&mut self` alone.
    Exclusive,
    /// Both; `&self` is called.
    Mixed,
    /// `&self` of an interface, whose instances are of a type that callers do not know.
    Interface,
}

impl LocalSubject for SkyboxLocal {
    fn name(&self) -> &'static str {
        match self {
            SkyboxLocal::Shared => "skybox-local",
            SkyboxLocal::SharedTwoThreads => "skybox-local-2threads",
            SkyboxLocal::Exclusive => "skybox-local-mut",
            SkyboxLocal::Mixed => "skybox-local-mixed",
            SkyboxLocal::Interface => "skybox-local-dyn",
        }
    }

    fn threads(&self) -> usize {
        if matches!(self, SkyboxLocal::SharedTwoThreads) { 2 } else { 1 }
    }

    fn start(&self) -> BoxFuture<'static, Result<Arc<dyn LocalCalls>>> {
        let kind = *self;
        Box::pin(async move {
            let app = App::builder().aside().start().await?;
            app.settled().await;
            let calls: Arc<dyn LocalCalls> = match kind {
                SkyboxLocal::Shared | SkyboxLocal::SharedTwoThreads => {
                    Arc::new(SharedCalls { _app: app.clone(), callee: app.get() })
                }
                SkyboxLocal::Exclusive => Arc::new(ExclusiveCalls { _app: app.clone(), callee: app.get() }),
                SkyboxLocal::Mixed => Arc::new(MixedCalls { _app: app.clone(), callee: app.get() }),
                SkyboxLocal::Interface => Arc::new(InterfaceCalls { _app: app.clone(), callee: app.get() }),
            };
            Ok(calls)
        })
    }
}

struct SharedCalls {
    _app: App,
    callee: Handle<Reader>,
}

struct ExclusiveCalls {
    _app: App,
    callee: Handle<Writer>,
}

struct MixedCalls {
    _app: App,
    callee: Handle<Both>,
}

struct InterfaceCalls {
    _app: App,
    callee: Handle<dyn Teller>,
}

/// The loop is the same each time, and has to be: nothing may lie between two calls.
macro_rules! calls {
    ($calls:ty) => {
        impl LocalCalls for $calls {
            fn run(&self, calls: u64) -> BoxFuture<'_, Result<()>> {
                Box::pin(async move {
                    let callee = black_box(&self.callee);
                    for value in 0..calls {
                        black_box(
                            callee
                                .echo(black_box(value))
                                .await
                                .map_err(|error| anyhow::anyhow!("{error:#}"))?,
                        );
                    }
                    Ok(())
                })
            }
        }
    };
}

calls!(SharedCalls);
calls!(ExclusiveCalls);
calls!(MixedCalls);
calls!(InterfaceCalls);
