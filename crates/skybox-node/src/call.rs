//! A call, from the proxy's method to the user's: here, in strict mode, or elsewhere.
//!
//! 1. The proxy's method captures the context ([`crate::thread::Inherited`]) when it is called.
//! 2. At the first poll, [`Target`] finds the instance: here ([`Hold`](crate::host::Hold)) or elsewhere
//!    ([`Link`](far::Link)); it waits, within bounds, while nothing is live.
//! 3. Here, the user's method is polled inside its [`CallFrame`](crate::thread::CallFrame) ([`here`]).
//! 4. Elsewhere, the arguments are encoded and sent ([`far`]); the node there decodes them and does what step 3
//!    does ([`incoming`]), and the result comes back.

mod crossing;
pub(crate) mod far;
mod find;
mod future;
mod here;
mod incoming;
mod key;
mod local;
mod options;
mod own;
pub(crate) mod pass_on;
mod relayed;
mod target;
mod task;
mod turns;
mod uncrossable;
mod ways;

pub use crossing::*;
pub(crate) use far::{Failed, Reply, data_code, in_app};
pub(crate) use here::{Panicked, catch, install_panic_hook};
pub use incoming::Incoming;
pub use incoming::Serving;
pub(crate) use incoming::{Arriving, ReplyTo};
pub(crate) use key::{crossed_key, decode_key, encode_key, json_key, key_text};
pub use options::CallOptions;
pub use relayed::ItemError;
pub(crate) use relayed::Relayed;
pub(crate) use target::To;
pub use target::{Handle, Target};
pub use task::TaskCall;
pub(crate) use uncrossable::{ErrorCrosses, IsResult, SaysWhatItIs, ValueCrosses};
pub use uncrossable::{JudgeAny, JudgeError, JudgeImage, JudgeSerde, JudgeValue, Judged, Returns};
pub use ways::{Call, NoCall, SerdeCall};

use std::fmt;

use skybox_core::TextChain;

/// Why a module's `start` failed: the text of its error and of the causes.
#[derive(Debug)]
pub struct StartError(pub TextChain);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.joined())
    }
}

/// Calls sent again after it was certain that they had not run, or because they are idempotent. A further one
/// fails with the last error: somebody has to be told that this module keeps refusing.
pub(crate) const RESENDS_MAX: u32 = 8;
