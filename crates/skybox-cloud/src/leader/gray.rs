//! Nodes that reach the store and are not reached by the others: gray failures.
//!
//! Such a node renews its lease, so it counts as alive, and whoever calls what it has waits in vain. Nodes say whom they
//! reach ([`Reach`]), and one that most of those who try do not reach for [`GRAY_AFTER`] is told to hand over what it has,
//! until they reach it again for as long.
//!
//! - One that does not reach most others itself is no witness: more likely that is its own fault.
//! - At least two must say so: of two nodes nobody can tell which of them is cut off.
//! - More than half of all nodes must have spoken at all: a leader on the smaller side of a cut hears nobody of the other one.
//! - More than a fifth of all nodes within 30 s (at least three), dead or not reached, are too many, as for the
//!   [brake](super::brake): more likely something else is broken, and to move all that they have would add to it. People can
//!   say go on. While the brake holds nodes back, nobody is judged either: those that die are not reached before their
//!   leases end.
//! - At least half of all nodes are left in use, whatever is said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skybox_core::{Incarnation, NodeName};
use tokio::time::Instant;

use super::brake::{Losses, TOGETHER, are_too_many};
use super::reports::Reach;
use crate::store::Revision;

/// For so long is it to be one or the other.
pub(crate) const GRAY_AFTER: Duration = Duration::from_secs(5);
/// So many have to say that they do not reach a node.
const WITNESSES_MIN: usize = 2;

/// A node that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) life: Incarnation,
    /// It counts as not reached.
    pub(crate) is_gray: bool,
    /// It may be given something.
    pub(crate) is_open: bool,
}

/// What is known of who is reached.
#[derive(Debug, Default)]
pub(crate) struct Gray {
    /// Since when most do not reach nodes that count as reached, or do reach those that do not.
    since: BTreeMap<Incarnation, Instant>,
    /// Those that were judged of late to be lost, and when.
    lost: BTreeMap<Incarnation, Instant>,
    /// When people have said go on the last time, and until when no number is too large since.
    released: Option<Revision>,
    goes_on_until: Option<Instant>,
}

/// What changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Nodes that are not reached, and the ones that say so.
    pub(crate) lost: BTreeMap<NodeName, BTreeSet<NodeName>>,
    /// Nodes that are reached again.
    pub(crate) back: BTreeSet<NodeName>,
    /// So many are not reached that none of them is told to hand over.
    pub(crate) too_many: usize,
}

