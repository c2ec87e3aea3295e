//! What `#[skybox::test]` runs.

use crate::app::{App, Builder};

/// How a test's calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestMode {
    /// As in one process.
    Inline,
    /// Each encoded, decoded, on another task.
    Strict,
}

/// Starts an App for one run of a test, runs it, and stops the App.
///
/// # Panics
/// If the App does not start: the test fails with the reason.
pub async fn run_test<R>(
    mode: TestMode,
    prepare: impl FnOnce(Builder) -> Builder,
    body: impl AsyncFnOnce(App) -> R,
) -> R {
    let builder = prepare(App::builder().aside().strict(mode == TestMode::Strict));
    let app = match builder.start().await {
        Ok(app) => app,
        Err(error) => panic!(
            "the App of this {mode:?} run did not start: {}",
            skybox_core::TextChain::of(&error).joined()
        ),
    };
    let outcome = app.enter(body(app.clone())).await;
    app.shutdown().await;
    outcome
}

/// Runs a test that brings no runtime of its own, on two threads: as a program runs.
pub fn block_on_test<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the operating system gives a test two threads")
        .block_on(future)
}
