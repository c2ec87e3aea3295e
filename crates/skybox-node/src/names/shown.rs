//! What operators see of names and links.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use skybox_core::{InstanceId, ModuleKind};
use skybox_plan::names::{NameAnswer, NameAsk, OF_MAX};

use crate::app::AppInner;
use crate::status::{InstanceStatus, NodeStatus};

/// How long whoever keeps the names may take: an operator sees none of one that hangs.
const SHOW_WAIT: Duration = Duration::from_millis(250);

/// Adds to a status, which has what lives in cells too, the names of the spawned instances in it, and how many others each
/// falls with.
pub(crate) async fn show(app: &Arc<AppInner>, status: &mut NodeStatus) {
    let instances = || status.modules.iter().flat_map(|module| &module.instances);
    let shown: HashSet<_> = instances().filter_map(|instance| id_of(app, instance)).collect();
    if shown.is_empty() {
        return;
    }
    let links = app.ties.of_each(&shown);
    let mut names = names_of(app, &shown).await;
    for instance in status.modules.iter_mut().flat_map(|module| &mut module.instances) {
        if let Some(id) = id_of(app, instance) {
            instance.names = names.remove(&id).unwrap_or_default();
            instance.falls_with = links.get(&id).copied().unwrap_or(0);
        }
    }
}

/// Asks for the names of those that have some, as far as this node knows.
async fn names_of(app: &Arc<AppInner>, shown: &HashSet<InstanceId>) -> HashMap<InstanceId, Vec<String>> {
    let named = shown.iter().copied().filter(|id| app.names.has(*id));
    let instances: Vec<_> = named.take(OF_MAX).collect();
    if instances.is_empty() {
        return HashMap::new();
    }
    let asked = app.control.names(NameAsk::Of { instances });
    match tokio::time::timeout(SHOW_WAIT, asked).await {
        Ok(Ok(NameAnswer::Of(names))) => names.into_iter().collect(),
        _ => HashMap::new(),
    }
}

/// The id of a spawned instance whose seat this node has.
fn id_of(app: &AppInner, status: &InstanceStatus) -> Option<InstanceId> {
    if status.kind != ModuleKind::Spawned {
        return None;
    }
    let count = status.instance.rsplit_once('.')?.1.parse().ok()?;
    let id = InstanceId { node: app.incarnation, count };
    // A cell that does not answer is shown in the place of what is in it.
    (id.to_string() == status.instance).then_some(id)
}
