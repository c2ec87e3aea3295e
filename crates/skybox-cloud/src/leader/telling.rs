//! What the leader does by itself, for people who ask later: which line goes with which write.

use std::collections::{BTreeMap, BTreeSet};

use skybox_core::NodeName;
use skybox_plan::place::Move;

use super::decide::{Seen, Write};
use super::key_of;
use crate::history::{Author, Line, What};
use crate::records::{AGAIN, ASSIGN, Assign, DEGRADED, Degraded, OWN, PLACE, Row};
use crate::store::{Op, View};

/// Lines, each of which is written with the first write of those that it tells of.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// By the key of a write.
    at: BTreeMap<String, usize>,
    written: BTreeSet<usize>,
}

impl Lines {
    /// Of one decision. `degraded`: what is written of that.
    pub(super) fn of(
        author: &Author<'_>,
        moves: &[Move],
        writes: &[Write],
        seen: &Seen,
        degraded: &View,
    ) -> Lines {
        let mut lines = Lines::default();
        let mut of_modules = BTreeMap::<&str, Vec<&Move>>::new();
        moves.iter().for_each(|one| of_modules.entry(&one.module).or_default().push(one));
        let mut placed = BTreeMap::new();
        for write in writes {
            let key = key_of(&write.op);
            let line = if let Some((module, moves)) =
                module_in(key).and_then(|of| of_modules.get_key_value(of))
            {
                let at = *placed.entry(*module).or_insert_with(|| lines.push(told(author, module, moves)));
                lines.at.insert(key.to_owned(), at);
                continue;
            } else if let (Op::Delete(_), true) = (&write.op, key.starts_with(ASSIGN)) {
                seen.assigns.get(key).map(|row| gone(author, row, seen))
            } else if key == DEGRADED {
                held_back(author, &write.op, degraded)
            } else {
                tried_again(author, &write.op)
            };
            if let Some(line) = line {
                let at = lines.push(line);
                lines.at.insert(key.to_owned(), at);
            }
        }
        lines
    }

    fn push(&mut self, line: Line) -> usize {
        self.lines.push(line);
        self.lines.len() - 1
    }

    /// Those that have to be written with these, and which they are.
    pub(super) fn with(&self, writes: &[Write]) -> (Vec<usize>, Vec<Line>) {
        let at = writes.iter().filter_map(|write| self.at.get(key_of(&write.op)));
        let at: BTreeSet<_> = at.copied().filter(|at| !self.written.contains(at)).collect();
        at.into_iter().map(|at| (at, self.lines[at].clone())).unzip()
    }

    /// These are written.
    pub(super) fn are_written(&mut self, lines: Vec<usize>) {
        self.written.extend(lines);
    }
}

/// The module whose place such a key is about.
fn module_in(key: &str) -> Option<&str> {
    match key.strip_prefix(PLACE) {
        None => Some(key.strip_prefix(OWN)?.rsplit_once('/')?.0),
        module => module,
    }
}

fn told(author: &Author<'_>, module: &str, moves: &[&Move]) -> Line {
    let (from, to) =
        (moves.iter().map(|one| (&one.from, one.shards)), moves.iter().map(|one| (&one.to, one.shards)));
    let reasons: BTreeSet<_> = moves.iter().map(|one| one.reason).collect();
    let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    Line {
        before: places(from),
        after: places(to),
        why: reasons.join(", "),
        ..author.line(What::Placed, module)
    }
}

/// `a, b`; of keyed modules `512 shards of a, 3 of b`.
fn places<'m>(of: impl Iterator<Item = (&'m Option<NodeName>, u16)>) -> String {
    let mut places = BTreeMap::<Option<&NodeName>, u32>::new();
    for (node, shards) in of {
        *places.entry(node.as_ref()).or_default() += u32::from(shards);
    }
    let name = |node: Option<&NodeName>| node.map_or("nobody".to_owned(), NodeName::to_string);
    if places.values().any(|shards| *shards > 0) {
        let mut unit = " shards";
        let place = |(node, shards)| format!("{shards}{} of {}", std::mem::take(&mut unit), name(node));
        return places.into_iter().map(place).collect::<Vec<_>>().join(", ");
    }
    let nodes: Vec<_> = places.into_keys().flatten().map(|node| name(Some(node))).collect();
    if nodes.is_empty() { "nowhere".to_owned() } else { nodes.join(", ") }
}

