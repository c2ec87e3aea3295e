//! Spans: a subscriber that wants them sees each call, with the trace it belongs to.

use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What is asked for: a number back.
#[skybox::task]
async fn ask(n: u32) -> skybox::Result<u32> {
    tracing::info!("asked");
    Ok(n)
}

/// Has nothing to give.
#[skybox::task]
async fn refuse() -> skybox::Result<u32> {
    Err(std::io::Error::other("nothing is left").into())
}

/// Writes down the fields of each span, and in which span events happen.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

struct Fields<'s>(&'s Seen);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.note(format!("{field}={value:?}"));
    }
}

impl Subscriber for Seen {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() || metadata.target() == module_path!()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields(self));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(self));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields(self));
    }

    fn enter(&self, _: &Id) {
        self.note("enter".into());
    }

    fn exit(&self, _: &Id) {
        self.note("exit".into());
    }
}

#[tokio::test]
async fn a_call_runs_in_its_span() {
    let seen = Seen::default();
    let _guard = tracing::subscriber::set_default(seen.clone());
    let app = skybox::App::builder().aside().start().await.unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let asked = app.enter(async { skybox::with_trace(trace, async { ask(7).await }).await }).await;
    assert_eq!(asked.unwrap(), 7);
    let seen = seen.0.lock().unwrap().join("\n");
    for part in [
        "module=\"ask\"",
        "method=\"call\"",
        "traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736",
        "enter\nmessage=asked\nexit",
    ] {
        assert!(seen.contains(part), "{part} is missing in:\n{seen}");
    }
}

#[tokio::test]
async fn an_error_of_the_methods_own_marks_its_span_and_says_no_more() {
    let seen = Seen::default();
    let _guard = tracing::subscriber::set_default(seen.clone());
    let app = skybox::App::builder().aside().start().await.unwrap();
    app.enter(ask(7)).await.unwrap();
    let fine = std::mem::take(&mut *seen.0.lock().unwrap()).join("\n");
    assert!(fine.contains("module=\"ask\"") && !fine.contains("status_code"), "{fine}");
    app.enter(refuse()).await.unwrap_err();
    let failed = seen.0.lock().unwrap().join("\n");
    for part in ["module=\"refuse\"", "otel.status_code=\"ERROR\"", "error.type=\"own\""] {
        assert_eq!(failed.matches(part).count(), 1, "{part} in:\n{failed}");
    }
    assert!(!failed.contains("nothing is left"), "{failed}");
}
