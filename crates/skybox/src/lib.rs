//! Skybox: written as one program, deployed as many processes.
//!
//! Annotate a function or an `impl` block; calls to it stay ordinary calls. Where it runs (in this process, in
//! another one, on another machine) is decided when deploying, changes while running, and changes no call.
//!
//! ```
//! /// May run in another process.
//! #[skybox::task]
//! fn shout(text: String) -> skybox::Result<String> {
//!     Ok(text.to_uppercase())
//! }
//!
//! #[tokio::main]
//! async fn main() -> skybox::Result<()> {
//!     let _app = skybox::App::builder().start().await?;
//!     assert_eq!(shout("hello".to_owned()).await?, "HELLO");
//!     Ok(())
//! }
//! ```
//!
//! State makes it a module:
//!
//! ```
//! use std::collections::HashMap;
//!
//! #[derive(Default)]
//! struct Catalog {
//!     prices: HashMap<String, u32>,
//! }
//!
//! #[skybox::module]
//! impl Catalog {
//!     pub async fn set(&mut self, name: &str, price: u32) -> skybox::Result<()> {
//!         self.prices.insert(name.to_owned(), price);
//!         Ok(())
//!     }
//!
//!     pub async fn price(&self, name: &str) -> skybox::Result<Option<u32>> {
//!         Ok(self.prices.get(name).copied())
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> skybox::Result<()> {
//! let app = skybox::App::builder().start().await?;
//! let catalog = app.get::<Catalog>();
//! catalog.set("pear", 3).await?;
//! assert_eq!(catalog.price("pear").await?, Some(3));
//! # Ok(())
//! # }
//! ```
//!
//! `&self` methods run beside each other, `&mut self` methods one at a time: Rust's own rule is the actor rule.
//!
//! On a trait it makes an interface: callers hold a `Handle<dyn Payments>`, and know no implementation. See
//! [`module`](macro@module#interfaces).
//!
//! # Where to read on
//! - [`task`] and [`module`]: what can be annotated, and how.
//! - [`App`]: values, handles, listeners, the end.
//! - [`CallError`]: why a call failed, and whether it ran.
//! - [`Exit`]: why an instance ended. `docs/let-it-crash.md` says what a crash takes along and what comes after it.
//! - [`Stream`]: arguments and results that come item by item.
//! - [`WireError`](derive@WireError): your own error type.
//! - [`test`]: tests that run inline and strict.
//!
//! # Debug builds
//! A call within a process moves its arguments and encodes nothing. In a debug build the first call of each method is
//! also encoded and decoded, its arguments and its result once each, so that a type that cannot cross is found on a
//! laptop and not in the first deployment: that call fails as it would between processes. `SKYBOX_STRICT=1` does so
//! for every call, in any build.
//!
//! # What it does not do
//! It is no queue (durable jobs want one), no database, and no interface to other companies. On one machine that
//! never splits, `spawn_blocking` is enough.
//!
//! # Features
//! - `cloud` (default): `SKYBOX_NODES=3 ./program` runs the program as three nodes, and tests can start nodes.
//! - `admin` (default): `/livez`, `/readyz` and `/metrics` on `[admin] address`.
//! - `otel`: spans of calls to an OpenTelemetry collector, by `skybox::otel::layer()`.
//! - `tls`: nodes on several machines, by `[node]` and `[tls]` in skybox.toml.
//! - `anyhow`: methods may return `anyhow::Error`.

pub use skybox_core::{
    CallError, CallErrorKind, Callee, Code, Epoch, Error, Exit, Phase, Ran, Restart, Result, TextChain,
    TraceContext, WireError,
};
pub use skybox_macros::{WireError, module, task, test};
pub use skybox_node::{
    App, AppError, Builder, CallOptions, Callable, Candidate, Child, ChildSpec, Children, Closed, Handle,
    Key, KeyOf, Missing, Module, Monitor, NameError, NoApp, NodeStatus, Scoped, Spawned, Spawning, Spawns,
    Stream, StreamSender, Supervisor, current_deadline, current_trace, spawn, with_trace,
};

pub use skybox_node::config::TlsFiles;

#[doc(hidden)]
pub use skybox_node::rt;

#[cfg(feature = "cloud")]
pub use skybox_cloud as cloud;

#[cfg(feature = "otel")]
pub use skybox_otel as otel;

/// The program of the page about tasks.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/tasks.md")]
mod tasks_page {}

/// The program of the page about modules.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/modules.md")]
mod modules_page {}

/// The programs of the page about traces.
#[cfg(all(doctest, feature = "otel"))]
#[doc = include_str!("../../../docs/tracing.md")]
mod tracing_page {}

/// The program of the page about cells.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/cells.md")]
mod cells_page {}

/// The programs of the chapter about crashes.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/let-it-crash.md")]
mod let_it_crash_page {}

/// The programs of the page about streams.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/streams.md")]
mod streams_page {}

/// The program of the page about spawned instances.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/spawned.md")]
mod spawned_page {}

/// The program of the page about supervisors.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/supervisors.md")]
mod supervisors_page {}

/// The program of the page about interfaces.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/interfaces.md")]
mod interfaces_page {}
