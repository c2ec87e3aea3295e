//! How nodes stand to the plan of their cloud: what somebody can be woken by. `docs/placement.md` says when.

use super::{Figures, escaped, histogram, line, section};
use crate::control::{LeaderFigures, PlanFigures};

/// Of nodes that are of a cloud; of others there is nothing to say.
pub(super) fn render(text: &mut String, nodes: &[Figures]) {
    let planned: Vec<_> = nodes
        .iter()
        .filter_map(|node| Some((format!("node=\"{}\"", escaped(&node.node)), node.plan.as_ref()?)))
        .collect();
    if planned.is_empty() {
        return;
    }
    let mut of_each = |name: &str, help: &str, value: &dyn Fn(&PlanFigures) -> f64| {
        section(text, name, "gauge", help);
        for (labels, figures) in &planned {
            gauge(text, name, labels, value(figures));
        }
    };
    let seconds = |ms: u64| ms as f64 / 1e3;
    let flag = |is_so: bool| f64::from(u8::from(is_so));
    of_each("skybox_leads", "Whether the node plans: 1 on one node of a cloud.", &|of| {
        flag(of.leads.is_some())
    });
    of_each(
        "skybox_plan_age_seconds",
        "For how long what the node knows of the plan may be out of date.",
        &|of| seconds(of.age_ms),
    );
    of_each(
        "skybox_lease_age_seconds",
        "Since the last renewal of the node's lease was sent that was answered.",
        &|of| seconds(of.lease_age_ms),
    );
    of_each("skybox_fence_closed", "Whether calls of keyed instances may not begin on the node.", &|of| {
        flag(of.fence_closed)
    });
    of_each("skybox_fenced_shards", "Shards that the node owns whose calls may not begin.", &|of| {
        of.fenced_shards as f64
    });
    let renewal = "skybox_lease_renewal_seconds";
    section(text, renewal, "histogram", "How long renewals of the node's lease took.");
    for (labels, figures) in &planned {
        histogram(text, renewal, labels, &figures.renewals.counts, figures.renewals.sum_us);
    }
    let leading: Vec<_> =
        planned.iter().filter_map(|(labels, figures)| Some((labels, figures.leads.as_ref()?))).collect();
    leaders(text, &leading);
}

/// What only the node knows that leads, and says.
fn leaders(text: &mut String, leading: &[(&String, &LeaderFigures)]) {
    let (modules, unplaced, held) = ("skybox_unplaced_modules", "skybox_unplaced", "skybox_held_back_nodes");
    section(text, modules, "gauge", "Modules that lack a place, as the node says that leads.");
    for (labels, figures) in leading {
        line(text, modules, labels, figures.unplaced.len() as u64);
    }
    section(text, unplaced, "gauge", "Instances or shards without a place, of modules that lack any.");
    for (labels, figures) in leading {
        for (module, missing) in &figures.unplaced {
            line(text, unplaced, &format!("{labels},module=\"{}\"", escaped(module)), *missing);
        }
    }
    section(
        text,
        held,
        "gauge",
        "Nodes that were lost too many at once to be believed: the cloud is degraded.",
    );
    for (labels, figures) in leading {
        line(text, held, labels, figures.held_back);
    }
}

fn gauge(text: &mut String, name: &str, labels: &str, value: f64) {
    use std::fmt::Write;
    writeln!(text, "{name}{{{labels}}} {value}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::Latencies;

    #[test]
    fn each_node_says_how_it_stands_and_the_one_that_leads_what_it_has_decided() {
        let mut renewals = Latencies::default();
        renewals.took(Duration::from_millis(2));
        let leads =
            LeaderFigures { unplaced: [("dreamer".to_owned(), 2)].into_iter().collect(), held_back: 3 };
        let a = PlanFigures {
            age_ms: 1_500,
            lease_age_ms: 250,
            renewals,
            leads: Some(leads),
            ..PlanFigures::default()
        };
        let b = PlanFigures { fence_closed: true, fenced_shards: 341, ..PlanFigures::default() };
        let node = |name: &str, plan| Figures {
            node: name.to_owned(),
            edges: Vec::new(),
            handshakes: Default::default(),
            plan,
        };
        let mut text = String::new();
        render(&mut text, &[node("a", Some(a)), node("b", Some(b)), node("alone", None)]);
        for line in [
            "skybox_leads{node=\"a\"} 1",
            "skybox_leads{node=\"b\"} 0",
            "skybox_plan_age_seconds{node=\"a\"} 1.5",
            "skybox_lease_age_seconds{node=\"a\"} 0.25",
            "skybox_fence_closed{node=\"a\"} 0",
            "skybox_fence_closed{node=\"b\"} 1",
            "skybox_fenced_shards{node=\"b\"} 341",
            "skybox_lease_renewal_seconds_bucket{node=\"a\",le=\"0.001024\"} 0",
            "skybox_lease_renewal_seconds_bucket{node=\"a\",le=\"0.002048\"} 1",
            "skybox_lease_renewal_seconds_count{node=\"a\"} 1",
            "skybox_lease_renewal_seconds_count{node=\"b\"} 0",
            "skybox_unplaced_modules{node=\"a\"} 1",
            "skybox_unplaced{node=\"a\",module=\"dreamer\"} 2",
            "skybox_held_back_nodes{node=\"a\"} 3",
        ] {
            assert!(text.lines().any(|of| of == line), "{line}: {text}");
        }
        assert!(!text.contains("alone") && !text.contains("skybox_unplaced_modules{node=\"b\"}"), "{text}");
        let mut text = String::new();
        render(&mut text, &[node("alone", None)]);
        assert_eq!(text, "", "of a program that is no cloud nothing is said");
    }
}
