//! A bound for the spans that wait, and the count of those that are lost.
//!
//! 1. A span that ends takes a place, or is dropped if there is none: no call waits for a collector.
//! 2. The batch processor of the SDK, with its thread, gathers spans into batches.
//! 3. A batch that is exported, or cannot be, gives its places back.
//!
//! Losses are logged when they begin, once, and summed up at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

/// Spans that were lost, and those that wait.
#[derive(Debug)]
pub(crate) struct Losses {
    /// Where spans go, for messages.
    endpoint: String,
    waiting: AtomicUsize,
    waiting_max: usize,
    lost: AtomicU64,
    said: AtomicBool,
}

impl Losses {
    pub(crate) fn new(endpoint: &str, waiting_max: usize) -> Arc<Losses> {
        Arc::new(Losses {
            endpoint: endpoint.to_owned(),
            waiting: AtomicUsize::new(0),
            waiting_max,
            lost: AtomicU64::new(0),
            said: AtomicBool::new(false),
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes a place for a span, if there is one.
    fn take_place(&self) -> bool {
        let full = self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max;
        if full {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        !full
    }

    fn lose(&self, count: usize, why: &str) {
        self.lost.fetch_add(count as u64, Ordering::Relaxed);
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "spans are lost: {why} (collector {}); the program goes on without them, and their number is said \
                 at its end",
                self.endpoint
            );
        }
    }

    /// Says how many were lost, if any.
    pub(crate) fn sum_up(&self) {
        let lost = self.count();
        if lost > 0 {
            tracing::warn!("{lost} spans were lost (collector {})", self.endpoint);
        }
    }
}

/// The batch processor, with the bound before it.
#[derive(Debug)]
pub(crate) struct Bounded {
    pub(crate) batches: BatchSpanProcessor,
    pub(crate) losses: Arc<Losses>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.losses.take_place() {
            self.batches.on_end(span);
        } else {
            self.losses.lose(1, &format!("{} wait to be sent already", self.losses.waiting_max));
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// An exporter that counts what it cannot send, and whose failures are logged once, not with each batch.
#[derive(Debug)]
pub(crate) struct Counted<E> {
    pub(crate) exporter: E,
    pub(crate) losses: Arc<Losses>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let outcome = self.exporter.export(batch).await;
        self.losses.waiting.fetch_sub(count, Ordering::Relaxed);
        if let Err(error) = outcome {
            self.losses.lose(count, &format!("they could not be sent: {error}"));
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
