//! How a module is kept alive: its annotations, after the configuration has had its say.

use skybox_core::{Isolate, Replicas, Restart};
use skybox_node::PolicyStatus;

use crate::ps::{Module, joined};
use crate::table;

/// One line each for how many there are, where they live, and what follows an end; of nodes that are configured
/// differently, one after the other.
pub(super) fn kept(module: &Module) -> Vec<String> {
    let differ = module.policies.len() > 1;
    let mut lines = Vec::new();
    for kept in &module.policies {
        if differ {
            lines.push(format!("on {}:", joined(kept.nodes.iter().map(String::as_str))));
        }
        lines.extend(number(module.form, &kept.policy));
        lines.push(home(&kept.policy));
        lines.push(restarts(module.form, &kept.policy));
    }
    if lines.is_empty() {
        lines.push("no node says how: it is of a version without, or silent".to_owned());
    }
    lines
}

fn number(form: &str, policy: &PolicyStatus) -> Option<String> {
    let text = match policy.replicas {
        _ if !matches!(form, "replicated" | "task") => return None,
        Replicas::PerNode => "one instance on each node".to_owned(),
        Replicas::Range { min: 1, max: 1 } => "one instance".to_owned(),
        Replicas::Range { min, max } if min == max => format!("{min} instances"),
        Replicas::Range { min, max } => format!("{min} to {max} instances"),
    };
    Some(format!("{text} (`replicas`)"))
}

fn home(policy: &PolicyStatus) -> String {
    let Some(isolate) = policy.isolate else {
        return "in the process of its node, whose end is its own (`isolate`)".to_owned();
    };
    let home = match isolate {
        Isolate::Process => "each in a process of its own (`isolate = \"process\"`)",
        Isolate::ProcessShared => "in one process for all of a node (`isolate = \"process:shared\"`)",
    };
    let memory = policy.memory_bytes.map(|bytes| format!("{} of memory", table::bytes(bytes)));
    let cpu = policy.cpu_milli.map(|milli| format!("{} of a core", f64::from(milli) / 1000.0));
    match [memory, cpu].into_iter().flatten().collect::<Vec<_>>() {
        limits if limits.is_empty() => home.to_owned(),
        limits => format!("{home}, with {} at most", limits.join(" and ")),
    }
}

fn restarts(form: &str, policy: &PolicyStatus) -> String {
    if form == "spawned" {
        return "one that has ended is not started again, unless code does so: a supervisor".to_owned();
    }
    let when = match policy.restart {
        Restart::Always => "started again whenever it ends",
        Restart::OnCrash => "started again when it crashes",
        Restart::Never => return "not started again, however it ends (`restart`)".to_owned(),
    };
    let tries = u64::from(policy.max_restarts) + 1;
    let pause = |ms| table::duration(ms);
    format!(
        "{when} (`restart`), after pauses from {} to {}; given up at {tries} failed starts within {} (`max_restarts`, \
         `within`)",
        pause(policy.backoff_first_ms),
        pause(policy.backoff_max_ms),
        pause(policy.within_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ps::Kept;

    fn policy() -> PolicyStatus {
        PolicyStatus {
            replicas: Replicas::fixed(1),
            isolate: None,
            cpu_milli: None,
            memory_bytes: None,
            restart: Restart::Always,
            max_restarts: 2,
            within_ms: 30_000,
            backoff_first_ms: 50,
            backoff_max_ms: 5_000,
            stop_wait_ms: 10_000,
        }
    }

    #[track_caller]
    fn check(form: &'static str, policies: Vec<(PolicyStatus, &str)>, expected: &[&str]) {
        let policies =
            policies.into_iter().map(|(policy, node)| Kept { policy, nodes: vec![node.to_owned()] });
        let module = Module { form, policies: policies.collect(), ..Module::default() };
        assert_eq!(kept(&module), expected);
    }

    #[test]
    fn a_policy_is_told_in_words() {
        let home = "in the process of its node, whose end is its own (`isolate`)";
        let again = "started again whenever it ends (`restart`), after pauses from 50 ms to 5 s; given up at 3 failed starts \
                     within 30 s (`max_restarts`, `within`)";
        check("replicated", vec![(policy(), "a")], &["one instance (`replicas`)", home, again]);
        check("keyed", vec![(policy(), "a")], &[home, again]);
        let by_code = "one that has ended is not started again, unless code does so: a supervisor";
        let cell = PolicyStatus {
            isolate: Some(Isolate::Process),
            memory_bytes: Some(64 << 20),
            cpu_milli: Some(500),
            ..policy()
        };
        let limited = "each in a process of its own (`isolate = \"process\"`), with 64.0 MiB of memory and 0.5 of a core at most";
        check("spawned", vec![(cell, "a")], &[limited, by_code]);
        let never = PolicyStatus { restart: Restart::Never, replicas: Replicas::PerNode, ..policy() };
        let each = "one instance on each node (`replicas`)";
        let not = "not started again, however it ends (`restart`)";
        let two = vec![(policy(), "a"), (never, "b")];
        check("task", two, &["on a:", "one instance (`replicas`)", home, again, "on b:", each, home, not]);
        check("keyed", vec![], &["no node says how: it is of a version without, or silent"]);
    }
}
