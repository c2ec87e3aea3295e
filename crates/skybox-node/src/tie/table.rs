//! Which instance falls with which: the ties of one node, as data.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use skybox_core::InstanceId;

/// Ties of one node: beyond, a link is refused with `Overloaded`. Each has a task, of about half a kilobyte.
pub(super) const TIES_MAX: usize = 1 << 20;

/// Ties that are no more of which the last order is known still. What may come late is what a connection that has broken
/// had on its way, which is no more calls than that; all of these take eight megabytes at the most.
const PAST_MAX: usize = 1 << 16;

/// Of two instances, the one that falls when the other has fallen, and that other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) near: InstanceId,
    pub(super) far: InstanceId,
}

/// Whoever sees to each tie is kept with it.
///
/// Orders for one pair are numbered by one node. An order that comes late, behind a younger one, changes nothing: nor does
/// one that comes a second time, after what it has made is no more.
#[derive(Debug)]
pub(super) struct Table<K> {
    ties: HashMap<Pair, Tie<K>>,
    /// Of those that are no more, the youngest order.
    past: HashMap<Pair, u64>,
    /// The same, oldest first.
    past_in_turn: VecDeque<(Pair, u64)>,
    /// Counts the ties that were made.
    made: u64,
    max: usize,
}

#[derive(Debug)]
struct Tie<K> {
    made: u64,
    /// The last order that wanted it.
    order: u64,
    keeper: K,
}

