//! The floor: an async function, awaited.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;

use super::{BoxFuture, LocalCalls, LocalSubject};
use crate::work;

/// An `async fn` that is called by its name.
#[derive(Debug)]
pub(crate) struct Direct;

impl LocalSubject for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn start(&self) -> BoxFuture<'static, Result<Arc<dyn LocalCalls>>> {
        Box::pin(async { Ok(Arc::new(Calls) as Arc<dyn LocalCalls>) })
    }
}

struct Calls;

impl LocalCalls for Calls {
    fn run(&self, calls: u64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            for value in 0..calls {
                black_box(echo(black_box(value)).await);
            }
            Ok(())
        })
    }
}

async fn echo(value: u64) -> u64 {
    work::same(value)
}
