//! Looks at a program that does not run.

use std::collections::BTreeMap;

use skybox_core::{ModuleKind, NodeName};
use skybox_node::{CellStatus, EdgeCounts, InstanceStatus, ModuleStatus, NodeStatus, ProcessUse};

use super::figures::Look;

pub(super) fn look(node: NodeStatus) -> Look {
    BTreeMap::from([(node.node.clone(), node)])
}

/// A spawned instance, in this process if it has a cell.
pub(super) fn room(name: &str, cell: Option<(u32, u64)>) -> InstanceStatus {
    let cell = cell.map(|(pid, cpu_ms)| CellStatus {
        pid,
        memory_bytes: None,
        memory_by: None,
        cpu_milli: None,
        cpu_by: None,
        uses: Some(ProcessUse { memory_bytes: 8 << 20, cpu_ms }),
    });
    InstanceStatus { cell, errors: Some(0), ..instance("room", ModuleKind::Spawned, name, None, None) }
}

/// A node with these rooms alone.
pub(super) fn rooms(rooms: Vec<InstanceStatus>) -> NodeStatus {
    NodeStatus { modules: vec![module(ModuleKind::Spawned, rooms, 1, 0)], edges: Vec::new(), ..node(0, 0, 0) }
}

fn instance(
    module: &str,
    kind: ModuleKind,
    name: &str,
    key: Option<&str>,
    calls: Option<u64>,
) -> InstanceStatus {
    InstanceStatus {
        module: module.to_owned(),
        kind,
        node: NodeName::new("node-1"),
        instance: name.to_owned(),
        key: key.map(str::to_owned),
        up_ms: 1,
        holding: None,
        waiting: None,
        waits: Vec::new(),
        holders: Vec::new(),
        cell: None,
        calls,
        errors: None,
        latency: Vec::new(),
        restarts: None,
        spawned_by: None,
        names: Vec::new(),
        falls_with: 0,
    }
}

fn module(kind: ModuleKind, instances: Vec<InstanceStatus>, ended: u64, served: u64) -> ModuleStatus {
    let module = instances[0].module.clone();
    ModuleStatus {
        path: "main.rs".to_owned(),
        kind,
        implementation: None,
        methods: Vec::new(),
        given_up: Vec::new(),
        given_up_keys: 0,
        spawned: 0,
        instances,
        endings: Vec::new(),
        holds: Vec::new(),
        ended,
        policy: None,
        served: Some(EdgeCounts { remote: served, latency: vec![0; 28], ..EdgeCounts::default() }),
        module,
    }
}

/// A node with a catalog that was called so often, and two carts of which one was; the other has failed, and ended twice.
pub(super) fn node(local: u64, served: u64, cpu_ms: u64) -> NodeStatus {
    let mut latency = vec![0; 28];
    latency[2] = local / 64;
    let edge = EdgeCounts {
        module: "catalog".into(),
        method: "get".into(),
        local,
        latency,
        ..EdgeCounts::default()
    };
    let cart = |name: &str, key: &str, calls, errors, restarts| InstanceStatus {
        errors: Some(errors),
        restarts: Some(restarts),
        ..instance("cart", ModuleKind::Keyed, name, Some(key), Some(calls))
    };
    let mut timed = vec![0; 28];
    timed[4] = served;
    let ann = InstanceStatus { latency: timed, ..cart("a.3", "ann", served, 0, 0) };
    let modules = vec![
        module(
            ModuleKind::Replicated,
            vec![instance("catalog", ModuleKind::Replicated, "a.1", None, None)],
            0,
            0,
        ),
        module(ModuleKind::Keyed, vec![cart("a.2", "bob", 3, served / 2, 2), ann], 2, served),
    ];
    NodeStatus {
        node: NodeName::new("node-1"),
        address: String::new(),
        pid: 7,
        program: "shop".to_owned(),
        up_ms: 1,
        ready: true,
        listeners: BTreeMap::new(),
        modules,
        edges: vec![edge],
        frames: 0,
        uses: Some(ProcessUse { memory_bytes: 64 << 20, cpu_ms }),
        linked: 0,
        restarted: BTreeMap::new(),
        handshakes: skybox_node::HandshakeCounts::default(),
        plan: None,
    }
}
