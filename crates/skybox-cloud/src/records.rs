//! What is in the store: which keys there are, what is at each, and who writes it.
//!
//! | key | on the lease of | written by | read by |
//! |---|---|---|---|
//! | `node/<incarnation>` | the node | the node | all nodes |
//! | `state/<incarnation>` | the node | the node | the leader |
//! | `far/<incarnation>` | the node | one node of each host | the leader |
//! | `leader` | the leader | who is elected | all nodes |
//! | `degraded` | the leader | the leader | nodes, for operators |
//! | `place/<module>`, `unplaced` | – | the leader | the leader, people |
//! | `gray/<incarnation>` | – | the leader | the leader; nodes, for operators |
//! | `assign/<incarnation>` | – | the leader | that node |
//! | `route/<module>` | – | the leader | all nodes |
//! | `own/<module>/<block of shards>` | – | the leader; at a hand-over the old owner | all nodes |
//! | `pin/<module>`, `scale/<module>`, `again/<module>`, `cordon/<node>`, `freeze`, `brake` | – | nodes, for operators | the leader |
//! | `generation` | – | the first node | all nodes |
//! | `expected` | – | the parent of one machine | the leader |
//! | `history/<slot>`, `history` | – | nodes, for operators; the leader | people |
//! | `once/<build>/<name>` | the node that runs it, then none | the node that runs it | who waits for it |
//! | `name/<name>` | the node of its instance | that node | who asks |
//!
//! Each is right alone: nobody needs two of them from one revision. Values are JSON, so that people can read them with the
//! tools of the store; what this version does not know in them it leaves out.

mod own;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_core::{Incarnation, NodeName, Replicas};
use skybox_plan::place::Seat;

pub use own::{BLOCK_SHARDS, BLOCKS, Own, Owns, block_of, own, own_in, shards_in};

use crate::store::{Entry, Revision, View};

/// The key of the leader.
pub const LEADER: &str = "leader";
/// The key of what the leader holds back since too many nodes were lost at once. There while it does.
pub const DEGRADED: &str = "degraded";
/// Before the incarnation in the key of a node.
pub const NODE: &str = "node/";
/// Before the incarnation in the key of what a node says of itself.
pub const STATE: &str = "state/";
/// Before the incarnation in the key of what a node is to run.
pub const ASSIGN: &str = "assign/";
/// Before the module in the key of where it is called.
pub const ROUTE: &str = "route/";
/// Before the module and the block in the key of the owners of shards.
pub const OWN: &str = "own/";
/// Before the module in the key of where people have said that it belongs.
pub const PIN: &str = "pin/";
/// Before the module in the key that is changed when it is to be tried where it was given up.
pub const AGAIN: &str = "again/";
/// The key that is changed when people believe that nodes are gone which the brake holds.
pub const BRAKE: &str = "brake";
/// Before the module in the key of where it belongs.
pub const PLACE: &str = "place/";
/// Before the incarnation of the node that has measured it in the key of how far away resources are.
pub const FAR: &str = "far/";
/// Before the module in the key of how many instances people want.
pub const SCALE: &str = "scale/";
/// Before its name in the key of a node that gets nothing more.
pub const CORDON: &str = "cordon/";
/// Before the incarnation in the key of a node that most others do not reach. The leader's, who takes it back.
pub const GRAY: &str = "gray/";
/// The key that is there while nothing is to move that need not.
pub const FREEZE: &str = "freeze";
/// The key of what has no place, and why.
pub const UNPLACED: &str = "unplaced";
/// The key of when the store began, in milliseconds since 1970: the first part of each epoch.
pub const GENERATION: &str = "generation";
/// The key of the nodes that are there or come, where somebody starts them.
pub const EXPECTED: &str = "expected";
/// Before the place of a line in the key of what somebody has changed.
pub const HISTORY: &str = "history/";
/// The key of the number of the line that comes next.
pub const HISTORY_NEXT: &str = "history";
/// Before the build and the name in the key of what is done once.
pub const ONCE: &str = "once/";
/// Before the name in the key of the instance that has it.
pub const NAME: &str = "name/";

/// A life of a node: one process that runs the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, which other lives have had before it.
    pub name: NodeName,
    /// Which life.
    pub incarnation: Incarnation,
    /// Where other nodes reach it.
    pub address: String,
    /// Which build of the program it runs.
    pub build: String,
    /// It hands over what it has, and gets nothing more.
    #[serde(default)]
    pub draining: bool,
    /// It runs what is pinned to it and nothing else.
    #[serde(default)]
    pub guest: bool,
    /// The machine.
    #[serde(default)]
    pub host: String,
    /// Whatever says how much it may use: nodes with the same share that.
    #[serde(default)]
    pub account: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Cores that it may use, in thousandths.
    #[serde(default)]
    pub cpu_milli: u64,
    /// Memory that it may use, in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// GPUs that it may use.
    #[serde(default)]
    pub gpu: u64,
    /// Who says how much that is, for people.
    #[serde(default)]
    pub capacity_from: String,
}

