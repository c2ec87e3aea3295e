//! W3C trace context, as it travels with a call.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which trace a call belongs to: W3C `traceparent`, version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraceContext {
    /// The trace, not zero.
    pub trace_id: u128,
    /// The span that made the call, not zero.
    pub span_id: u64,
    /// Bit 0: the trace is recorded.
    pub flags: u8,
}

impl TraceContext {
    /// The same trace, seen from another span.
    #[must_use]
    pub fn with_span(self, span_id: u64) -> TraceContext {
        TraceContext { span_id, ..self }
    }

    /// Whether the trace is recorded.
    pub fn sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// A `traceparent` header that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent: expected 00-<32 hex digits>-<16>-<2>, ids not zero")]
pub struct NotATraceparent;

impl FromStr for TraceContext {
    type Err = NotATraceparent;

    fn from_str(text: &str) -> Result<TraceContext, NotATraceparent> {
        let mut parts = text.trim().split('-');
        let mut hex = |len: usize| {
            let digits = parts.next().filter(|part| part.len() == len).ok_or(NotATraceparent)?;
            // from_str_radix takes a sign; the header does not.
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(NotATraceparent);
            }
            u128::from_str_radix(digits, 16).map_err(|_| NotATraceparent)
        };
        let (version, trace_id, span_id, flags) = (hex(2)?, hex(32)?, hex(16)? as u64, hex(2)? as u8);
        if version == 0xff || trace_id == 0 || span_id == 0 {
            return Err(NotATraceparent);
        }
        Ok(TraceContext { trace_id, span_id, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_back() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace: TraceContext = text.parse().unwrap();
        assert_eq!(trace.to_string(), text);
        assert!(trace.sampled());
        for bad in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(NotATraceparent), "{bad}");
        }
    }
}
