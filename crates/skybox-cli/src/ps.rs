//! `skybox ps`: the nodes of a program, its modules, and what runs where.

mod cells;
mod cloud;
mod holds;
mod knots;
mod names;
mod past;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use skybox_cloud::parent::GaveUp;
use skybox_cloud::running::{ALONE, Running, RunningError, Shown, Statuses};
use skybox_core::{ModuleKind, ModulePlan, NodeName};
use skybox_node::{CellStatus, ImplementationStatus, ModuleStatus, PolicyStatus};

use crate::args::PsArgs;
use crate::call::print_json;
use crate::choose::{Purpose, choose};
use crate::table::{self, Cell, Table, Tone, paint};
use cells::show_cells;
use cloud::{Cloud, show_trouble, title};
use holds::{Held, show_holds};
use knots::{Wait, knots};
use names::show_names;
pub(crate) use names::{links, names as called};
use past::{Ended, Given, show_endings, show_failures};
use tree::show_tree;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Program {
    pub(crate) program: String,
    pid: u32,
    /// Whether it has nodes that somebody plans for, or is a single process.
    split: bool,
    /// Of nodes that agree through a store: what there is to be said of them all.
    cloud: Option<Cloud>,
    /// Where each listener is bound.
    listeners: BTreeMap<String, String>,
    nodes: Vec<Node>,
    pub(crate) modules: Vec<Module>,
    /// Calls that wait for each other.
    knots: Vec<Wait>,
}

#[derive(Debug, Serialize)]
struct Node {
    node: String,
    /// Where other nodes reach it, of a cloud.
    address: Option<String>,
    /// Absent between two lives.
    pid: Option<u32>,
    state: State,
    /// Milliseconds since its start.
    up_ms: Option<u64>,
    /// The listeners it serves.
    serves: Vec<String>,
    /// Why it did not say what it runs.
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It takes calls from outside.
    Ready,
    /// It is not ready yet, or leaves on its own account.
    NotReady,
    /// It hands over what it has.
    Draining,
    /// Its process is there and says nothing, or there is none.
    Silent,
    /// It may be there: it is on another machine, and was not asked without a certificate.
    NotAsked,
    /// It is gone with too many others, and that is not believed yet.
    HeldBack,
}