/// The parent's life, where it leads.
pub(crate) const PARENT: Incarnation = Incarnation(0);

impl Default for Node {
    fn default() -> Node {
        Node {
            name: NodeName::new(""),
            incarnation: Incarnation(0),
            address: String::new(),
            build: String::new(),
            draining: false,
            guest: false,
            host: String::new(),
            account: String::new(),
            labels: BTreeMap::new(),
            cpu_milli: 0,
            memory_bytes: 0,
            gpu: 0,
            capacity_from: String::new(),
        }
    }
}

/// What a node says of its instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its `start` has returned.
    #[serde(default)]
    pub ready: bool,
    /// Modules without keys whose instance is ready for calls.
    #[serde(default)]
    pub started: BTreeSet<String>,
    /// Modules that it gave up.
    #[serde(default)]
    pub gave_up: BTreeMap<String, GaveUp>,
}

/// That a node gave a module up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaveUp {
    /// The error of the last start.
    pub cause: String,
    /// How many starts had failed; zero where its `restart` forbids another start, on any node.
    pub failed_starts: u32,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The chance that it had then: it counts no more once there is a later one.
    pub chance: u64,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its name.
    pub name: NodeName,
    /// Which life.
    pub incarnation: Incarnation,
}

/// That too many nodes were lost at once to be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// The nodes that are gone, and nothing of theirs is given to others yet.
    pub held: Vec<NodeName>,
}

/// What a node is to run, beside shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assign {
    /// The node, as it was when that was written.
    pub node: Node,
    /// By module.
    pub modules: BTreeMap<String, Assigned>,
}

impl Assign {
    /// A node that is to run nothing.
    pub fn nothing(node: &Node) -> Assign {
        Assign { node: node.clone(), modules: BTreeMap::new() }
    }
}

/// A module that a node is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Only until others serve in its place.
    #[serde(default)]
    pub leaving: bool,
    /// Grows when a node that gave it up is to try again.
    #[serde(default)]
    pub chance: u64,
}

/// Where a module without keys is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The nodes whose instance is ready for calls.
    pub serving: Vec<Place>,
    /// The nodes where it belongs, by name, for people.
    #[serde(default)]
    pub assigned: Vec<NodeName>,
    /// Why nobody serves it and nobody will, if so.
    #[serde(default)]
    pub failed: Option<String>,
}

/// A life of a node, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub node: NodeName,
    /// Which life.
    pub incarnation: Incarnation,
    /// Where it is reached.
    pub address: String,
}

impl Place {
    /// Where a node is.
    pub fn of(node: &Node) -> Place {
        Place { node: node.name.clone(), incarnation: node.incarnation, address: node.address.clone() }
    }
}

/// Where a module belongs, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seats {
    /// Each of its nodes.
    pub seats: Vec<Seat>,
    /// Of a range, how many instances it has come to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled: Option<u32>,
}

/// How far away resources are from a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Far {
    /// The host.
    pub host: String,
    /// By resource.
    pub round_trips: BTreeMap<String, RoundTrip>,
}

/// A measured round trip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// In microseconds.
    pub round_trip_us: u64,
    /// How it was measured, for people.
    pub method: String,
}

/// How many instances people want of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// So many.
    pub replicas: Replicas,
}

/// That a node gets nothing more, and keeps what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Who has said so.
    pub by: String,
}

/// That a node reaches the store, and most others do not reach it: it hands over what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gray {
    /// The node.
    pub node: NodeName,
    /// Those that did not reach it.
    pub by: Vec<NodeName>,
}

/// Where people have said that a module belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The nodes.
    pub nodes: Vec<NodeName>,
}

/// The nodes of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Those that are there, or are being started.
    pub nodes: Vec<NodeName>,
    /// Others that may come, for which nobody waits but the first plan.
    #[serde(default)]
    pub guests: Vec<NodeName>,
    /// The program ends: whatever there is goes to this one, whether it is meant for it or not.
    #[serde(default)]
    pub last: Option<NodeName>,
}

impl Expected {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().chain(&self.guests)
    }
}

/// What became of what is done once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Once {
    /// This node is at it. On its lease: with the node goes the turn.
    Running {
        /// Which node.
        by: NodeName,
    },
    /// It has been done.
    Done,
    /// It failed. Whoever waits fails with it; who comes later tries again.
    Failed {
        /// Why.
        cause: String,
        /// How often so far.
        count: u64,
    },
}

/// The key of something of a life of a node: [`NODE`], [`STATE`] or [`ASSIGN`].
pub fn of_life(prefix: &str, incarnation: Incarnation) -> String {
    format!("{prefix}{:016x}", incarnation.0)
}

/// The life in such a key.
pub fn life_in(key: &str, prefix: &str) -> Option<Incarnation> {
    u64::from_str_radix(key.strip_prefix(prefix)?, 16).ok().map(Incarnation)
}

/// What is written.
pub fn text<V: Serialize>(value: &V) -> String {
    serde_json::to_string(value).expect("records are plain data with text keys")
}

