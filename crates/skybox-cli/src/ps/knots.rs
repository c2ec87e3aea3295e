//! Calls that wait for each other: found from what each node says of its own.

use std::collections::BTreeSet;

use serde::Serialize;
use skybox_core::Mode;
use skybox_node::{InstanceStatus, NodeStatus};

/// A call that waits for an instance, while a call above it holds another one: that one is not free before this one
/// is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Wait {
    /// Whom the caller keeps waiting.
    holds: Place,
    /// `&self` or `&mut self`.
    held: &'static str,
    /// Whom it waits for.
    wants: Place,
    wanted: &'static str,
}

/// An instance, as people find it again in the tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Place {
    module: String,
    key: Option<String>,
    node: String,
    instance: String,
}

impl Place {
    fn of(instance: &InstanceStatus) -> Place {
        Place {
            module: instance.module.clone(),
            key: instance.key.clone(),
            node: instance.node.to_string(),
            instance: instance.instance.clone(),
        }
    }

    fn text(&self) -> String {
        let key = self.key.as_ref().map(|key| format!("[{key}]")).unwrap_or_default();
        format!("{}{key} on {}", self.module, self.node)
    }
}

impl Wait {
    pub(super) fn text(&self) -> String {
        let Wait { holds, held, wants, wanted } = self;
        format!("a call holds {} `{held}` and waits for {} `{wanted}`", holds.text(), wants.text())
    }
}

/// The waits that are part of a ring, or lie between two of them: none of these ends before another one does.
pub(super) fn knots<'s>(statuses: impl Iterator<Item = &'s NodeStatus>) -> Vec<Wait> {
    let modules = statuses.flat_map(|status| &status.modules);
    let instances: Vec<&InstanceStatus> = modules.flat_map(|module| &module.instances).collect();
    tied(instances.iter().flat_map(|wanted| waits_for(wanted, &instances)).collect())
}

fn waits_for(wanted: &InstanceStatus, instances: &[&InstanceStatus]) -> Vec<Wait> {
    let waits = wanted.waits.iter().flat_map(|wait| wait.above.iter().map(move |above| (wait, above)));
    let held = waits.filter_map(|(wait, above)| {
        let holds = instances.iter().find(|instance| instance.instance == above.instance)?;
        // A task that a call has left behind carries its chain still.
        holds.holders.contains(&above.call).then(|| Wait {
            holds: Place::of(holds),
            held: receiver(above.mode),
            wants: Place::of(wanted),
            wanted: receiver(wait.mode),
        })
    });
    held.collect()
}

/// Leaves out whoever waits for someone that can go on, and whoever nobody waits for, until none is left of them.
fn tied(mut waits: BTreeSet<Wait>) -> Vec<Wait> {
    loop {
        let held: BTreeSet<Place> = waits.iter().map(|wait| wait.holds.clone()).collect();
        let wanted: BTreeSet<Place> = waits.iter().map(|wait| wait.wants.clone()).collect();
        let before = waits.len();
        waits.retain(|wait| held.contains(&wait.wants) && wanted.contains(&wait.holds));
        if waits.len() == before {
            return waits.into_iter().collect();
        }
    }
}

fn receiver(mode: Mode) -> &'static str {
    match mode {
        Mode::Shared => "&self",
        Mode::Exclusive => "&mut self",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(holds: &str, wants: &str) -> Wait {
        let place = |name: &str| Place {
            module: name.to_owned(),
            key: None,
            node: "node-1".to_owned(),
            instance: name.to_owned(),
        };
        Wait { holds: place(holds), held: "&mut self", wants: place(wants), wanted: "&mut self" }
    }

    #[test]
    fn only_rings_are_knots() {
        let check = |waits: &[(&str, &str)], expect: &[(&str, &str)]| {
            let of = |waits: &[(&str, &str)]| waits.iter().map(|(a, b)| wait(a, b)).collect();
            let expect: BTreeSet<Wait> = of(expect);
            assert_eq!(tied(of(waits)), expect.into_iter().collect::<Vec<_>>(), "{waits:?}");
        };
        check(&[], &[]);
        check(&[("a", "b"), ("b", "c")], &[]);
        check(&[("a", "b"), ("b", "a")], &[("a", "b"), ("b", "a")]);
        check(&[("a", "b"), ("b", "c"), ("c", "a")], &[("a", "b"), ("b", "c"), ("c", "a")]);
        check(&[("x", "a"), ("a", "b"), ("b", "a"), ("b", "y")], &[("a", "b"), ("b", "a")]);
    }
}