impl Gray {
    /// Judges by what is said now. What is said stays until it is no more so: a verdict that was not carried out is given
    /// again.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        said: &[Reach],
        nodes: &BTreeMap<NodeName, Judged>,
        losses: Losses,
    ) -> Verdict {
        let is_of_now = |reach: &&Reach| nodes.get(&reach.by.0).is_some_and(|node| node.life == reach.by.1);
        let spoke: Vec<_> = said.iter().filter(is_of_now).collect();
        let released = losses.released.unwrap_or_default();
        if self.released.replace(released).is_some_and(|before| before != released) {
            self.goes_on_until = Some(now + TOGETHER);
        }
        self.lost.retain(|_, since| now.duration_since(*since) < TOGETHER);
        if nodes.values().all(|node| node.is_gray) {
            // The others have gone since. Nobody can say that it is reached, and nobody is left in whose place it could be.
            let back = nodes.iter().filter(|(_, node)| node.is_gray).map(|(name, _)| name.clone());
            return Verdict { back: back.collect(), ..Verdict::default() };
        }
        if spoke.len() * 2 <= nodes.len() {
            self.since.clear();
            return Verdict::default();
        }
        let reaches_most = |reach: &&Reach| {
            reach.unreached.len() < WITNESSES_MIN || reach.unreached.len() <= reach.reached.len()
        };
        let witnesses: Vec<_> = spoke.into_iter().filter(reaches_most).collect();
        let mut since = BTreeMap::new();
        let mut verdict = Verdict::default();
        let mut lost = Vec::new();
        for (name, node) in nodes {
            let others = || witnesses.iter().filter(|reach| reach.by.0 != *name);
            let against: BTreeSet<_> = others()
                .filter(|reach| reach.unreached.contains(name))
                .map(|reach| reach.by.0.clone())
                .collect();
            let for_it = others().filter(|reach| reach.reached.contains(name)).count();
            let differs = match node.is_gray {
                false => against.len() >= WITNESSES_MIN && against.len() > for_it,
                true => for_it > against.len(),
            };
            if !differs {
                continue;
            }
            let began =
                *since.entry(node.life).or_insert_with(|| *self.since.get(&node.life).unwrap_or(&now));
            let is_certain = now - began >= GRAY_AFTER;
            match node.is_gray {
                true if is_certain => drop(verdict.back.insert(name.clone())),
                true => {}
                false => lost.push((name, node.is_open, is_certain.then_some(against))),
            }
        }
        self.since = since;
        let is_new = |life: &&Incarnation| !lost.iter().any(|(name, ..)| nodes[*name].life == **life);
        let together = self.lost.keys().filter(is_new).count() + lost.len() + losses.of_late;
        let goes_on = self.goes_on_until.is_some_and(|until| now < until);
        if !goes_on && are_too_many(together, nodes.len() + losses.of_late) {
            let is_certain = lost.iter().any(|(.., against)| against.is_some());
            verdict.too_many = if is_certain { lost.len() } else { 0 };
        } else if !losses.held {
            let mut left = nodes.values().filter(|node| node.is_open && !node.is_gray).count();
            for (name, is_open, against) in lost {
                let would_be_left = left - usize::from(is_open);
                if let Some(against) = against.filter(|_| would_be_left * 2 >= nodes.len()) {
                    left = would_be_left;
                    self.lost.entry(nodes[name].life).or_insert(now);
                    verdict.lost.insert(name.clone(), against);
                }
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Losses = Losses { held: false, of_late: 0, released: Some(Revision(0)) };

    fn name(name: &str) -> NodeName {
        NodeName::new(name)
    }

    /// Nodes of these names; those in capitals count as not reached.
    fn nodes(names: &str) -> BTreeMap<NodeName, Judged> {
        let judged = |(at, letter): (usize, char)| {
            let judged =
                Judged { life: Incarnation(at as u64), is_gray: letter.is_uppercase(), is_open: true };
            (name(&letter.to_lowercase().to_string()), judged)
        };
        names.chars().enumerate().map(judged).collect()
    }

    /// What nodes say: `a+bc-d`, that a reaches b and c and not d.
    fn said(nodes: &BTreeMap<NodeName, Judged>, text: &str) -> Vec<Reach> {
        let letters = |text: &str| text.chars().map(|letter| name(&letter.to_string())).collect();
        let reach = |word: &str| {
            let (by, rest) = word.split_once('+').expect("by+reached-unreached");
            let (reached, unreached) = rest.split_once('-').expect("by+reached-unreached");
            let by = name(by);
            Reach {
                by: (by.clone(), nodes[&by].life),
                reached: letters(reached),
                unreached: letters(unreached),
            }
        };
        text.split_whitespace().map(reach).collect()
    }

    /// What comes of it if that is said for as long as it takes: `d` is not reached, `+d` is reached again.
    fn check(names: &str, text: &str, expect: &str) {
        let nodes = nodes(names);
        let said = said(&nodes, text);
        let mut gray = Gray::default();
        let start = Instant::now();
        assert_eq!(gray.look(start, &said, &nodes, NONE), Verdict::default(), "not at once: {text}");
        assert_eq!(
            gray.look(start + GRAY_AFTER / 2, &said, &nodes, NONE),
            Verdict::default(),
            "nor soon: {text}"
        );
        let verdict = gray.look(start + GRAY_AFTER, &said, &nodes, NONE);
        let lost = verdict.lost.keys().map(NodeName::to_string);
        let told: Vec<_> = lost.chain(verdict.back.iter().map(|name| format!("+{name}"))).collect();
        assert_eq!(told.join(" "), expect, "{names}: {text}");
    }

    #[test]
    fn most_of_those_who_try_have_to_say_so() {
        check("abcd", "a+bc-d b+ac-d c+ab-d", "d");
        check("abc", "a+b-c b+a-c", "c");
        check("abcd", "a+bc-d b+ac-d c+abd-", "d");
        check("abcde", "a+bce-d b+ace-d c+abde- e+abcd-", "");
        check("abcd", "a+bc-d", "");
        // Seven nodes, of which the leader hears three.
        check("abcdefg", "a+bc-de b+ac-de c+ab-ef", "");
        check("abcdefg", "a+bc-de b+ac-de c+ab-ef g+abcf-d", "d e");
        check("ab", "a+-b b+-a", "");
        check("abcd", "", "");
    }

    #[test]
    fn who_reaches_nobody_is_no_witness() {
        check("abcd", "a+-bcd b+cd-a c+bd-a d+bc-a", "a");
        check("abcd", "a+-bcd b+-acd c+-abd d+-abc", "");
        check("abcde", "a+b-cde b+acde- c+bde-a d+bce-a e+bcd-a", "a");
    }

    #[test]
    fn at_least_half_are_left() {
        check("abcdef", "a+bcd-ef b+acd-ef c+abd-ef d+abc-ef", "e f");
        check("abcdEf", "a+bcd-ef b+acd-ef c+abd-ef d+abc-ef", "f");
        check("abCD", "a+b-cd b+a-cd", "");
        check("aBc", "a+-bc c+-ab", "");
    }

    #[test]
    fn many_at_once_are_left_alone() {
        let everybody = "abcdefghij";
        let nodes = nodes(everybody);
        // What each of the first ones says of the last ones.
        let say = |unreached: usize| {
            let (alive, dead) = everybody.split_at(everybody.len() - unreached);
            let word = |by: char| format!("{by}+{}-{dead}", alive.replace(by, ""));
            said(&nodes, &alive.chars().map(word).collect::<Vec<_>>().join(" "))
        };
        let second = Duration::from_secs(1);
        let judge = |gray: &mut Gray, at: Instant, unreached: usize, losses: Losses| {
            let said = say(unreached);
            gray.look(at, &said, &nodes, losses);
            let verdict = gray.look(at + GRAY_AFTER, &said, &nodes, losses);
            (verdict.lost.len(), verdict.too_many)
        };
        let held = Losses { held: true, ..NONE };
        let dead = Losses { of_late: 2, ..NONE };
        for (unreached, losses, expect) in
            [(2, NONE, (2, 0)), (2, held, (0, 0)), (3, NONE, (0, 3)), (4, NONE, (0, 4)), (1, dead, (0, 1))]
        {
            let told = judge(&mut Gray::default(), Instant::now(), unreached, losses);
            assert_eq!(told, expect, "{unreached} of ten, {losses:?}");
        }
        let (mut gray, start) = (Gray::default(), Instant::now());
        assert_eq!(judge(&mut gray, start, 2, NONE), (2, 0));
        assert_eq!(judge(&mut gray, start + second * 10, 3, NONE), (0, 3), "one more, with those before");
        let released = Losses { released: Some(Revision(9)), ..NONE };
        assert_eq!(judge(&mut gray, start + second * 20, 3, released), (3, 0), "people have said go on");
    }

    #[test]
    fn what_was_lost_long_ago_is_not_lost_at_once() {
        let nodes = nodes("abcdefghIJ");
        let words = "abcdefg".chars().map(|by| format!("{by}+{}-hij", "abcdefg".replace(by, "")));
        let said = said(&nodes, &words.collect::<Vec<_>>().join(" "));
        let (mut gray, start) = (Gray::default(), Instant::now());
        gray.look(start, &said, &nodes, NONE);
        let verdict = gray.look(start + GRAY_AFTER, &said, &nodes, NONE);
        assert_eq!(verdict.lost.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["h"]);
    }

    #[test]
    fn nodes_that_get_nothing_more_are_witnesses_still() {
        let mut nodes = nodes("abC");
        nodes.values_mut().filter(|node| !node.is_gray).for_each(|node| node.is_open = false);
        let said = said(&nodes, "a+b-c b+a-c");
        let (mut gray, start) = (Gray::default(), Instant::now());
        gray.look(start, &said, &nodes, NONE);
        assert_eq!(gray.look(start + GRAY_AFTER, &said, &nodes, NONE), Verdict::default());
    }

    #[test]
    fn it_is_back_when_most_reach_it() {
        check("abcD", "a+bcd- b+acd- c+abd-", "+d");
        check("abcD", "a+bcd- b+acd- c+ab-d", "+d");
        check("abcD", "a+bcd- b+ac-d c+ab-d", "");
        check("abcD", "", "");
    }

    #[test]
    fn who_is_alone_is_back() {
        for (names, expect) in [("C", "c"), ("CD", "c d")] {
            let verdict = Gray::default().look(Instant::now(), &[], &nodes(names), NONE);
            let back: Vec<_> = verdict.back.iter().map(NodeName::as_str).collect();
            assert_eq!((back.join(" ").as_str(), verdict.lost.len()), (expect, 0));
        }
    }

    #[test]
    fn it_has_to_be_so_all_the_time_and_is_of_one_life() {
        let before = nodes("abcd");
        let (bad, good) = (said(&before, "a+bc-d b+ac-d c+ab-d"), said(&before, "a+bcd- b+acd- c+abd-"));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut gray = Gray::default();
        for (after, said) in [(0, &bad), (4, &bad), (5, &good), (6, &bad), (10, &bad)] {
            assert_eq!(gray.look(start + second * after, said, &before, NONE), Verdict::default(), "{after}");
        }
        let mut anew = before.clone();
        anew.get_mut(&name("d")).expect("it is there").life = Incarnation(9);
        assert_eq!(gray.look(start + second * 11, &bad, &anew, NONE), Verdict::default());
        let verdict = gray.look(start + second * 16, &bad, &anew, NONE);
        assert_eq!(verdict.lost[&name("d")], ["a", "b", "c"].map(name).into());
    }
}