impl State {
    fn text(self) -> (&'static str, Tone) {
        match self {
            State::Ready => ("ready", Tone::Good),
            State::NotReady => ("not ready", Tone::Faint),
            State::Draining => ("draining", Tone::Faint),
            State::Silent => ("silent", Tone::Bad),
            State::NotAsked => ("not asked", Tone::Faint),
            State::HeldBack => ("lost", Tone::Bad),
        }
    }
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Module {
    pub(crate) module: String,
    /// `task`, `replicated` or `keyed`.
    pub(crate) form: &'static str,
    /// Where it is written.
    pub(crate) path: String,
    /// Of an interface: what implements it, and where. More than one while nodes are configured differently.
    pub(crate) implementations: Vec<Implementation>,
    /// How its instances are kept. More than one while nodes are configured differently.
    pub(crate) policies: Vec<Kept>,
    pub(crate) methods: Vec<Method>,
    /// The nodes that should run it.
    pub(crate) assigned: Vec<String>,
    /// The nodes that take its calls.
    pub(crate) serving: Vec<String>,
    /// Where people have put it.
    pub(crate) pinned: Vec<String>,
    /// Why it runs nowhere.
    pub(crate) failed: Option<String>,
    /// Where it, or a key of it, is not started again.
    pub(crate) given_up: Vec<Given>,
    /// How many keys are not started again, by node: `given_up` has the last of each.
    pub(crate) given_up_keys: BTreeMap<String, u64>,
    /// The living nodes on which it failed as often as it may, oldest first; it is placed on others, if there are such.
    pub(crate) failed_on: Vec<GaveUp>,
    /// Those that live; of many spawned ones, the first hundred of each process.
    pub(crate) instances: Vec<Instance>,
    /// How many live, by node.
    pub(crate) live: BTreeMap<String, u64>,
    /// How earlier instances ended, the last one last.
    pub(crate) endings: Vec<Ended>,
    /// How many instances have ended otherwise than by being stopped, or did not start, by node.
    pub(crate) ended: BTreeMap<String, u64>,
    /// The methods that have held async threads.
    pub(crate) holds: Vec<Held>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Implementation {
    #[serde(flatten)]
    pub(crate) chosen: ImplementationStatus,
    /// The nodes that have chosen it.
    nodes: Vec<String>,
}

/// How a module is kept on some nodes.
#[derive(Debug, Serialize)]
pub(crate) struct Kept {
    #[serde(flatten)]
    pub(crate) policy: PolicyStatus,
    /// Which nodes.
    pub(crate) nodes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Method {
    method: String,
    parameters: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Instance {
    pub(crate) instance: String,
    pub(crate) node: String,
    pub(crate) key: Option<String>,
    pub(crate) up_ms: u64,
    /// Calls that hold it, where that is counted.
    pub(crate) holding: Option<u64>,
    /// Calls that wait for their turn on it.
    pub(crate) waiting: Option<u64>,
    /// The process it lives in, if that is a cell.
    pub(crate) cell: Option<CellStatus>,
    /// The instance on its node whose code has spawned it.
    spawned_by: Option<String>,
    /// Its names, of a spawned one.
    pub(crate) names: Vec<String>,
    /// With how many others it falls, of a spawned one.
    pub(crate) falls_with: u64,
}

/// Shows a program.
pub(crate) async fn ps(args: &PsArgs) -> anyhow::Result<ExitCode> {
    let running = choose(&args.read.which, Purpose::Look).await?;
    let (shown, statuses) = running.look().await?;
    let program = gather(&running, shown, statuses);
    let colours = table::colours(&std::io::stdout());
    if args.read.json {
        print_json(&program)?;
    } else if args.tree {
        show_tree(&program, &mut std::io::stdout().lock(), colours)?;
    } else {
        show(&program, &mut std::io::stdout().lock(), colours)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn gather(running: &Running, shown: Option<Shown>, statuses: Statuses) -> Program {
    let mut modules = BTreeMap::new();
    for status in statuses.values().flatten() {
        for module in &status.modules {
            add(modules.entry(module.module.clone()).or_default(), module, &status.node);
        }
    }
    for module in modules.values_mut() {
        place(module, shown.as_ref());
    }
    let mut listeners = BTreeMap::new();
    for status in statuses.values().flatten() {
        listeners.extend(status.listeners.iter().map(|(name, address)| (name.clone(), address.to_string())));
    }
    if let Some(shown) = &shown {
        listeners.extend(shown.listeners.iter().map(|(name, address)| (name.clone(), address.to_string())));
    }
    let knots = knots(statuses.values().flatten());
    Program {
        knots,
        program: running.program.clone(),
        pid: running.pid,
        split: shown.is_some(),
        cloud: Cloud::of(shown.as_ref()),
        listeners,
        nodes: nodes(shown.as_ref(), statuses),
        modules: modules.into_values().collect(),
    }
}

impl Module {
    /// How many instances live, those among them that are not listed.
    pub(crate) fn live(&self) -> u64 {
        self.live.values().sum()
    }
}

/// What one node says of a module.
fn add(module: &mut Module, status: &ModuleStatus, node: &NodeName) {
    module.module = status.module.clone();
    module.form = form(status.kind);
    module.path = status.path.clone();
    if let Some(chosen) = &status.implementation {
        match module.implementations.iter_mut().find(|known| known.chosen == *chosen) {
            Some(known) => known.nodes.push(node.to_string()),
            None => module
                .implementations
                .push(Implementation { chosen: chosen.clone(), nodes: vec![node.to_string()] }),
        }
    }
    if let Some(policy) = &status.policy {
        match module.policies.iter_mut().find(|known| known.policy == *policy) {
            Some(known) => known.nodes.push(node.to_string()),
            None => module.policies.push(Kept { policy: policy.clone(), nodes: vec![node.to_string()] }),
        }
    }
    let methods = status.methods.iter();
    module.methods =
        methods.map(|(method, names)| Method { method: method.clone(), parameters: names.clone() }).collect();
    module.instances.extend(status.instances.iter().map(|instance| Instance {
        instance: instance.instance.clone(),
        node: node.to_string(),
        key: instance.key.clone(),
        up_ms: instance.up_ms,
        holding: instance.holding,
        waiting: instance.waiting,
        cell: instance.cell.clone(),
        spawned_by: instance.spawned_by.clone(),
        names: instance.names.clone(),
        falls_with: instance.falls_with,
    }));
    if status.live() > 0 {
        *module.live.entry(node.to_string()).or_default() += status.live();
    }
    if status.ended > 0 {
        *module.ended.entry(node.to_string()).or_default() += status.ended;
    }
    module.holds.extend(status.holds.iter().map(|hold| Held::on(node, hold)));
    if status.given_up_keys > 0 {
        module.given_up_keys.insert(node.to_string(), status.given_up_keys);
    }
    module.remember(node.as_str(), &status.endings, &status.given_up);
}

/// What the plan says of it.
fn place(module: &mut Module, shown: Option<&Shown>) {
    module.serving = serving(&module.module, shown);
    let Some(shown) = shown else {
        module.assigned = module.serving.clone();
        return;
    };
    if shown.trouble.is_some() {
        // Whatever the plan is: there it lives.
        module.serving = module.live.keys().cloned().collect();
        module.assigned = module.serving.clone();
        return;
    }
    module.failed_on = shown.gave_up.get(&module.module).cloned().unwrap_or_default();
    module.pinned = shown.pins.get(&module.module).map(|nodes| texts(nodes)).unwrap_or_default();
    match shown.plan.modules.get(&module.module) {
        None => {}
        Some(ModulePlan::Replicated { assigned, failed, .. }) => {
            module.assigned = texts(assigned);
            module.failed = failed.clone();
        }
        Some(ModulePlan::Keyed(shards)) => module.assigned = texts(&shards.nodes),
    }
    module.assigned.sort();
}

/// The nodes that take a module's calls, sorted.
pub(crate) fn serving(module: &str, shown: Option<&Shown>) -> Vec<String> {
    let Some(shown) = shown else { return vec![ALONE.to_owned()] };
    let mut serving = match shown.plan.modules.get(module) {
        None => Vec::new(),
        Some(ModulePlan::Replicated { serving, .. }) => texts(serving),
        Some(ModulePlan::Keyed(shards)) => texts(&shards.nodes),
    };
    serving.sort();
    serving
}

fn texts(nodes: &[NodeName]) -> Vec<String> {
    nodes.iter().map(NodeName::to_string).collect()
}

pub(crate) fn form(kind: ModuleKind) -> &'static str {
    match kind {
        ModuleKind::Task => "task",
        ModuleKind::Replicated => "replicated",
        ModuleKind::Keyed => "keyed",
        ModuleKind::Spawned => "spawned",
    }
}

fn nodes(shown: Option<&Shown>, mut statuses: Statuses) -> Vec<Node> {
    let mut names: BTreeSet<NodeName> = statuses.keys().cloned().collect();
    names.extend(shown.into_iter().flat_map(|shown| shown.processes.keys().chain(&shown.degraded).cloned()));
    let node = |name: NodeName| {
        let draining = shown.and_then(|shown| shown.plan.nodes.get(&name)).is_some_and(|node| node.draining);
        let process = shown.and_then(|shown| shown.processes.get(&name).copied());
        let planned = shown.filter(|shown| shown.cloud).and_then(|shown| shown.plan.nodes.get(&name));
        let address = planned.map(|node| node.address.clone());
        let held_back = shown.is_some_and(|shown| shown.degraded.contains(&name));
        match statuses.remove(&name) {
            Some(Ok(status)) => Node {
                node: name.to_string(),
                address,
                pid: Some(status.pid),
                state: match status.ready {
                    _ if draining => State::Draining,
                    true => State::Ready,
                    false => State::NotReady,
                },
                up_ms: Some(status.up_ms),
                serves: status.listeners.into_keys().collect(),
                error: None,
            },
            unknown => Node {
                node: name.to_string(),
                address,
                pid: process,
                state: match &unknown {
                    None if held_back => State::HeldBack,
                    // Its process runs, and has not joined yet.
                    None => State::NotReady,
                    Some(Err(RunningError::NotHere { .. })) => State::NotAsked,
                    Some(_) => State::Silent,
                },
                up_ms: None,
                serves: Vec::new(),
                error: unknown.and_then(Result::err).map(|error| format!("{:#}", anyhow::Error::from(error))),
            },
        }
    };
    names.into_iter().map(node).collect()
}

fn show(program: &Program, out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    // In a cloud every node has its own.
    let listeners = program.listeners.iter().filter(|_| program.cloud.is_none());
    let listeners = listeners.map(|(name, address)| format!(", {name} on {address}"));
    writeln!(out, "{}{}\n", title(program), listeners.collect::<String>())?;
    show_trouble(program, out, colours)?;
    nodes_table(program).write(out, colours)?;
    writeln!(out)?;
    modules_table(program).write(out, colours)?;
    show_names(&program.modules, out, colours)?;
    show_cells(&program.modules, out, colours)?;
    show_holds(&program.modules, out, colours)?;
    show_failures(&program.modules, out, colours)?;
    show_endings(&program.modules, out, colours)?;
    if !program.knots.is_empty() {
        let text =
            "\nCalls wait for each other. Those with a deadline end by it; `skybox kill` ends the others:";
        writeln!(out, "{}", paint(text, Tone::Bad, colours))?;
        program.knots.iter().try_for_each(|wait| writeln!(out, "  {}", wait.text()))?;
    }
    for node in program.nodes.iter().filter(|node| node.error.is_some()) {
        let error = node.error.as_deref().unwrap_or_default();
        let text = match node.state {
            State::NotAsked => paint(error, Tone::Faint, colours),
            _ => paint(&format!("{}: {error}", node.node), Tone::Bad, colours),
        };
        writeln!(out, "\n{text}")?;
    }
    Ok(())
}

fn nodes_table(program: &Program) -> Table {
    let mut headings = vec!["NODE", "PROCESS", "STATE", "UP", "SERVES", "INSTANCES"];
    if program.cloud.is_some() {
        headings.insert(1, "ADDRESS");
    }
    let mut table = Table::new(&headings);
    for node in &program.nodes {
        let (state, tone) = node.state.text();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for module in &program.modules {
            if let Some(here) = module.live.get(&node.node) {
                counts.insert(&module.module, *here);
            }
        }
        let one =
            |(module, n): (&str, u64)| if n == 1 { module.to_owned() } else { format!("{module} ×{n}") };
        let counts: Vec<_> = counts.into_iter().map(one).collect();
        let mut cells = vec![
            node.node.as_str().into(),
            node.pid.map_or("–".to_owned(), |pid| pid.to_string()).into(),
            Cell::new(state, tone),
            node.up_ms.map_or("–".to_owned(), table::duration).into(),
            node.serves.join(", ").into(),
            counts.join(", ").into(),
        ];
        if program.cloud.is_some() {
            cells.insert(1, node.address.clone().unwrap_or_else(|| "–".to_owned()).into());
        }
        table.row(cells);
    }
    table
}

fn modules_table(program: &Program) -> Table {
    let interfaces = program.modules.iter().any(|module| !module.implementations.is_empty());
    let mut headings = vec!["MODULE", "FORM", "SERVING", "PINNED", "INSTANCES", "HOLDING", "WAITING"];
    if interfaces {
        headings.insert(1, "USES");
    }
    let mut table = Table::new(&headings);
    for module in &program.modules {
        let sum = |of: fn(&Instance) -> Option<u64>| module.instances.iter().filter_map(of).sum::<u64>();
        let serving = match module.serving.as_slice() {
            [] => Cell::new("nowhere", Tone::Bad),
            nodes => joined(nodes.iter().map(String::as_str)).into(),
        };
        let mut cells = vec![
            module.module.as_str().into(),
            module.form.into(),
            serving,
            module.pinned.join(", ").into(),
            Cell::count(module.live()),
            Cell::count(sum(|instance| instance.holding)),
            Cell::count(sum(|instance| instance.waiting)),
        ];
        if interfaces {
            let names = module.implementations.iter().map(|known| known.chosen.name.as_str());
            cells.insert(1, joined(names).into());
        }
        table.row(cells);
    }
    table
}

/// Names in a row, as people read them.
pub(crate) fn joined<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
