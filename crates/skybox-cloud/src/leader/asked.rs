//! What people ask about the plan, answered as whoever leads would decide: from the same facts, by the same function.

use std::sync::Arc;

use skybox_node::control::ModuleDecl;
use skybox_plan::place::{Explanation, Facts, Placement, Rules};

use super::brake::Held;
use super::decide::{Mind, Seen, facts_of};
use super::reports::Reports;
use super::{LOOKED_AT, figures, now_ms};
use crate::parent::Outlook;
use crate::records::{DEGRADED, Degraded, LEADER, Leader, NODE, Table, of_life};
use crate::store::{Entry, Op, Store, StoreError, View};

/// Why a module is where it is, from what is in the store; nothing if there is no such module. `build`: of the nodes that
/// count where none of them leads; of all, if it is not said. `reports`: what this node was told, if it leads.
///
/// # Errors
/// As those of [`Store::list`].
pub(crate) async fn explain(
    store: &Arc<dyn Store>,
    modules: &[ModuleDecl],
    build: Option<&str>,
    rules: &Rules,
    reports: &Reports,
    module: &str,
) -> Result<Option<Explanation>, StoreError> {
    Ok(skybox_plan::place::explain(&facts(store, modules, build, rules, reports, &[]).await?, module))
}

/// What the plan would become if this were written as well.
///
/// What has to be so for a while before it moves something, a shorter way or more to do, begins to count when it is seen:
/// such moves are not foreseen.
///
/// # Errors
/// As those of [`Store::list`].
pub(crate) async fn foresee(
    store: &Arc<dyn Store>,
    modules: &[ModuleDecl],
    build: Option<&str>,
    rules: &Rules,
    reports: &Reports,
    ops: &[Op],
) -> Result<Outlook, StoreError> {
    let facts = facts(store, modules, build, rules, reports, ops).await?;
    // A large plan takes a while, and calls are served on this thread.
    let decided = tokio::task::spawn_blocking(move || skybox_plan::place::place(&facts)).await;
    let decision = decided.map_err(|error| StoreError::Unreachable {
        why: format!("the plan could not be made: {error}"),
        may_have_run: false,
    })?;
    Ok(Outlook { moves: decision.moves, unplaced: decision.unplaced })
}

/// What whoever leads decides on, if this were written as well.
async fn facts(
    store: &Arc<dyn Store>,
    modules: &[ModuleDecl],
    build: Option<&str>,
    rules: &Rules,
    reports: &Reports,
    ops: &[Op],
) -> Result<Facts, StoreError> {
    let mut seen = Seen::default();
    for prefix in [NODE].into_iter().chain(LOOKED_AT) {
        let mut view = View::of(store.list(prefix).await?);
        ops.iter().filter(|op| super::key_of(op).starts_with(prefix)).for_each(|op| write(&mut view, op));
        seen.follow(prefix, &view);
    }
    let (mut leaders, mut degraded) = (Table::<Leader>::default(), Table::<Degraded>::default());
    leaders.follow(&View::of(store.list(LEADER).await?));
    degraded.follow(&View::of(store.list(DEGRADED).await?));
    let leads = leaders.get(LEADER).and_then(|row| seen.nodes.get(&of_life(NODE, row.value.incarnation)));
    let build = leads.map(|row| row.value.build.as_str()).or(build);
    let held_back = degraded.get(DEGRADED).map(|row| row.value.held.clone()).unwrap_or_default();
    let had =
        seen.assigns.iter().map(|(_, row)| &row.value.node).filter(|node| held_back.contains(&node.name));
    let held: Held = had.map(|node| (node.incarnation, node.clone())).collect();
    let remembered = Placement::default();
    let figures = figures(reports, &seen, modules, build, &held);
    let mind = Mind { modules, build, rules, remembered: &remembered, figures: &figures, now_ms: now_ms() };
    Ok(facts_of(&seen, &mind, &held))
}

/// Has a view be as if this had been written after all that is in it.
fn write(view: &mut View, op: &Op) {
    let changed = view.revision.next();
    match op {
        Op::Put { key, value, lease } => {
            let created = view.entries.get(key).map_or(changed, |entry| entry.created);
            let entry = Entry { key: key.clone(), value: value.clone(), created, changed, lease: *lease };
            view.entries.insert(key.clone(), entry);
        }
        Op::Delete(key) => drop(view.entries.remove(key)),
        Op::Get(_) => {}
    }
}
