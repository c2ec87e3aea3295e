//! When a node that is gone from the store is believed to be gone.
//!
//! A lease that has ended says that its node has not reached the store for so long. Of one node that is a good reason to
//! give what it had to others. Of many at once, or where the store itself was away, it is more likely that something else
//! is broken, and to move everything would add to it. So nothing that they had is given to others
//!
//! - for a quarter of a lease: those that are lost in one moment are noticed so far apart, as each renews in its turn;
//! - for two leases after the store was away: nodes come back meanwhile;
//! - after more than a fifth of the nodes (at least three) were lost within 30 s, until enough of them are back, or an
//!   operator says go on. The cloud is *degraded* then, and only modules that nobody has any more are placed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skybox_core::Incarnation;
use tokio::time::Instant;

use crate::records::Node;
use crate::store::Revision;

/// Nodes that are lost within this long are lost together.
pub(super) const TOGETHER: Duration = Duration::from_secs(30);
/// Too many are so many of a hundred.
const TOO_MANY_PERCENT: usize = 20;
/// And no fewer than these.
const TOO_MANY_MIN: usize = 3;
/// The part of a lease for which others are waited for that are lost in the same moment.
const GATHERING_PARTS: u32 = 4;

/// Whether so many of all nodes are too many to be lost at once, each for a reason of its own.
pub(super) fn are_too_many(lost: usize, all: usize) -> bool {
    lost >= TOO_MANY_MIN && lost * 100 > all * TOO_MANY_PERCENT
}

/// Nodes that are gone and count as if they were not.
pub(crate) type Held = BTreeMap<Incarnation, Node>;

/// What is known of losses.
#[derive(Debug)]
pub(crate) struct Brake {
    lease: Duration,
    /// Whoever is gone is.
    sees: bool,
    /// Nothing is acted on before.
    until: Option<Instant>,
    /// Those that were there the last time.
    known: BTreeMap<Incarnation, Node>,
    /// Those that were lost and are not back, since when; also those whose loss is believed by now.
    missing: BTreeMap<Incarnation, (Node, Instant)>,
    /// Those of them that are not acted on.
    held: Held,
    degraded: bool,
    /// When people have said go on the last time.
    released: Option<Revision>,
}

/// Nodes that are gone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    /// Some of them are not acted on yet.
    pub(crate) held: bool,
    /// How many there are whose loss is recent.
    pub(crate) of_late: usize,
    /// When people have said go on the last time.
    pub(crate) released: Option<Revision>,
}

/// What is seen of the nodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// Those that are there.
    pub(crate) nodes: BTreeMap<Incarnation, Node>,
    /// The store does not answer, or has not since the last look.
    pub(crate) away: bool,
    /// When people have said go on the last time; zero if they never have.
    pub(crate) released: Revision,
}

impl Brake {
    /// Of a leader that begins. `had`: the nodes that have something, some of which may be gone.
    pub(crate) fn new(lease: Duration, had: BTreeMap<Incarnation, Node>) -> Brake {
        Brake {
            lease,
            sees: false,
            until: None,
            known: had,
            missing: BTreeMap::new(),
            held: Held::new(),
            degraded: false,
            released: None,
        }
    }

    /// Where somebody sees nodes die: who is gone is believed to be gone.
    pub(crate) fn none() -> Brake {
        Brake { sees: true, ..Brake::new(Duration::ZERO, BTreeMap::new()) }
    }

    /// Takes in what is seen now.
    pub(crate) fn look(&mut self, now: Instant, sight: Sight) {
        if self.sees {
            return;
        }
        let Sight { nodes, away, released } = sight;
        if away {
            self.until = Some(now + self.lease * 2);
        }
        for (life, node) in &self.known {
            if !nodes.contains_key(life) && !self.missing.contains_key(life) {
                self.missing.insert(*life, (node.clone(), now));
                self.held.insert(*life, node.clone());
            }
        }
        // Who has been started anew is back: the process that was there is none any more.
        let names: BTreeSet<_> = nodes.values().map(|node| &node.name).collect();
        self.missing.retain(|life, (node, _)| !nodes.contains_key(life) && !names.contains(&node.name));
        self.held.retain(|life, _| self.missing.contains_key(life));
        if !self.degraded {
            let (held, together) = (&self.held, |since: Instant| now.duration_since(since) <= TOGETHER);
            self.missing.retain(|life, (_, since)| held.contains_key(life) || together(*since));
        }
        let too_many = are_too_many(self.missing.len(), nodes.len() + self.missing.len());
        self.degraded = too_many && (self.degraded || !self.held.is_empty());
        let told = self.released.replace(released).is_some_and(|before| before != released);
        if told {
            self.missing.clear();
            self.degraded = false;
        }
        self.until = self.until.filter(|until| *until > now);
        if told {
            self.held.clear();
        } else if self.until.is_none() && !self.degraded {
            let (missing, gathering) = (&self.missing, self.lease / GATHERING_PARTS);
            self.held.retain(|life, _| missing.get(life).is_some_and(|(_, since)| now < *since + gathering));
        }
        // Who has said that it leaves is not lost.
        self.known = nodes.into_iter().filter(|(_, node)| !node.draining).collect();
    }

    /// The nodes that are gone and are not acted on.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// What matters of it for nodes that are lost in another way.
    pub(crate) fn losses(&self) -> Losses {
        Losses { held: !self.held.is_empty(), of_late: self.missing.len(), released: self.released }
    }

