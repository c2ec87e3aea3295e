//! Who has changed what: a line for each thing that people have ordered, and for what the leader has done by itself.
//!
//! A line is written in the transaction of the change that it tells of, so neither is there without the other. Lines are
//! numbered without a gap. The key `history` has the number that comes next; each transaction with a line asks that to be
//! unchanged, so no two have the same. The line of a number has one of [`LINES_MAX`] keys, which it takes over from the
//! oldest: there are never more.
//!
//! Start reading at `change`, by which orders change something; `undo.rs` says which line can be taken back.

mod undo;

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use skybox_core::NodeName;

use crate::records::{CORDON, FREEZE, HISTORY, HISTORY_NEXT, PIN, Pin, SCALE, Scale, text};
use crate::store::{Committed, Condition, Entry, Op, Store, StoreError, Txn};
pub(crate) use undo::undo;

/// So many lines are kept; the oldest go.
pub const LINES_MAX: u64 = 1_000;
/// Bytes of each text of a line. What is longer is cut, and ends with `…`.
const TEXT_BYTES_MAX: usize = 256;
/// Bytes of what a key was and is that a line keeps. What is longer cannot be taken back.
const CHANGE_BYTES_MAX: usize = 1 << 10;
/// How often a change is tried while others change things in the same moment, each of whom gets on by that.
const ATTEMPTS_MAX: usize = 64;

/// One thing that somebody has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which one, from 1.
    pub number: u64,
    /// Milliseconds since 1970, by the clock of the node.
    pub at_ms: u64,
    /// Who: `operator ada` by a certificate, `user ada` of the node's machine, or `leader`.
    pub by: String,
    /// The node that was asked, or that leads; `the parent` of one machine.
    pub at: String,
    /// What.
    pub what: What,
    /// The module or node that it is about; empty where it is about the whole cloud.
    #[serde(default)]
    pub of: String,
    /// What was before, for people.
    #[serde(default)]
    pub before: String,
    /// What is since.
    #[serde(default)]
    pub after: String,
    /// Why, where somebody has said so.
    #[serde(default)]
    pub why: String,
    /// The line that this one takes back.
    #[serde(default)]
    pub undoes: Option<u64>,
    /// The key that was changed, of what can be taken back.
    #[serde(default)]
    pub change: Option<Change>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum What {
    /// People have said where a module belongs.
    Move,
    /// People have said how many there are of a module.
    Scale,
    /// People have said that a node gets nothing more.
    Cordon,
    /// People have taken that back.
    Uncordon,
    /// People have said that nothing is to move that need not.
    Freeze,
    /// People have taken that back.
    Unfreeze,
    /// A module is to be tried again where it was given up.
    TryAgain,
    /// People have said that nodes which were held back are gone for good.
    GoOn,
    /// People have taken another line back.
    Undo,
    /// The leader has given instances or shards of a module to other nodes.
    Placed,
    /// A node was taken for lost.
    Lost,
    /// A node has left.
    Left,
    /// Too many nodes were lost at once: nothing of theirs is given to others.
    HeldBack,
    /// Nothing is held back any more.
    HeldNoMore,
}

/// A key, and what it was and is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its value before; nothing if it was not there.
    pub before: Option<String>,
    /// Its value since.
    pub after: Option<String>,
    /// The values were too long to be kept.
    #[serde(default)]
    pub cut: bool,
}

/// Who changes something, and where they say so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author<'a> {
    pub(crate) by: &'a str,
    pub(crate) at: &'a str,
}

impl Author<'_> {
    /// A line that has no number yet.
    pub(crate) fn line(&self, what: What, of: &str) -> Line {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Line {
            number: 0,
            at_ms: now.as_millis() as u64,
            by: self.by.to_owned(),
            at: self.at.to_owned(),
            what,
            of: of.to_owned(),
            before: String::new(),
            after: String::new(),
            why: String::new(),
            undoes: None,
            change: None,
        }
    }
}