/// A node that had something is none any more.
fn gone(author: &Author<'_>, row: &Row<Assign>, seen: &Seen) -> Line {
    let node = &row.value.node;
    let is_back = seen.nodes.iter().any(|(_, row)| row.value.name == node.name);
    let (what, why) = match (node.draining, is_back) {
        (true, _) => (What::Left, ""),
        (false, true) => (What::Lost, "its process has ended, and another one of its name is there"),
        (false, false) => (What::Lost, "its lease has ended"),
    };
    Line { why: why.to_owned(), ..author.line(what, node.name.as_str()) }
}

fn held_back(author: &Author<'_>, op: &Op, before: &View) -> Option<Line> {
    let before = before.entries.get(DEGRADED);
    let Op::Put { value, .. } = op else { return Some(author.line(What::HeldNoMore, "")) };
    // The next leader says the same on its own lease.
    let is_new = before.is_none_or(|before| before.value != *value);
    let held = serde_json::from_str::<Degraded>(value).ok().filter(|_| is_new)?.held;
    let after = held.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
    let why = "too many nodes were lost at once".to_owned();
    Some(Line { after, why, ..author.line(What::HeldBack, "") })
}

fn tried_again(author: &Author<'_>, op: &Op) -> Option<Line> {
    let Op::Put { key, value, .. } = op else { return None };
    let module = key.strip_prefix(AGAIN)?;
    Some(Line { why: serde_json::from_str(value).unwrap_or_default(), ..author.line(What::TryAgain, module) })
}

#[cfg(test)]
mod tests {
    use skybox_plan::place::Reason;

    use super::*;

    fn one(module: &str, from: &str, to: &str, shards: u16, reason: Reason) -> Move {
        let node = |name: &str| (!name.is_empty()).then(|| NodeName::new(name));
        Move { module: module.to_owned(), from: node(from), to: node(to), shards, reason }
    }

    fn lines(moves: &[Move], writes: &[&str]) -> Lines {
        let put = |key: &&str| Write { when: Vec::new(), op: Op::put(*key, "{}") };
        let writes: Vec<_> = writes.iter().map(put).collect();
        let author = Author { by: "leader", at: "a" };
        Lines::of(&author, moves, &writes, &Seen::default(), &View::default())
    }

    #[test]
    fn a_line_says_what_went_from_where_to_where_and_why() {
        let moves = [
            one("catalog", "a", "b", 0, Reason::Repair),
            one("search", "", "b", 0, Reason::New),
            one("search", "", "c", 0, Reason::New),
            one("carts", "a", "b", 300, Reason::Drain),
            one("carts", "a", "c", 41, Reason::Repair),
            one("carts", "", "c", 1, Reason::New),
        ];
        let lines = lines(&moves, &["place/catalog", "place/search", "own/carts/0001", "route/catalog"]);
        let told: Vec<_> =
            lines.lines.iter().map(|line| (&*line.of, &*line.before, &*line.after, &*line.why)).collect();
        assert_eq!(
            told,
            [
                ("catalog", "a", "b", "repair"),
                ("search", "nowhere", "b, c", "new"),
                ("carts", "1 shards of nobody, 341 of a", "300 shards of b, 42 of c", "new, repair, drain"),
            ]
        );
    }

    #[test]
    fn a_line_goes_with_the_first_write_of_what_it_tells() {
        let moves = [one("carts", "a", "b", 2, Reason::Drain)];
        let keys = ["own/carts/0001", "own/carts/0002", "place/carts", "route/carts"];
        let mut lines = lines(&moves, &keys);
        let write = |key: &str| Write { when: Vec::new(), op: Op::put(key, "{}") };
        assert_eq!(lines.with(&[write("route/carts")]).0, Vec::<usize>::new());
        let (at, with) = lines.with(&[write(keys[0]), write(keys[1])]);
        assert_eq!((at.len(), with.len()), (1, 1));
        // That was not carried out: it goes with the next one.
        let (at, _) = lines.with(&[write(keys[1])]);
        assert_eq!(at.len(), 1);
        lines.are_written(at);
        assert_eq!(lines.with(&[write(keys[2])]).0, Vec::<usize>::new());
    }
}
