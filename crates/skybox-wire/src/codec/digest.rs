//! A number for a whole value and one for its calls, to compare what was written with what was read back.

use super::fault::Fault;
use super::scalar::Scalar;
use super::shape::{Shape, Token, fold, mix};
use super::walk::{Sink, Walk};
use serde::Serialize;

/// What two values have alike if they are written alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest {
    /// All calls in their order, as [`Calls`] counts them on the reading side.
    pub(super) calls: u64,
    /// All values, names and kinds; items of sequences and maps in any order, since a `HashMap` or
    /// `HashSet` that was read back writes its items in another one.
    pub(super) content: u64,
}

impl Digest {
    /// Walks `value` as a form that is or is not human-readable would.
    pub(super) fn of<S: Serialize + ?Sized>(value: &S, human_readable: bool) -> Result<Self, Fault> {
        let sink = Mixer { human_readable, calls: Calls::default(), content: 0, outer: Vec::new() };
        let mut walk = Walk::new(sink, Shape::muted());
        walk.run(value)?;
        Ok(Self { calls: walk.sink.calls.0, content: walk.sink.content })
    }
}

/// The calls of one writing or reading.
#[derive(Debug, Default)]
pub(super) struct Calls(pub(super) u64);

impl Calls {
    pub(super) fn note(&mut self, token: Token) {
        self.0 = fold(self.0, token);
    }

    /// Bytes and a sequence of `u8` are the same compact bytes, so they count as the same calls.
    pub(super) fn bytes(&mut self, len: usize) {
        self.note(Token::SEQ);
        self.note(Token::len(len));
        for _ in 0..len {
            self.note(u8::TOKEN);
        }
    }
}

impl super::compact::Trust for Calls {
    fn note(&mut self, token: Token) {
        Calls::note(self, token);
    }

    fn bytes(&mut self, len: usize) {
        Calls::bytes(self, len);
    }
}

struct Mixer {
    human_readable: bool,
    calls: Calls,
    content: u64,
    /// For each open sequence or map: the content before it, and the sum over its items so far.
    outer: Vec<(u64, u64)>,
}

impl Mixer {
    fn add(&mut self, value: u64) {
        self.content = mix(self.content.rotate_left(5) ^ value);
    }

    fn add_bytes(&mut self, value: &[u8]) {
        for chunk in value.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
        self.add(value.len() as u64);
    }

    fn note(&mut self, token: Token) {
        self.calls.note(token);
        self.add(token.number());
    }

    fn begin(&mut self, token: Token, len: Option<usize>) -> Result<usize, Fault> {
        self.calls.note(token);
        // Only forms with names write unknown lengths, and there calls are not compared.
        self.calls.note(Token::len(len.unwrap_or_default()));
        self.add(token.number());
        self.outer.push((self.content, 0));
        self.content = 0;
        Ok(0)
    }
}

impl Sink for Mixer {
    // Deep values were refused when they were written; here the limit need only hold off a recursion.
    const NAMED: bool = false;

    fn is_human_readable(&self) -> bool {
        self.human_readable
    }

    fn scalar<T: Scalar>(&mut self, value: T) -> Result<(), Fault> {
        self.note(T::TOKEN);
        let bits = value.bits();
        self.add(bits as u64);
        self.add((bits >> 64) as u64);
        Ok(())
    }

    fn text(&mut self, value: &str) -> Result<(), Fault> {
        self.note(Token::STR);
        self.add_bytes(value.as_bytes());
        Ok(())
    }

    /// As a sequence of `u8`, which a reader may take it for.
    fn bytes(&mut self, value: &[u8]) -> Result<(), Fault> {
        let mark = self.begin(Token::SEQ, Some(value.len()))?;
        for &byte in value {
            self.scalar(byte)?;
            self.end_item();
        }
        self.end_items(mark, true, value.len())
    }

    fn unit(&mut self) -> Result<(), Fault> {
        self.note(Token::UNIT);
        Ok(())
    }

    fn none(&mut self) -> Result<(), Fault> {
        self.note(Token::NONE);
        Ok(())
    }

    fn some(&mut self) -> Result<usize, Fault> {
        self.note(Token::SOME);
        Ok(0)
    }

    fn end_some(&mut self, _mark: usize) -> Result<(), Fault> {
        Ok(())
    }

    fn unit_variant(&mut self, index: u32, _name: &str) -> Result<(), Fault> {
        self.note(Token::variant(index));
        self.note(Token::UNIT);
        Ok(())
    }

    fn variant(&mut self, index: u32, _name: &str) -> Result<(), Fault> {
        self.note(Token::variant(index));
        Ok(())
    }

    fn tuple(&mut self, len: usize) -> Result<(), Fault> {
        self.note(Token::tuple(len));
        Ok(())
    }

    fn structure(&mut self, len: usize) -> Result<(), Fault> {
        self.tuple(len)
    }

    fn field(&mut self, name: &str) -> Result<(), Fault> {
        self.add_bytes(name.as_bytes());
        Ok(())
    }

    fn skip_field(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn seq(&mut self, len: Option<usize>) -> Result<usize, Fault> {
        self.begin(Token::SEQ, len)
    }

    fn map(&mut self, len: Option<usize>) -> Result<usize, Fault> {
        self.begin(Token::MAP, len)
    }

    fn end_item(&mut self) {
        let (_, sum) = self.outer.last_mut().expect("an item ends inside its sequence or map");
        *sum = sum.wrapping_add(mix(self.content));
        self.content = 0;
    }

    fn end_items(&mut self, _mark: usize, _announced: bool, count: usize) -> Result<(), Fault> {
        let (before, sum) = self.outer.pop().expect("a sequence or map ends after it began");
        self.content = before;
        self.add(sum);
        self.add(count as u64);
        Ok(())
    }
}
