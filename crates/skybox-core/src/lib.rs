//! The vocabulary of Skybox: ids, descriptors, needs, errors, context and plan types.
//!
//! This crate does no I/O, reads no clock, draws no randomness and knows no async runtime: whoever uses it
//! hands these in. What it holds is what every other crate has to agree on.
//!
//! Start reading at [`CallError`]: the answer to "did my call run?" shapes everything else.
//!
//! ```
//! use skybox_core::{CallError, CallErrorKind, Callee, Ran};
//!
//! let lost = CallError::new(Callee::new("thumbnail", "call"), CallErrorKind::Lost { why: "node-2 died".into() });
//! assert_eq!(lost.ran(), Ran::Maybe);
//! ```

mod call_error;
mod chain;
mod code;
mod context;
mod descriptor;
mod error;
mod exit;
mod id;
mod image;
mod needs;
mod plan;
mod settings;
mod trace;

pub use call_error::{CallError, CallErrorKind, Callee, Phase, Ran};
pub use chain::{CHAIN_LEN_MAX, Chain, Link, Mode};
pub use code::Code;
pub use context::Context;
pub use descriptor::{MethodDescriptor, ModuleDescriptor, ModuleKind};
pub use error::{Error, Result};
pub use exit::Exit;
pub use id::{CallId, Epoch, Incarnation, InstanceId, KeyHash, NodeName, SHARD_COUNT, Shard};
pub use image::{ErrorImage, FromText, TextChain, WireError};
pub use needs::{BadReplicas, Isolate, Needs, OnStoreLoss, Replicas, Restart};
pub use plan::{ModulePlan, NodeEntry, Plan, Shards};
pub use settings::{SettingError, Settings, parse_duration};
pub use trace::TraceContext;
