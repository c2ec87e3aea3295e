//! What lives in cells, as they say themselves when they are asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skybox_core::{Exit, Isolate, ModuleKind};

use super::{Cell, Order};
use crate::app::{App, AppInner};
use crate::conn::Conn;
use crate::host::AnyHost;
use crate::metrics::{EdgeCounts, LATENCY_BUCKETS};
use crate::operate::Extent;
use crate::status::{InstanceStatus, NodeStatus};

/// How long a cell may take to answer. One that is busy is shown as its node knows it.
const ANSWER_WAIT: Duration = Duration::from_millis(250);

/// How long a cell has to kill an instance for an operator, and to say so, before its process is killed.
pub(crate) const KILL_WAIT: Duration = Duration::from_secs(2);

/// What a node runs and has counted, with what is in its cells.
pub(crate) async fn status_with_cells(app: &Arc<AppInner>) -> NodeStatus {
    let links = app.hosts.iter().filter_map(|host| host.core().cells.as_ref());
    let asking: Vec<_> =
        links.flat_map(|cells| cells.links()).map(|link| app.runtime.spawn(ask(link))).collect();
    let mut status = crate::operate::status(&App::from_inner(app.clone()));
    for asked in asking {
        if let Ok(Some((cell, of_cell))) = asked.await {
            take_over(&mut status, &cell, of_cell);
        }
    }
    // A key that has had one cell after the other has ended in each of them.
    for (host, module) in app.hosts.iter().zip(&mut status.modules) {
        for instance in module.instances.iter_mut().filter(|instance| instance.cell.is_some()) {
            instance.restarts = instance.key.as_ref().and_then(|key| host.core().endings.of_key(key));
        }
    }
    status
}

/// Kills an instance in a cell of the module, or a cell by its own name, which people see where it does not say what lives
/// in it; `None`: there is none.
///
/// The cell is asked first. What it has not ended within [`KILL_WAIT`] ends with its process: always if the cell does not
/// answer, and if it does, where nobody else lives in it.
pub(crate) async fn kill_in_cells(host: &dyn AnyHost, instance: &str, by: &str) -> Option<Extent> {
    let cells = host.core().cells.as_ref()?;
    let link = cells.home_of(host.core(), instance)?;
    let cell = link.cell()?.clone();
    let (is_cell, exit) = (cell.name.as_str() == instance, Exit::Killed { by: by.to_owned() });
    if !is_cell {
        let order = Order::Kill { instance: instance.to_owned(), by: by.to_owned() };
        match tokio::time::timeout(KILL_WAIT, Cell::order(&link, &order)).await {
            Ok(answer) => match serde_json::from_slice::<Option<bool>>(&answer?).ok()? {
                None => return None,
                Some(true) => return Some(Extent::Instance),
                Some(false) if cells.has_neighbours() => return Some(Extent::GoesOn),
                Some(false) => {}
            },
            Err(_) => tracing::warn!(cell = %cell.name, "it has not answered within {KILL_WAIT:?}: killed"),
        }
    }
    cell.sentenced(exit);
    // The kernel may take its time, but nothing runs there any more.
    drop(tokio::time::timeout(KILL_WAIT, cell.ended()).await);
    Some(if is_cell { Extent::Instance } else { Extent::Cell })
}

async fn ask(link: Arc<Conn>) -> Option<(Arc<Cell>, NodeStatus)> {
    let cell = link.cell()?.clone();
    let answer = tokio::time::timeout(ANSWER_WAIT, Cell::order(&link, &Order::Status)).await.ok()??;
    Some((cell, serde_json::from_slice(&answer).ok()?))
}

/// Puts what a cell says of its instances in the place of what its node knew, and adds what it has counted.
fn take_over(status: &mut NodeStatus, cell: &Cell, of_cell: NodeStatus) {
    let name = cell.name.to_string();
    let node = status.node.clone();
    for module in &mut status.modules {
        let Some(at) = module.instances.iter().position(|instance| instance.instance == name) else {
            continue;
        };
        let Some(inside) = of_cell.modules.iter().find(|inside| inside.module == module.module) else {
            continue;
        };
        let known = module.instances.remove(at);
        let has_its_own =
            module.policy.as_ref().is_some_and(|policy| policy.isolate == Some(Isolate::Process));
        let process = || known.cell.clone();
        module.instances.extend(inside.instances.iter().map(|instance| {
            let mut instance = InstanceStatus { node: node.clone(), cell: process(), ..instance.clone() };
            if has_its_own {
                count_all(&mut instance, inside.served.as_ref(), &of_cell.edges);
            }
            instance
        }));
        if let (Some(served), Some(inside)) = (&mut module.served, &inside.served) {
            served.add(inside);
        }
        // Of keys it has told its node already.
        if module.kind != ModuleKind::Keyed {
            module.given_up.extend(inside.given_up.iter().cloned());
        }
        inside.holds.iter().for_each(|hold| hold.add_to(&mut module.holds));
        if inside.instances.is_empty() {
            module.instances.push(known);
        }
    }
    status.restarted.extend(of_cell.restarted);
    status.edges = sum(std::mem::take(&mut status.edges).into_iter().chain(of_cell.edges));
}

/// Of an instance that is alone in its cell, all that the cell has counted of its module: calls that came to the cell, and
/// those that it makes to itself.
fn count_all(instance: &mut InstanceStatus, served: Option<&EdgeCounts>, edges: &[EdgeCounts]) {
    let own = |edge: &&EdgeCounts| edge.module == instance.module && edge.local >= edge.remote;
    let mut all = EdgeCounts { latency: vec![0; LATENCY_BUCKETS], ..EdgeCounts::default() };
    served.into_iter().chain(edges.iter().filter(own)).for_each(|edge| all.add(edge));
    let errors = all.call_errors.iter().map(|(_, count)| count).sum::<u64>();
    instance.calls = Some(served.map_or(0, |served| served.remote) + all.local);
    instance.errors = Some(all.own_errors + errors);
    instance.latency = all.latency;
}

/// One line for each edge.
fn sum(edges: impl Iterator<Item = EdgeCounts>) -> Vec<EdgeCounts> {
    let mut summed = BTreeMap::<_, EdgeCounts>::new();
    for edge in edges {
        let name = (edge.caller.clone(), edge.module.clone(), edge.method.clone());
        match summed.get_mut(&name) {
            None => drop(summed.insert(name, edge)),
            Some(sum) => sum.add(&edge),
        }
    }
    summed.into_values().collect()
}