/// Values of one kind by their keys, kept up with a view of the store: what has not changed is not read again.
#[derive(Clone, Debug)]
pub struct Table<V> {
    rows: BTreeMap<String, Row<V>>,
    /// Those that cannot be read, and when they were put.
    unread: BTreeMap<String, Revision>,
    /// Of which view this is.
    serial: u64,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Row<V> {
    /// What is there.
    pub value: Arc<V>,
    /// Since when the key is there.
    pub created: Revision,
    /// When it was last put.
    pub changed: Revision,
}

impl<V> Default for Table<V> {
    fn default() -> Table<V> {
        Table { rows: BTreeMap::new(), unread: BTreeMap::new(), serial: 0 }
    }
}

impl<V: DeserializeOwned> Table<V> {
    /// Takes over what has changed; says whether anything has. A value that cannot be read is left out, and logged once
    /// for each time it is put.
    pub fn follow(&mut self, view: &View) -> bool {
        if std::mem::replace(&mut self.serial, view.serial) == view.serial {
            return false;
        }
        let mut changed = false;
        let rows = &mut self.rows;
        rows.retain(|key, _| {
            let stays = view.entries.contains_key(key);
            changed |= !stays;
            stays
        });
        self.unread.retain(|key, _| view.entries.contains_key(key));
        for (key, entry) in &view.entries {
            let known = rows.get(key).map(|row| row.changed).or_else(|| self.unread.get(key).copied());
            if known == Some(entry.changed) {
                continue;
            }
            changed = true;
            match Row::read(entry) {
                Ok(row) => {
                    self.unread.remove(key);
                    rows.insert(key.clone(), row);
                }
                Err(error) => {
                    rows.remove(key);
                    self.unread.insert(key.clone(), entry.changed);
                    tracing::warn!(key, "what the store has there is not understood, and left out: {error}");
                }
            }
        }
        changed
    }
}

impl<V: DeserializeOwned> Row<V> {
    fn read(entry: &Entry) -> Result<Row<V>, serde_json::Error> {
        let value = serde_json::from_str(&entry.value)?;
        Ok(Row { value: Arc::new(value), created: entry.created, changed: entry.changed })
    }
}

impl<V> Table<V> {
    /// What is at a key.
    pub fn get(&self, key: &str) -> Option<&Row<V>> {
        self.rows.get(key)
    }

    /// When what is at a key was put, also if it cannot be read.
    pub fn changed_at(&self, key: &str) -> Option<Revision> {
        self.rows.get(key).map(|row| row.changed).or_else(|| self.unread.get(key).copied())
    }

    /// All, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Row<V>)> {
        self.rows.iter().map(|(key, row)| (key.as_str(), row))
    }

    /// Those whose keys begin so.
    pub fn under<'t>(&'t self, prefix: &'t str) -> impl Iterator<Item = (&'t str, &'t Row<V>)> {
        let from = self.rows.range(prefix.to_owned()..);
        from.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, row)| (key.as_str(), row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Listed;

    fn entry(key: &str, value: &str, changed: u64) -> (String, Entry) {
        let entry = Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            created: Revision(1),
            changed: Revision(changed),
            lease: None,
        };
        (key.to_owned(), entry)
    }

    #[test]
    fn keys_say_what_they_are_of() {
        let life = Incarnation(0xfeed);
        let key = of_life(NODE, life);
        assert_eq!((key.as_str(), life_in(&key, NODE)), ("node/000000000000feed", Some(life)));
        assert_eq!(life_in(&key, STATE), None);
        let key = own("shop/carts", 7);
        assert_eq!((key.as_str(), own_in(&key)), ("own/shop/carts/07", Some(("shop/carts", 7))));
        assert_eq!(own_in("own/carts/32"), None, "there is no such block");
    }

    #[test]
    fn what_is_not_understood_is_left_out_and_the_rest_is_kept_up() {
        let mut table = Table::<Pin>::default();
        let view = |entries: Vec<(String, Entry)>| {
            let entries = entries.into_iter().map(|(_, entry)| entry).collect();
            View::of(Listed { revision: Revision(9), entries })
        };
        let good = entry("pin/a", r#"{"nodes":["n1"],"since":"a later version"}"#, 3);
        assert!(table.follow(&view(vec![good.clone(), entry("pin/b", "nonsense", 4)])));
        assert_eq!(table.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["pin/a"]);
        let before = table.get("pin/a").expect("it can be read").value.clone();
        assert!(
            !table.follow(&view(vec![good.clone(), entry("pin/b", "nonsense", 4)])),
            "nothing has changed"
        );
        assert!(
            Arc::ptr_eq(&before, &table.get("pin/a").expect("it is there").value),
            "it is not read again"
        );
        assert!(table.follow(&view(vec![entry("pin/a", r#"{"nodes":[]}"#, 5)])));
        assert!(table.get("pin/a").expect("it is there").value.nodes.is_empty());
        assert!(table.follow(&view(Vec::new())) && table.iter().next().is_none());
    }
}
