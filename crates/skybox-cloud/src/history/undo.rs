//! Taking back what people have ordered.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ATTEMPTS_MAX, Author, Change, Count, Line, What, is_unchanged, lines, said, shown, too_busy};
use crate::records::{AGAIN, HISTORY_NEXT, PIN, text};
use crate::store::{Op, Store, StoreError, Txn};

/// Whether what was at a key may be there again, as it was; why not, if not.
pub(crate) type May<'m> = dyn Fn(&str, Option<&str>) -> Result<(), String> + Send + Sync + 'm;

/// Takes the line of this number back, or the last one that can be; says what that has written, or why it cannot be.
///
/// `may`: what else is to be so of a key that gets its value back.
///
/// # Errors
/// As those of [`Store::commit`].
pub(crate) async fn undo(
    store: &Arc<dyn Store>,
    author: &Author<'_>,
    number: Option<u64>,
    may: &May<'_>,
) -> Result<Result<Line, String>, StoreError> {
    for _ in 0..ATTEMPTS_MAX {
        // Before the lines: that it is unchanged says that these are all.
        let count = store.commit(Txn::of([Op::Get(HISTORY_NEXT.to_owned())])).await?.got.pop().flatten();
        let lines = lines(store).await?;
        let (line, change) = match chosen(&lines, number) {
            Ok(chosen) => chosen,
            Err(why) => return Ok(Err(why)),
        };
        let entry = store.commit(Txn::of([Op::Get(change.key.clone())])).await?.got.pop().flatten();
        let now = entry.as_ref().map(|entry| &entry.value);
        if now != change.after.as_ref() {
            let now = shown(&change.key, now.map(String::as_str));
            return Ok(Err(format!("{} has been changed since by no order: it is `{now}` now", name(line))));
        }
        if let Err(why) = may(&change.key, change.before.as_deref()) {
            return Ok(Err(why));
        }
        let undone = Line {
            before: shown(&change.key, change.after.as_deref()),
            after: shown(&change.key, change.before.as_deref()),
            undoes: Some(line.number),
            change: Some(Change {
                key: change.key.clone(),
                before: change.after.clone(),
                after: change.before.clone(),
                cut: false,
            }),
            ..author.line(What::Undo, &line.of)
        };
        let mut txn = Txn::of([said(&change.key, change.before.clone())]);
        if let (Some(module), Some(_)) = (change.key.strip_prefix(PIN), &change.before) {
            // Whoever says where it belongs wants it tried there.
            txn.then.push(Op::put(format!("{AGAIN}{module}"), text(&"moved back")));
        }
        txn.when.push(is_unchanged(&change.key, entry.map(|entry| entry.changed)));
        let count = Count::of(count.as_ref());
        count.stamp(&mut txn, [undone.clone()]);
        if store.commit(txn).await?.met {
            return Ok(Ok(Line { number: count.next, ..undone }));
        }
    }
    Err(too_busy())
}

fn name(line: &Line) -> String {
    match line.of.as_str() {
        "" => format!("what {} says", line.number),
        of => format!("what {} says of {of}", line.number),
    }
}

/// The lines that others have taken back, and by which: one that was taken back itself has taken nothing back.
fn taken_back(lines: &[Line]) -> BTreeMap<u64, u64> {
    let mut back = BTreeMap::new();
    for line in lines.iter().rev() {
        if let Some(undone) = line.undoes
            && !back.contains_key(&line.number)
        {
            back.insert(undone, line.number);
        }
    }
    back
}

