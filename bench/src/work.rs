//! The work that every subject does, and what must come back.

use anyhow::{Result, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes of the blob that is echoed: large enough that copying counts, small enough for one message
/// of every peer.
pub(crate) const BLOB_BYTES: usize = 64 * 1024;

/// Sixteen characters, as a user's or an order's name might have.
const NAME: &str = "a-name-of-16-chr";

/// A small structured message of about 60 bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Echo {
    /// Differs in every call, so that a reply given to the wrong caller is seen.
    pub(crate) id: u64,
    /// Sixteen characters.
    pub(crate) name: String,
    /// Spread over the range of `u32`, so that a variable-length encoding gains little.
    pub(crate) tags: [u32; 8],
}

impl Echo {
    /// The message whose id is `id`.
    pub(crate) fn sample(id: u64) -> Self {
        const SPREAD: u32 = 0x1234_5678;
        let tags = [1, 2, 3, 4, 5, 6, 7, 8].map(|tag: u32| tag.wrapping_mul(SPREAD));
        Self { id, name: NAME.to_owned(), tags }
    }

    /// Checks every field; for the end of a run, since each call already checks its id.
    ///
    /// # Errors
    /// When anything differs from `sample(id)`: the subject is broken, and its figures are void.
    pub(crate) fn check(&self, id: u64) -> Result<()> {
        ensure!(*self == Self::sample(id), "call {id} was answered with {self:?}");
        Ok(())
    }
}

/// A blob, with its caller's number in each byte.
pub(crate) fn blob(caller: usize, bytes: usize) -> Bytes {
    let byte = (caller % 256) as u8;
    Bytes::from(vec![byte; bytes])
}

/// What the server of every subject does with a message.
pub(crate) async fn echo(message: Echo) -> Echo {
    message
}

/// What the callee of every local subject does with a value.
///
/// The body is kept out of line, not the `async fn` around it: `#[inline(never)]` on an `async fn`
/// holds for the function that makes the future, which no program would suffer to be out of line,
/// and costs more than all the rest of a direct call.
#[inline(never)]
pub(crate) fn same(value: u64) -> u64 {
    std::hint::black_box(value)
}
