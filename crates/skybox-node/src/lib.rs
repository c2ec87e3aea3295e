//! The runtime of Skybox: what runs in every node.
//!
//! Users meet it through the crate `skybox`, generated code through [`rt`]. It runs calls here or sends them
//! elsewhere, keeps instances alive, and does what the plan says; it makes no plan itself, and starts no process but
//! cells.
//!
//! Start reading at [`App`], then at `call.rs` for the way of one call.

mod admin;
mod app;
mod between;
mod call;
pub mod capacity;
mod cell;
mod cgroup;
mod clock;
pub mod config;
mod conn;
pub mod control;
mod exposition;
mod fence;
mod host;
mod interface;
mod links;
mod listen;
mod log_limit;
mod metrics;
mod module;
mod monitor;
mod names;
mod operate;
pub mod output;
pub mod parenthood;
mod random;
mod route;
pub mod rt;
mod spans;
mod spawned;
mod status;
mod stream;
mod supervisor;
mod test_run;
mod thread;
mod tie;
mod uses;
mod vitals;
mod watchdog;

pub use app::{App, AppError, Builder, DRAIN_MAX, Missing, NoApp, Scoped, program_name, spawn};
pub use call::ItemError;
pub use call::{CallOptions, Handle};
pub use cell::LimitedBy;
pub use conn::{Address, DialError, HandshakeCounts, Right, user_name};
pub use fence::{Fence, abort};
pub use host::{Ending, GivenUp, Restarted};
pub use interface::Candidate;
pub use listen::bind as bind_listener;
pub use metrics::{EdgeCounts, LATENCY_BUCKETS};
pub use module::{Callable, Key, KeyOf, Module, Spawns};
pub use monitor::Monitor;
pub use names::NameError;
pub use operate::{Answer, AskError, Extent, Items, Killed, Operator, Outcome};
pub use spans::{SpanContexts, follow_spans};
pub use spawned::{Spawned, Spawning};
pub use status::{
    CellStatus, HeldStatus, ImplementationStatus, InstanceStatus, ModuleStatus, NodeStatus, PolicyStatus,
    WaitStatus,
};
pub use stream::{Closed, Stream, StreamSender};
pub use supervisor::{Child, ChildSpec, Children, Supervisor};
pub use uses::ProcessUse;
pub use watchdog::HoldStatus;

/// What certificates say, and why some are refused.
#[cfg(feature = "tls")]
pub mod tls {
    pub use crate::conn::tls::{
        Identity, IdentityError, TlsError, TlsFilesError, is_name, judge_files, uris_in,
    };
}

use skybox_core::TraceContext;

/// The trace that the running code belongs to, to hand it to other services as `traceparent`. Where spans are exported,
/// it names the span that the code runs in.
pub fn current_trace() -> Option<TraceContext> {
    spans::trace_of(thread::current(|frame| frame.and_then(|frame| frame.inherited.context().trace)))
}

/// The time by which the running code should be done, if its caller set one.
pub fn current_deadline() -> Option<std::time::Instant> {
    thread::current(|frame| frame.and_then(thread::CallFrame::deadline))
}

/// Runs a future as part of a trace, such as the one a request brought.
///
/// A call takes its context when it is made, not when it is awaited: write
/// `with_trace(trace, async { thumbnail(image).await })`, with the call inside.
pub fn with_trace<F: Future>(trace: TraceContext, future: F) -> Scoped<F> {
    Scoped::with_trace(trace, future)
}