impl Line {
    /// The same, no longer than it may be.
    fn bounded(mut self) -> Line {
        for text in
            [&mut self.by, &mut self.at, &mut self.of, &mut self.before, &mut self.after, &mut self.why]
        {
            cut(text);
        }
        if let Some(change) = &mut self.change {
            let bytes = |value: &Option<String>| value.as_ref().map_or(0, String::len);
            if bytes(&change.before) + bytes(&change.after) > CHANGE_BYTES_MAX {
                (change.before, change.after, change.cut) = (None, None, true);
            }
        }
        self
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// What the key of the next number has.
#[derive(Debug, Serialize, Deserialize)]
struct Next {
    next: u64,
}

/// The next number, as it was read.
#[derive(Clone, Copy, Debug)]
struct Count {
    next: u64,
    unchanged: Option<crate::store::Revision>,
}

impl Count {
    fn of(entry: Option<&Entry>) -> Count {
        let next = entry.and_then(|entry| serde_json::from_str::<Next>(&entry.value).ok());
        Count { next: next.map_or(1, |next| next.next.max(1)), unchanged: entry.map(|entry| entry.changed) }
    }

    /// Adds these lines to what is done, under the condition that nobody else has taken their numbers.
    fn stamp(self, txn: &mut Txn, lines: impl IntoIterator<Item = Line>) {
        let mut next = self.next;
        for line in lines {
            let line = Line { number: next, ..line }.bounded();
            txn.then.push(Op::put(key_of(next), text(&line)));
            next += 1;
        }
        txn.when.push(is_unchanged(HISTORY_NEXT, self.unchanged));
        txn.then.push(Op::put(HISTORY_NEXT, text(&Next { next })));
    }
}

/// The key of a line.
fn key_of(number: u64) -> String {
    format!("{HISTORY}{:03}", number % LINES_MAX)
}

fn is_unchanged(key: &str, changed: Option<crate::store::Revision>) -> Condition {
    match changed {
        Some(changed) => Condition::ChangedAt(key.to_owned(), changed),
        None => Condition::Absent(key.to_owned()),
    }
}

fn too_busy() -> StoreError {
    let why = format!("others have changed something {ATTEMPTS_MAX} times meanwhile");
    StoreError::Unreachable { why, may_have_run: false }
}

/// Whoever writes lines one after the other, and remembers which number comes next.
#[derive(Debug, Default)]
pub(crate) struct Pen(Option<Count>);

impl Pen {
    /// Carries a transaction out, which does nothing otherwise, with lines that tell of it: all of it or nothing.
    ///
    /// # Errors
    /// As those of [`Store::commit`].
    pub(crate) async fn commit(
        &mut self,
        store: &Arc<dyn Store>,
        txn: Txn,
        lines: &[Line],
    ) -> Result<Committed, StoreError> {
        debug_assert!(txn.otherwise.is_empty(), "this reads there which number comes next");
        if lines.is_empty() {
            return store.commit(txn).await;
        }
        let mut count = match self.0.take() {
            Some(count) => count,
            None => {
                Count::of(store.commit(Txn::of([Op::Get(HISTORY_NEXT.to_owned())])).await?.got[0].as_ref())
            }
        };
        for _ in 0..ATTEMPTS_MAX {
            let mut with = txn.clone().otherwise([Op::Get(HISTORY_NEXT.to_owned())]);
            count.stamp(&mut with, lines.iter().cloned());
            let mut committed = store.commit(with).await?;
            if committed.met {
                let next = count.next + lines.len() as u64;
                self.0 = Some(Count { next, unchanged: Some(committed.revision) });
                return Ok(committed);
            }
            let now = Count::of(committed.got.pop().flatten().as_ref());
            if now.unchanged == count.unchanged {
                // Something else was not as it has to be.
                self.0 = Some(now);
                return Ok(committed);
            }
            count = now;
        }
        Err(too_busy())
    }
}

/// Gives a key another value, or none, as somebody has said; `also` goes with it.
///
/// # Errors
/// As those of [`Store::commit`].
pub(crate) async fn change(
    store: &Arc<dyn Store>,
    line: Line,
    key: &str,
    value: Option<String>,
    also: &[Op],
) -> Result<Committed, StoreError> {
    let read = || [Op::Get(key.to_owned()), Op::Get(HISTORY_NEXT.to_owned())];
    let mut got = store.commit(Txn::of(read())).await?.got;
    for _ in 0..ATTEMPTS_MAX {
        let count = Count::of(got.pop().flatten().as_ref());
        let entry = got.pop().flatten();
        let before = entry.as_ref().map(|entry| entry.value.clone());
        let line = Line {
            before: shown(key, before.as_deref()),
            after: shown(key, value.as_deref()),
            change: Some(Change { key: key.to_owned(), before, after: value.clone(), cut: false }),
            ..line.clone()
        };
        let mut txn = Txn::of(also.iter().cloned().chain([said(key, value.clone())])).otherwise(read());
        txn.when.push(is_unchanged(key, entry.map(|entry| entry.changed)));
        count.stamp(&mut txn, [line]);
        let committed = store.commit(txn).await?;
        if committed.met {
            return Ok(committed);
        }
        got = committed.got;
    }
    Err(too_busy())
}

fn said(key: &str, value: Option<String>) -> Op {
    match value {
        Some(value) => Op::put(key, value),
        None => Op::Delete(key.to_owned()),
    }
}

/// What a key says, for people.
fn shown(key: &str, value: Option<&str>) -> String {
    let unknown = || "something that this version does not know".to_owned();
    match value {
        value if key.starts_with(CORDON) => {
            if value.is_some() { "given nothing more" } else { "given things" }.to_owned()
        }
        value if key == FREEZE => {
            if value.is_some() { "nothing moves that need not" } else { "things move" }.to_owned()
        }
        None if key.starts_with(PIN) => "anywhere".to_owned(),
        None if key.starts_with(SCALE) => "as the program says".to_owned(),
        Some(value) if key.starts_with(PIN) => serde_json::from_str::<Pin>(value).map_or_else(
            |_| unknown(),
            |pin| pin.nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", "),
        ),
        Some(value) if key.starts_with(SCALE) => serde_json::from_str::<Scale>(value)
            .map_or_else(|_| unknown(), |scale| scale.replicas.to_string()),
        _ => String::new(),
    }
}

/// All lines, the newest last.
///
/// # Errors
/// As those of [`Store::list`].
pub(crate) async fn lines(store: &Arc<dyn Store>) -> Result<Vec<Line>, StoreError> {
    let listed = store.list(HISTORY).await?;
    let read = listed.entries.iter().filter_map(|entry| {
        // What another version has written there is its to read.
        serde_json::from_str::<Line>(&entry.value).ok()
    });
    let mut lines: Vec<_> = read.collect();
    lines.sort_by_key(|line| line.number);
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_longer_than_it_may_be() {
        let author = Author { by: &"é".repeat(1_000), at: "a" };
        let long = Some("x".repeat(CHANGE_BYTES_MAX));
        let change =
            Change { key: "pin/a".into(), before: long.clone(), after: Some("y".into()), cut: false };
        let line = Line { change: Some(change), after: "z".repeat(300), ..author.line(What::Move, "a") };
        let line = line.bounded();
        assert!(line.by.ends_with("é…") && line.by.len() <= TEXT_BYTES_MAX + '…'.len_utf8(), "{}", line.by);
        assert_eq!(line.after.chars().count(), TEXT_BYTES_MAX + 1);
        let change = line.change.expect("it says what was changed");
        assert_eq!((change.before, change.after, change.cut), (None, None, true));
    }

    #[test]
    fn keys_are_told_as_people_say_them() {
        for (key, value, told) in [
            ("pin/a", Some(r#"{"nodes":["b","c"]}"#), "b, c"),
            ("pin/a", None, "anywhere"),
            ("scale/a", Some(r#"{"replicas":"1..=8"}"#), "1..=8"),
            ("scale/a", None, "as the program says"),
            ("scale/a", Some("?"), "something that this version does not know"),
            ("cordon/a", Some("{}"), "given nothing more"),
            ("cordon/a", None, "given things"),
            ("freeze", Some("1"), "nothing moves that need not"),
            ("freeze", None, "things move"),
            ("brake", Some("1"), ""),
        ] {
            assert_eq!(shown(key, value), told, "{key} {value:?}");
        }
    }
}
