//! What the plan is decided on. All of it is handed in: nothing here is measured or read.

use std::collections::{BTreeMap, BTreeSet};

use skybox_core::{ModuleKind, NodeName, Replicas};

use super::Placement;

/// Everything that a decision rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// When this is decided, in milliseconds since any fixed moment; that of [`super::Seat::since_ms`].
    pub now_ms: u64,
    /// How much a move has to be worth, and how many there may be.
    pub rules: Rules,
    /// Nothing moves but what has lost its node or must leave it (`skybox freeze`).
    pub frozen: bool,
    /// The program's modules. Spawned ones are left alone: code makes those.
    pub modules: Vec<Module>,
    /// The machines. A node of a machine that is not listed has no limits.
    pub hosts: Vec<Host>,
    /// The living nodes.
    pub nodes: Vec<Node>,
    /// Measured round trips from a host to a resource, in microseconds; absent is unknown.
    pub to_resources: BTreeMap<(String, String), u64>,
    /// Measured round trips between two hosts, in microseconds, in either order; absent is unknown.
    pub between_hosts: BTreeMap<(String, String), u64>,
    /// Who calls whom how often.
    pub traffic: Vec<Traffic>,
    /// Where people have said that a module belongs.
    pub pins: BTreeMap<String, Vec<NodeName>>,
    /// Modules that were tried on a node as often as they may be, and are not to be tried there again.
    pub gave_up: BTreeSet<(String, NodeName)>,
    /// The decision before this one.
    pub before: Placement,
}

/// A module and its annotations, as far as they matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its form.
    pub kind: ModuleKind,
    /// How many instances. A keyed module has as many owners as there are nodes for it, whatever this says.
    pub replicas: Replicas,
    /// Reserved cores for each instance, in thousandths; for a keyed module on each node that owns a shard of it.
    pub cpu_milli: u64,
    /// Reserved memory likewise, in bytes.
    pub memory_bytes: u64,
    /// Reserved GPUs likewise.
    pub gpu: u64,
    /// A resource or module to be close to. What is no module's name is a resource's.
    pub near: Option<String>,
    /// Each of its nodes has that module too.
    pub with: Option<String>,
    /// None of its nodes has that module.
    pub apart: Option<String>,
    /// A label in which its instances differ, as far as there are values.
    pub spread: Option<String>,
    /// A label, `key=value`, that its nodes have.
    pub on: Option<String>,
    /// Traffic may move it, not only propose that.
    pub auto_place: bool,
    /// Shards may move to nodes that have joined.
    pub relocatable: bool,
    /// Where there is not enough for all, the higher one goes first. 0 unless said otherwise.
    pub priority: i32,
    /// How many instances' worth of work there is, in thousandths: 2,300 keeps two busy and a third to 30 %. `None`
    /// where nobody has measured it, which is not the same as idle.
    pub load_milli: Option<u64>,
    /// Not all of its nodes have said what they have to do: there is at least so much.
    pub load_is_partial: bool,
}

impl Module {
    /// One without any annotation.
    pub fn new(name: impl Into<String>, kind: ModuleKind, replicas: Replicas) -> Module {
        Module {
            name: name.into(),
            kind,
            replicas,
            cpu_milli: 0,
            memory_bytes: 0,
            gpu: 0,
            near: None,
            with: None,
            apart: None,
            spread: None,
            on: None,
            auto_place: false,
            relocatable: false,
            priority: 0,
            load_milli: None,
            load_is_partial: false,
        }
    }
}

/// A machine, or what a control group leaves of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Cores, in thousandths.
    pub cpu_milli: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// GPUs.
    pub gpu: u64,
}

/// A living node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// The machine whose capacity it shares with that machine's other nodes.
    pub host: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it may be given.
    pub state: NodeState,
}

/// What a node may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// Anything.
    #[default]
    Open,
    /// Only what is pinned to it.
    Guest,
    /// Nothing; it keeps what it has.
    Cordoned,
    /// Nothing; what it has goes elsewhere.
    Draining,
    /// The same, since most others do not reach it.
    Unreached,
}

impl NodeState {
    /// Whether what a node has goes elsewhere.
    pub(super) fn leaves(self) -> bool {
        matches!(self, NodeState::Draining | NodeState::Unreached)
    }
}

/// How often one module calls another, wherever both are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The caller.
    pub from: String,
    /// The callee.
    pub to: String,
    /// Calls a second, over all instances of both.
    pub calls_per_s: u64,
}

/// How much a move has to be worth, and how many there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long an instance stays where it is before scale, near or traffic may move it. Five minutes.
    pub stay_ms: u64,
    /// Moves for scale, near and traffic in any [`Rules::window_ms`], over all modules. Ten.
    pub moves_max: usize,
    /// The window of [`Rules::moves_max`]. A minute.
    pub window_ms: u64,
    /// How long another place has to have been better, in each decision, before an instance goes there; and how long a
    /// range has too much to do before it grows. Ten seconds.
    pub settle_ms: u64,
    /// A move for near saves at least this much of each round trip, and at least a third of it: two equal ways whose
    /// figures are off by a fifth each never look that different. 200 µs.
    pub near_saves_us: u64,
    /// A move for traffic saves at least so many network calls a second, and half as many again as its
    /// place saves now. Ten.
    pub traffic_saves_calls_per_s: u64,
    /// Above this share of its instances' time a range grows. 80 %.
    pub load_high_percent: u64,
    /// To such a share a range grows or shrinks. 60 %.
    pub load_aim_percent: u64,
    /// Traffic may move every module, as if all said `auto_place`. No.
    pub auto_place: bool,
    /// A range shrinks where one instance fewer would still be below this share for [`Rules::low_for_ms`]. 50 %.
    pub load_low_percent: u64,
    /// How long. Five minutes.
    pub low_for_ms: u64,
    /// What an instance with `near` is taken to need: round trips a second. 100.
    pub near_trips_per_s: u64,
    /// What a call over the network is taken to cost beside one within a node, in microseconds. 100.
    pub network_call_us: u64,
    /// Steps of the search for something better than the first plan, which small clouds are worth. 5,000, some
    /// milliseconds; 0 for none.
    pub search_steps: u64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            stay_ms: 5 * 60_000,
            moves_max: 10,
            window_ms: 60_000,
            settle_ms: 10_000,
            near_saves_us: 200,
            traffic_saves_calls_per_s: 10,
            load_high_percent: 80,
            load_aim_percent: 60,
            auto_place: false,
            load_low_percent: 50,
            low_for_ms: 5 * 60_000,
            near_trips_per_s: 100,
            network_call_us: 100,
            search_steps: 5_000,
        }
    }
}