/// The line that is taken back, and what it has changed; or why none is.
fn chosen(lines: &[Line], number: Option<u64>) -> Result<(&Line, &Change), String> {
    let back = taken_back(lines);
    let Some(number) = number else {
        let can_be = |line: &&Line| {
            let changes =
                line.change.as_ref().is_some_and(|change| !change.cut && change.before != change.after);
            changes && line.undoes.is_none() && !back.contains_key(&line.number)
        };
        let last = lines.iter().rev().find(can_be);
        let last = last.and_then(|line| Some((line, line.change.as_ref()?)));
        return last.ok_or_else(|| "nothing that was ordered is left to be taken back".to_owned());
    };
    let Some(line) = lines.iter().find(|line| line.number == number) else {
        let known = match lines {
            [] => "nothing has been ordered yet".to_owned(),
            [first, .., last] => format!("the history goes from {} to {}", first.number, last.number),
            [only] => format!("the history has {} alone", only.number),
        };
        return Err(format!("there is no {number}: {known}"));
    };
    let change = match (&line.change, line.what) {
        (Some(change), _) => change,
        (None, What::GoOn) => {
            return Err(format!(
                "{number} is a go-on, and cannot be taken back: others have what those nodes had"
            ));
        }
        (None, What::TryAgain) => {
            return Err(format!(
                "{number} had {} tried again, and cannot be taken back: that has happened",
                line.of
            ));
        }
        (None, _) => return Err(format!("{number} is no order: the leader did it, for reasons of its own")),
    };
    if let Some(by) = back.get(&number) {
        return Err(format!("{number} has been taken back already, by {by}"));
    }
    if change.cut {
        return Err(format!("{number} cannot be taken back: what was before was too long to be kept"));
    }
    if change.before == change.after {
        return Err(format!("{number} has changed nothing"));
    }
    let stands = |later: &&Line| {
        let of_it = later
            .change
            .as_ref()
            .is_some_and(|other| other.key == change.key && (other.cut || other.before != other.after));
        let cancels =
            later.undoes.is_some_and(|undone| undone > number && back.get(&undone) == Some(&later.number));
        later.number > number && of_it && !back.contains_key(&later.number) && !cancels
    };
    match lines.iter().find(stands) {
        Some(later) => Err(format!(
            "{number} cannot be taken back: {} has changed the same thing since, from `{}` to `{}`",
            later.number, later.before, later.after
        )),
        None => Ok((line, change)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that were written one after the other: which key got which value, or which line was taken back.
    #[derive(Clone, Copy)]
    enum Said {
        Key(&'static str, Option<&'static str>),
        Undo(u64),
        Leader,
    }
    use Said::{Key, Leader, Undo};

    fn written(said: &[Said]) -> Vec<Line> {
        let author = Author { by: "user ada", at: "a" };
        let mut lines = Vec::<Line>::new();
        let mut values = BTreeMap::<String, String>::new();
        for said in said {
            let (what, key, value, undoes) = match said {
                Key(key, value) => (What::Move, (*key).to_owned(), value.map(str::to_owned), None),
                Undo(number) => {
                    let change = lines[*number as usize - 1].change.clone().expect("it can be");
                    (What::Undo, change.key, change.before, Some(*number))
                }
                Leader => (What::Placed, String::new(), None, None),
            };
            let before = match &value {
                Some(value) => values.insert(key.clone(), value.clone()),
                None => values.remove(&key),
            };
            let number = lines.len() as u64 + 1;
            let change = Change { key, before, after: value, cut: false };
            let change = (what != What::Placed).then_some(change);
            lines.push(Line { number, undoes, change, ..author.line(what, "m") });
        }
        lines
    }

    #[track_caller]
    fn check(said: &[Said], number: Option<u64>, expect: Result<u64, &str>) {
        match (chosen(&written(said), number).map(|(line, _)| line.number), expect) {
            (Ok(chosen), Ok(expect)) => assert_eq!(chosen, expect),
            (Err(why), Err(expect)) => assert!(why.contains(expect), "{why}"),
            (chosen, expect) => panic!("{chosen:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn the_last_one_that_can_be_is_taken_back_one_before_the_other() {
        let (one, two) = (Key("pin/a", Some("1")), Key("pin/b", Some("2")));
        check(&[], None, Err("nothing that was ordered is left"));
        check(&[one, two, Leader], None, Ok(2));
        check(&[one, two, Undo(2), Leader], None, Ok(1));
        check(&[one, two, Undo(2), Undo(1)], None, Err("nothing that was ordered is left"));
        check(&[one, one], None, Ok(1));
        // One of a key after the other.
        let three = Key("pin/a", Some("3"));
        check(&[one, three], None, Ok(2));
        check(&[one, three, Undo(2)], None, Ok(1));
        check(&[one, three, Undo(2), Undo(3)], None, Ok(2));
    }

    #[test]
    fn what_was_changed_since_is_not_taken_back() {
        let (one, two, three) = (Key("pin/a", Some("1")), Key("pin/b", Some("2")), Key("pin/a", None));
        check(&[one, two], Some(1), Ok(1));
        check(&[one, two, three], Some(1), Err("3 has changed the same thing since"));
        check(&[one, two, three, Undo(3)], Some(1), Ok(1));
        check(&[one, two, three, Undo(3), Undo(4)], Some(1), Err("3 has changed the same thing since"));
        check(&[one, Undo(1)], Some(1), Err("1 has been taken back already, by 2"));
        check(&[one, Undo(1)], Some(2), Ok(2));
        check(&[one, Undo(1), Undo(2)], Some(1), Ok(1));
        check(&[one, one], Some(2), Err("2 has changed nothing"));
        check(&[one, one], Some(1), Ok(1));
        check(&[one, Leader], Some(2), Err("2 is no order"));
        check(&[one, Leader], Some(7), Err("there is no 7: the history goes from 1 to 2"));
        check(&[one], Some(0), Err("the history has 1 alone"));
        check(&[], Some(1), Err("nothing has been ordered yet"));
    }
}
