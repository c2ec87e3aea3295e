//! The end of a stream where its items come from.

use crate::frame::Credit;

/// What the reader has asked for and not got yet.
#[derive(Debug, Default)]
pub struct Sending {
    items: u64,
    /// Below zero by as much as the last item was longer than what was asked for.
    bytes: i64,
    begun: bool,
}

impl Sending {
    /// Of a stream that nobody has asked for an item.
    pub fn new() -> Sending {
        Sending::default()
    }

    /// Whether the next item may be sent. Asked before each.
    pub fn may_send(&self) -> bool {
        self.items > 0 && self.bytes > 0
    }

    /// Whether the reader has ever asked for an item.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The reader asks for more. `None` if the sum is more than anybody could mean: close the connection.
    pub fn credited(&mut self, credit: Credit) -> Option<()> {
        self.items = self.items.checked_add(u64::from(credit.items))?;
        self.bytes = i64::try_from(credit.bytes).ok().and_then(|bytes| self.bytes.checked_add(bytes))?;
        self.begun = true;
        Some(())
    }

    /// An item of so many bytes was sent.
    pub fn sent(&mut self, bytes_len: usize) {
        debug_assert!(self.may_send(), "an item was sent that the reader did not ask for");
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes_len as i64);
    }
}
