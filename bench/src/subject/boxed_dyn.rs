//! What Rust programs use today to choose an implementation at run time: a trait object whose
//! methods return boxed futures, as `async_trait` writes them.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::Result;

use super::{BoxFuture, LocalCalls, LocalSubject};
use crate::work;

/// A `dyn` trait with boxed futures, called by one thread or by several.
#[derive(Debug)]
pub(crate) struct BoxedDyn {
    pub(crate) threads: usize,
}

impl LocalSubject for BoxedDyn {
    fn name(&self) -> &'static str {
        match self.threads {
            1 => "boxed-dyn",
            2 => "boxed-dyn-2threads",
            other => unreachable!("no name for {other} threads"),
        }
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn start(&self) -> BoxFuture<'static, Result<Arc<dyn LocalCalls>>> {
        let calls = Calls { callee: black_box(Arc::new(Callee)) };
        Box::pin(async { Ok(Arc::new(calls) as Arc<dyn LocalCalls>) })
    }
}

trait Echo: Send + Sync {
    fn echo(&self, value: u64) -> BoxFuture<'_, u64>;
}

struct Callee;

impl Echo for Callee {
    fn echo(&self, value: u64) -> BoxFuture<'_, u64> {
        Box::pin(async move { work::same(value) })
    }
}

struct Calls {
    callee: Arc<dyn Echo>,
}

impl LocalCalls for Calls {
    fn run(&self, calls: u64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let callee = black_box(&self.callee);
            for value in 0..calls {
                black_box(callee.echo(black_box(value)).await);
            }
            Ok(())
        })
    }
}
