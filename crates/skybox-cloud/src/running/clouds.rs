//! Processes of one user on one machine that are nodes of one cloud.

use std::collections::BTreeMap;

use skybox_node::NodeStatus;

use super::sight::{knows, said_by};
use super::{Place, Process, Running, Shown};

/// The same programs, each cloud once: where several processes of one name run, they are asked whether they know each
/// other. Those that cannot say so while their store is away are taken for nodes of one cloud, and so is one that says
/// nothing at all, if there is only one cloud of that name.
pub async fn together(all: Vec<Running>) -> Vec<Running> {
    let mut alone: BTreeMap<String, Vec<Process>> = BTreeMap::new();
    let mut found = Vec::new();
    for running in all {
        match running.place {
            Place::Processes(processes) => alone.entry(running.program).or_default().extend(processes),
            _ => found.push(running),
        }
    }
    for (program, processes) in alone {
        let groups = match processes.len() {
            1 => vec![processes],
            _ => grouped(&program, processes).await,
        };
        found.extend(groups.into_iter().filter_map(|processes| {
            let pid = processes.iter().map(|process| process.pid).min()?;
            Some(Running { program: program.clone(), pid, place: Place::Processes(processes), files: None })
        }));
    }
    found.sort_by(|a, b| (&a.program, a.pid).cmp(&(&b.program, b.pid)));
    found
}

/// Those of one cloud together, the others each alone.
async fn grouped(program: &str, processes: Vec<Process>) -> Vec<Vec<Process>> {
    let (mut clouds, mut alone, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    let mut asked = Vec::new();
    for (process, said) in said_by(program, processes).await {
        match said {
            Ok(status) => {
                let (program, socket) = (program.to_owned(), process.socket.clone());
                let plan = tokio::spawn(async move { knows(&program, &socket).await });
                asked.push((process, status, plan));
            }
            Err(_) => silent.push(process),
        }
    }
    let (mut left, mut without_store) = (Vec::new(), Vec::new());
    for (process, status, plan) in asked {
        match plan.await.ok().flatten() {
            None => silent.push(process),
            Some(None) => alone.push(vec![process]),
            Some(Some(shown)) if shown.trouble.is_some() => without_store.push(process),
            Some(Some(shown)) => left.push((process, status, shown)),
        }
    }
    while !left.is_empty() {
        let mut cloud = vec![left.remove(0)];
        let mut at = 0;
        while let Some((_, status, shown)) = cloud.get(at) {
            // One that leaves is no more in the plan of the others, and has them in its own.
            let belongs = |other: &(Process, NodeStatus, Shown)| {
                is_planned(shown, &other.1) || is_planned(&other.2, status)
            };
            let more: Vec<_> = left.extract_if(.., |other| belongs(other)).collect();
            cloud.extend(more);
            at += 1;
        }
        clouds.push(cloud.into_iter().map(|(process, ..)| process).collect());
    }
    if !without_store.is_empty() {
        clouds.push(without_store);
    }
    match clouds.as_mut_slice() {
        [only] => only.append(&mut silent),
        _ => alone.extend(silent.into_iter().map(|process| vec![process])),
    }
    clouds.extend(alone);
    clouds
}

fn is_planned(shown: &Shown, status: &NodeStatus) -> bool {
    shown.plan.nodes.get(&status.node).is_some_and(|node| node.address == status.address)
}