/// There are as many as there may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<K> Table<K> {
    pub(super) fn new(max: usize) -> Table<K> {
        Table { ties: HashMap::new(), past: HashMap::new(), past_in_turn: VecDeque::new(), made: 0, max }
    }

    /// Has one fall with the other. Where it does so already, `keep` is not asked for a keeper, who is told which tie it
    /// keeps. Gives who keeps it; nobody, where the order comes too late.
    pub(super) fn begin(
        &mut self,
        pair: Pair,
        order: u64,
        keep: impl FnOnce(u64) -> K,
    ) -> Result<Option<&K>, Full> {
        if self.past.get(&pair).is_some_and(|past| *past >= order) {
            return Ok(None);
        }
        let count = self.ties.len();
        match self.ties.entry(pair) {
            Entry::Occupied(tie) => {
                let tie = tie.into_mut();
                tie.order = tie.order.max(order);
                Ok(Some(&tie.keeper))
            }
            Entry::Vacant(_) if count >= self.max => Err(Full),
            Entry::Vacant(place) => {
                self.made += 1;
                let tie = place.insert(Tie { made: self.made, order, keeper: keep(self.made) });
                Ok(Some(&tie.keeper))
            }
        }
    }

    /// Has one not fall with the other; gives back who kept the tie, if there was one.
    pub(super) fn end(&mut self, pair: Pair, order: u64) -> Option<K> {
        let keeper = match self.ties.entry(pair) {
            Entry::Occupied(tie) if tie.get().order > order => return None,
            Entry::Occupied(tie) => Some(tie.remove().keeper),
            Entry::Vacant(_) => None,
        };
        self.is_past(pair, order);
        keeper
    }

    /// The keeper of this tie does what it is for, since one of the two has ended. `false`: an order was faster.
    pub(super) fn is_over(&mut self, pair: Pair, made: u64) -> bool {
        match self.ties.entry(pair) {
            Entry::Occupied(tie) if tie.get().made == made => {
                let order = tie.remove().order;
                self.is_past(pair, order);
                true
            }
            _ => false,
        }
    }

    fn is_past(&mut self, pair: Pair, order: u64) {
        if self.past.get(&pair).is_some_and(|past| *past >= order) {
            return;
        }
        self.past.insert(pair, order);
        self.past_in_turn.push_back((pair, order));
        if self.past_in_turn.len() > PAST_MAX
            && let Some((pair, order)) = self.past_in_turn.pop_front()
            && self.past.get(&pair) == Some(&order)
        {
            self.past.remove(&pair);
        }
    }

    /// How many ties each of these has as the nearer end.
    pub(super) fn of_each(&self, of: &HashSet<InstanceId>) -> HashMap<InstanceId, u64> {
        let mut counts = HashMap::new();
        for pair in self.ties.keys().filter(|pair| of.contains(&pair.near)) {
            *counts.entry(pair.near).or_default() += 1;
        }
        counts
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ties.len()
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::Incarnation;

    use super::*;

    /// What happens to one pair; `Begin` and `End` with the number of their order, `Over` with that of the tie.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Begin(u64),
        End(u64),
        Over(u64),
    }
    use Event::{Begin, End, Over};

    fn id(count: u64) -> InstanceId {
        InstanceId { node: Incarnation(7), count }
    }

    const PAIR: Pair = Pair {
        near: InstanceId { node: Incarnation(7), count: 1 },
        far: InstanceId { node: Incarnation(8), count: 2 },
    };

    /// Plays events, and gives which tie is left and how many were ended by an order.
    fn play(events: &[Event]) -> (Option<u64>, usize) {
        let (mut table, mut ended) = (Table::new(2), 0);
        for event in events {
            match *event {
                Begin(order) => drop(table.begin(PAIR, order, |made| made).expect("there is room")),
                End(order) => ended += usize::from(table.end(PAIR, order).is_some()),
                Over(made) => {
                    table.is_over(PAIR, made);
                }
            }
        }
        (table.ties.get(&PAIR).map(|tie| tie.keeper), ended)
    }

    #[test]
    fn the_youngest_order_counts() {
        let cases: [(&[Event], Option<u64>, usize); 16] = [
            (&[Begin(1)], Some(1), 0),
            // Said twice, it is tied once.
            (&[Begin(1), Begin(2)], Some(1), 0),
            (&[Begin(1), End(2)], None, 1),
            (&[Begin(1), End(2), End(3)], None, 1),
            // What takes the first one back comes after the second one.
            (&[Begin(1), Begin(2), End(1)], Some(1), 0),
            (&[Begin(2), Begin(1), End(1)], Some(1), 0),
            (&[Begin(1), End(1)], None, 1),
            // One has ended; and then, with a tie of later.
            (&[Begin(1), Over(1)], None, 0),
            (&[Begin(1), End(2), Begin(3), Over(1)], Some(2), 1),
            // What comes behind the end of what it has made, or would have made, makes nothing.
            (&[Begin(1), End(2), Begin(1)], None, 1),
            (&[End(2), Begin(1)], None, 0),
            (&[Begin(1), End(1), Begin(1)], None, 1),
            (&[Begin(1), Begin(2), Over(1), Begin(1)], None, 0),
            (&[Begin(1), Over(1), Begin(1), Begin(2), Begin(1)], Some(2), 0),
            (&[End(3), End(2), Begin(3)], None, 0),
            // One that is wanted anew does not fear what ended the first.
            (&[Begin(1), End(2), Begin(3), End(2)], Some(2), 1),
        ];
        for (events, left, ended) in cases {
            assert_eq!(play(events), (left, ended), "{events:?}");
        }
    }

    #[test]
    fn ties_are_bounded_and_leave_nothing_behind() {
        let mut table = Table::new(3);
        let pair = |count| Pair { near: id(0), far: id(count) };
        for round in 0..1_000u64 {
            for count in 0..3 {
                assert_eq!(table.begin(pair(count), round, |made| made), Ok(Some(&(round * 3 + count + 1))));
            }
            assert_eq!(table.begin(pair(3), round, |made| made), Err(Full));
            let kept = Ok(Some(&(round * 3 + 1)));
            assert_eq!(table.begin(pair(0), round, |made| made), kept, "it is there already");
            assert!(table.end(pair(0), round).is_some());
            assert!(table.is_over(pair(1), round * 3 + 2));
            assert!(table.is_over(pair(2), round * 3 + 3));
            assert!(!table.is_over(pair(0), round * 3 + 1), "an order was faster");
            assert_eq!(table.len(), 0);
        }
    }

    #[test]
    fn what_is_known_of_past_ties_is_bounded_and_the_youngest_are_known() {
        let mut table = Table::new(1);
        let pair = |count| Pair { near: id(0), far: id(count) };
        let count = PAST_MAX as u64 + 100;
        for n in 0..count {
            assert_eq!(table.end(pair(n), n), None::<u64>);
            // One pair of which much is said takes the place of no other twice.
            assert_eq!(table.end(pair(n), n), None);
        }
        assert_eq!((table.past.len(), table.past_in_turn.len()), (PAST_MAX, PAST_MAX));
        for n in 100..count {
            assert_eq!(table.begin(pair(n), n, |made| made), Ok(None), "{n}");
        }
    }
}
