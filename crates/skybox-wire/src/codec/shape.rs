//! What a payload's writing looked like, as numbers: which calls a `Serialize` made, in which order.
//!
//! A **token** stands for one call. A **segment** is a run of calls with no choice in it: it ends where an
//! `Option`, an enum, or the items of a sequence or map begin, and its number holds the way that led to it
//! from the value itself. So the set of segment numbers of a payload says which choices it made, and
//! where; two payloads with the same set differ only in values and in how often a choice was repeated.

use super::Form;
use super::proof::Table;

/// One call of a `Serialize` or `Deserialize`. Only kinds and counts: names do not count, `String` and
/// `&str` are the same, and so are tuples and structs of one length, as they are the same bytes.
///
/// Each is a number without a pattern, so that sums of them at different places collide by chance only.
#[derive(Clone, Copy)]
pub(super) struct Token(u64);

impl Token {
    pub(super) const UNIT: Self = Self::new(0, 1);
    pub(super) const NONE: Self = Self::new(0, 2);
    pub(super) const SOME: Self = Self::new(0, 3);
    pub(super) const STR: Self = Self::new(0, 4);
    pub(super) const BYTES: Self = Self::new(0, 5);
    pub(super) const SEQ: Self = Self::new(0, 6);
    pub(super) const MAP: Self = Self::new(0, 7);
    /// Stands for an option or enum as a whole in the segment around it, as the next two do for a sequence
    /// and a map. They differ from the tokens that begin those, or the segment after a sequence could have
    /// the number of the one inside.
    pub(super) const CHOICE: Self = Self::new(0, 8);
    pub(super) const SEQ_AS_WHOLE: Self = Self::new(0, 9);
    pub(super) const MAP_AS_WHOLE: Self = Self::new(0, 10);
    pub(super) const SKIPPED: Self = Self::new(0, 11);

    #[inline(always)]
    const fn new(class: u64, number: u64) -> Self {
        Self(mix(class << 56 ^ number))
    }

    pub(super) const fn scalar(kind: u64) -> Self {
        Self::new(1, kind)
    }

    #[inline(always)]
    pub(super) const fn variant(index: u32) -> Self {
        Self::new(2, index as u64)
    }

    #[inline(always)]
    pub(super) const fn tuple(len: usize) -> Self {
        Self::new(3, len as u64)
    }

    pub(super) const fn len(len: usize) -> Self {
        Self::new(4, len as u64)
    }

    /// A field's name, which counts only where names are written.
    pub(super) fn name(name: &str) -> Self {
        Self(name.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte))))
    }

    /// The token as a number of its own.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

/// splitmix64: every bit that comes in reaches every bit that goes out.
#[inline(always)]
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// One step over a run of tokens: a polynomial, so that the compiler folds straight runs, in a base that
/// is one instruction and, being odd, forgets nothing. This is the longest chain of dependent instructions
/// in an encoder: multiplying by a large number instead makes small structs a fifth dearer.
#[inline(always)]
pub(super) fn fold(hash: u64, token: Token) -> u64 {
    hash.wrapping_mul(9).wrapping_add(token.0)
}

/// Follows the writing of one payload and notices segments that its proof does not hold.
pub(super) struct Shape<'p> {
    /// The number of the segment so far.
    hash: u64,
    proven: Option<&'p Table>,
    /// Segments that are not proven, without repetition; at most what a table can take.
    unproven: Vec<u64>,
    unproven_max: usize,
    all_proven: bool,
}

impl<'p> Shape<'p> {
    /// The shape of a payload whose form is `form`; segments of different forms never have one number.
    #[inline]
    pub(super) fn new(proven: Option<&'p Table>, form: Form) -> Self {
        let unproven_max = Table::SEGMENTS_MAX;
        Self {
            hash: Token::new(5, form as u64).0,
            proven,
            unproven: Vec::new(),
            unproven_max,
            all_proven: true,
        }
    }

    /// A shape that nobody asks about.
    pub(super) fn muted() -> Self {
        Self { hash: 0, proven: None, unproven: Vec::new(), unproven_max: 0, all_proven: false }
    }

    #[inline(always)]
    pub(super) fn note(&mut self, token: Token) {
        self.hash = fold(self.hash, token);
    }

    #[inline(always)]
    pub(super) fn position(&self) -> u64 {
        self.hash
    }

    /// Goes on in a segment that begins at `position`.
    #[inline(always)]
    pub(super) fn resume(&mut self, position: u64) {
        self.hash = position;
    }

    /// Ends the segment.
    #[inline(always)]
    pub(super) fn settle(&mut self) {
        // Never zero, which marks a free slot.
        let segment = self.hash | 1;
        if !self.proven.is_some_and(|table| table.contains(segment)) {
            self.miss(segment);
        }
    }

    #[cold]
    #[inline(never)]
    fn miss(&mut self, segment: u64) {
        self.all_proven = false;
        if self.unproven.len() < self.unproven_max && !self.unproven.contains(&segment) {
            self.unproven.push(segment);
        }
    }

    #[inline]
    pub(super) fn is_proven(&self) -> bool {
        self.all_proven
    }

    pub(super) fn into_unproven(self) -> Vec<u64> {
        self.unproven
    }
}