    /// Whether so many are gone at once that somebody should look.
    pub(crate) fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// When to look again although nothing has changed.
    pub(crate) fn until(&self) -> Option<Instant> {
        let since = self.held.keys().filter_map(|life| Some(self.missing.get(life)?.1)).min()?;
        self.until.or((!self.degraded).then(|| since + self.lease / GATHERING_PARTS))
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::NodeName;

    use super::*;

    const LEASE: Duration = Duration::from_secs(6);

    fn nodes(lives: impl IntoIterator<Item = u64>) -> BTreeMap<Incarnation, Node> {
        let node = |life: u64| Node {
            name: NodeName::new(format!("node-{life}")),
            incarnation: Incarnation(life),
            ..Node::default()
        };
        lives.into_iter().map(|life| (Incarnation(life), node(life))).collect()
    }

    fn sight(lives: impl IntoIterator<Item = u64>) -> Sight {
        Sight { nodes: nodes(lives), ..Sight::default() }
    }

    fn held(brake: &Brake) -> Vec<u64> {
        brake.held().keys().map(|life| life.0).collect()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_single_loss_is_believed_soon() {
        let start = Instant::now();
        let mut brake = Brake::new(LEASE, nodes(1..=5));
        brake.look(start, sight(1..=5));
        brake.look(start, sight(1..=4));
        assert_eq!((held(&brake), brake.until()), (vec![5], Some(start + LEASE / 4)));
        brake.look(start + LEASE / 4, sight(1..=4));
        assert_eq!((held(&brake), brake.is_degraded(), brake.until()), (vec![], false, None));
        // Two of ten are no fifth.
        let mut brake = Brake::new(LEASE, nodes(1..=10));
        brake.look(start, sight(1..=8));
        brake.look(start + LEASE / 4, sight(1..=8));
        assert_eq!((held(&brake), brake.is_degraded()), (vec![], false));
    }

    #[test]
    fn many_at_once_are_not_until_they_are_back_or_people_say_so() {
        let start = Instant::now();
        let mut brake = Brake::new(LEASE, nodes(1..=10));
        brake.look(start, sight(1..=10));
        // Each of them has renewed its lease at another moment.
        for (count, left) in [9, 8, 7, 6].into_iter().enumerate() {
            brake.look(start + Duration::from_millis(400 * count as u64), sight(1..=left));
        }
        assert_eq!((held(&brake), brake.is_degraded()), (vec![7, 8, 9, 10], true));
        brake.look(start + seconds(600), sight(1..=6));
        assert_eq!((held(&brake), brake.is_degraded()), (vec![7, 8, 9, 10], true), "however long it takes");
        brake.look(start + seconds(601), sight((1..=6).chain([8, 9])));
        assert_eq!(
            (held(&brake), brake.is_degraded()),
            (vec![], false),
            "two are gone, and now that is believed"
        );
        let mut brake = Brake::new(LEASE, nodes(1..=10));
        brake.look(start, sight(1..=6));
        assert!(brake.is_degraded(), "also where they were lost before this leader began");
        brake.look(start, Sight { released: Revision(7), ..sight(1..=6) });
        assert_eq!((held(&brake), brake.is_degraded()), (vec![], false));
    }

    #[test]
    fn after_the_store_was_away_nodes_have_time_to_come_back() {
        let start = Instant::now();
        let mut brake = Brake::new(LEASE, nodes(1..=2));
        brake.look(start, Sight { away: true, ..sight(1..=2) });
        brake.look(start + seconds(1), sight([1]));
        assert_eq!(held(&brake), [2]);
        assert_eq!(brake.until(), Some(start + seconds(12)));
        brake.look(start + seconds(5), sight(1..=2));
        assert_eq!((held(&brake), brake.until()), (vec![], None), "it is back");
        brake.look(start + seconds(6), sight([1]));
        brake.look(start + seconds(12), sight([1]));
        assert_eq!(held(&brake), Vec::<u64>::new());
    }

    #[test]
    fn who_says_that_it_leaves_is_not_lost() {
        let mut brake = Brake::new(LEASE, nodes(1..=4));
        let mut leaving = sight(1..=4);
        leaving
            .nodes
            .values_mut()
            .filter(|node| node.incarnation.0 > 1)
            .for_each(|node| node.draining = true);
        brake.look(Instant::now(), leaving);
        brake.look(Instant::now(), sight([1]));
        assert_eq!((held(&brake), brake.is_degraded()), (vec![], false));
    }

    #[test]
    fn those_that_are_started_anew_are_back() {
        let start = Instant::now();
        let mut brake = Brake::new(LEASE, nodes(1..=3));
        brake.look(start, sight([]));
        assert!(brake.is_degraded(), "all three are gone, as after a loss of power");
        let anew = nodes(1..=3).into_values().map(|node| {
            let incarnation = Incarnation(10 + node.incarnation.0);
            (incarnation, Node { incarnation, ..node })
        });
        brake.look(start + seconds(20), Sight { nodes: anew.collect(), ..Sight::default() });
        assert_eq!((held(&brake), brake.is_degraded(), brake.until()), (vec![], false, None));
    }

    #[test]
    fn many_that_are_lost_one_after_the_other_are_many() {
        let start = Instant::now();
        let mut brake = Brake::new(LEASE, nodes(1..=20));
        brake.look(start, sight(1..=20));
        for lost in 1..=6 {
            brake.look(start + seconds(2 * lost), sight(1..=20 - lost));
            brake.look(start + seconds(2 * lost) + LEASE / 4, sight(1..=20 - lost));
        }
        assert!(brake.is_degraded(), "six of twenty within twelve seconds");
        assert_eq!(held(&brake), [15, 16], "what was believed before that was is believed");
    }
}
