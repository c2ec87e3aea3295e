//! The same as a tree: nodes, their modules, what lives there, and what that has spawned.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use super::names::{links, names};
use super::{Instance, Module, Node, Program};
use crate::table::{self, Tone, paint};

/// Instances of a module that are shown under each node; a line says how many more there are.
const SHOWN_MAX: usize = 20;

/// A line, and what stands under it.
struct Branch {
    text: String,
    tone: Tone,
    under: Vec<Branch>,
}

impl Branch {
    fn new(text: String, tone: Tone) -> Branch {
        Branch { text, tone, under: Vec::new() }
    }

    /// Writes what stands under it; `before` is what is drawn to the left.
    fn write(&self, before: &str, out: &mut impl Write, colours: bool) -> std::io::Result<()> {
        for (at, branch) in self.under.iter().enumerate() {
            let (corner, rail) =
                if at + 1 == self.under.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            writeln!(out, "{before}{corner}{}", paint(&branch.text, branch.tone, colours))?;
            branch.write(&format!("{before}{rail}"), out, colours)?;
        }
        Ok(())
    }
}

/// Writes the nodes of a program, each with what is in it.
pub(super) fn show_tree(program: &Program, out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let forest = Forest::of(program);
    for node in &program.nodes {
        let top = node_branch(&forest, node);
        writeln!(out, "{}", paint(&top.text, top.tone, colours))?;
        top.write("", out, colours)?;
    }
    Ok(())
}

/// Who has spawned whom.
struct Forest<'p> {
    program: &'p Program,
    /// By node and name.
    instances: HashSet<(&'p str, &'p str)>,
    /// By node and owner.
    spawned: HashMap<(&'p str, &'p str), Vec<(&'p Module, &'p Instance)>>,
}

impl<'p> Forest<'p> {
    fn of(program: &'p Program) -> Forest<'p> {
        let mut forest = Forest { program, instances: HashSet::new(), spawned: HashMap::new() };
        for module in &program.modules {
            for instance in &module.instances {
                forest.instances.insert((&instance.node, &instance.instance));
                if let Some(owner) = &instance.spawned_by {
                    forest.spawned.entry((&instance.node, owner)).or_default().push((module, instance));
                }
            }
        }
        forest
    }

    /// Whether it stands under another one.
    fn stands_under(&self, instance: &Instance) -> bool {
        instance.spawned_by.as_deref().is_some_and(|owner| self.instances.contains(&(&*instance.node, owner)))
    }
}

fn node_branch(forest: &Forest<'_>, node: &Node) -> Branch {
    let (state, tone) = node.state.text();
    let pid = node.pid.map(|pid| format!("process {pid}"));
    let up = node.up_ms.map(|up| format!("up {}", table::duration(up)));
    let mut branch = Branch::new(line(&node.node, [Some(state.to_owned()), pid, up]), tone);
    let modules = forest.program.modules.iter();
    branch.under = modules.filter_map(|module| module_branch(forest, module, node)).collect();
    if let Some(why) = &node.error {
        branch.under.push(Branch::new(why.clone(), Tone::Bad));
    }
    branch
}

/// A module that has to do with a node: it lives there, or it does not any more.
fn module_branch(forest: &Forest<'_>, module: &Module, node: &Node) -> Option<Branch> {
    let here: Vec<_> = module.instances.iter().filter(|instance| instance.node == node.node).collect();
    let given_up = module.given_up_on(&node.node);
    let ended = module.ended.get(&node.node).copied().unwrap_or(0);
    if here.is_empty() && given_up == 0 && ended == 0 {
        return None;
    }
    let failed = (given_up > 0).then(|| {
        if module.form == "keyed" { format!("{given_up} keys given up") } else { "given up".to_owned() }
    });
    let has_ended = ended > 0;
    let live = module.live.get(&node.node).copied().unwrap_or_default();
    let counts = (live != 1).then(|| format!("{live} instances"));
    let ended = (ended > 0)
        .then(|| if ended == 1 { "1 has ended".to_owned() } else { format!("{ended} have ended") });
    let last = module.last_ending_on(&node.node).map(|why| format!("the last one {why}"));
    let tone = if given_up > 0 { Tone::Bad } else { Tone::Plain };
    let form = Some(module.form.to_owned());
    let mut branch =
        Branch::new(line(&module.module, [form, counts, failed, ended.zip(last).map(both)]), tone);
    // Those that an instance has spawned stand under that.
    let own = here.iter().filter(|instance| !forest.stands_under(instance));
    branch.under = limited(own.map(|instance| (module, *instance)), forest);
    let all_told = live <= here.len() as u64 && given_up == 0 && !has_ended;
    if branch.under.is_empty() && !here.is_empty() && module.form == "spawned" && all_told {
        return None;
    }
    Some(branch)
}

fn both((ended, last): (String, String)) -> String {
    format!("{ended}, {last}")
}

fn instance_branch(forest: &Forest<'_>, module: &Module, instance: &Instance) -> Branch {
    let name = match &instance.key {
        Some(key) => format!("{}[{key}] {}", module.module, instance.instance),
        None if instance.spawned_by.is_some() => format!("{} {}", module.module, instance.instance),
        None => instance.instance.clone(),
    };
    let count = |n: Option<u64>, what: &str| n.filter(|n| *n > 0).map(|n| format!("{n} {what}"));
    let cell = instance.cell.as_ref().map(|cell| {
        let uses = cell.uses.map(|uses| format!(" with {}", table::bytes(uses.memory_bytes)));
        format!("cell, process {}{}", cell.pid, uses.unwrap_or_default())
    });
    let up = Some(format!("up {}", table::duration(instance.up_ms)));
    let links = links(instance.falls_with);
    let parts = [
        names(&instance.names),
        up,
        cell,
        count(instance.holding, "in it"),
        count(instance.waiting, "waiting"),
        links,
    ];
    let mut branch = Branch::new(line(&name, parts), Tone::Plain);
    let children = forest.spawned.get(&(&*instance.node, &*instance.instance));
    branch.under = limited(children.into_iter().flatten().copied(), forest);
    branch
}

/// The first ones, and how many more there are.
fn limited<'p>(
    mut instances: impl Iterator<Item = (&'p Module, &'p Instance)>,
    forest: &Forest<'_>,
) -> Vec<Branch> {
    let shown = instances.by_ref().take(SHOWN_MAX);
    let mut branches: Vec<_> =
        shown.map(|(module, instance)| instance_branch(forest, module, instance)).collect();
    let more = instances.count();
    if more > 0 {
        branches.push(Branch::new(format!("{more} more"), Tone::Faint));
    }
    branches
}

fn line<const N: usize>(name: &str, parts: [Option<String>; N]) -> String {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("{name}  {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::State;
    use super::*;

    fn instance(name: &str, spawned_by: Option<&str>) -> Instance {
        let (node, spawned_by) = ("node-1".to_owned(), spawned_by.map(str::to_owned));
        let (holding, waiting) = (Some(1), None);
        Instance {
            instance: name.into(),
            node,
            key: None,
            up_ms: 3_000,
            holding,
            waiting,
            cell: None,
            spawned_by,
            names: Vec::new(),
            falls_with: 0,
        }
    }

    #[test]
    fn children_stand_under_those_who_spawned_them() {
        let module = |name: &str, form: &'static str, instances: Vec<Instance>| Module {
            module: name.to_owned(),
            form,
            live: BTreeMap::from([("node-1".to_owned(), instances.len() as u64)]),
            instances,
            ..Module::default()
        };
        let many = (0..22).map(|n| instance(&format!("b.{n}"), Some("a.2")));
        let mut desk = module("desk", "replicated", vec![instance("a.1", None)]);
        desk.ended.insert("node-1".to_owned(), 2);
        let named = Instance {
            names: vec!["hall".to_owned(), "lobby".to_owned()],
            falls_with: 1,
            ..instance("a.2", Some("a.1"))
        };
        let booths = many.chain([named, instance("a.3", Some("z.9"))]).collect();
        let node = Node {
            node: "node-1".to_owned(),
            address: None,
            pid: Some(7),
            state: State::Ready,
            up_ms: Some(4_000),
            serves: Vec::new(),
            error: None,
        };
        let program = Program {
            program: "fair".to_owned(),
            pid: 1,
            split: true,
            cloud: None,
            listeners: Default::default(),
            nodes: vec![node],
            modules: vec![desk, module("booth", "spawned", booths)],
            knots: Vec::new(),
        };
        let mut out = Vec::new();
        show_tree(&program, &mut out, false).expect("a Vec takes everything");
        let text = String::from_utf8(out).expect("it is text");
        let start = "node-1  ready, process 7, up 4 s\n\
                     ├─ desk  replicated\n\
                     │  └─ a.1  up 3 s, 1 in it\n\
                     │     └─ booth a.2  hall and lobby, up 3 s, 1 in it, falls with 1 other\n\
                     │        ├─ booth b.0  up 3 s, 1 in it\n";
        assert!(text.starts_with(start), "{text}");
        let end = "│        └─ 2 more\n\
                   └─ booth  spawned, 24 instances\n\u{20}\u{20}\u{20}└─ booth a.3  up 3 s, 1 in it\n";
        assert!(text.ends_with(end), "{text}");
    }
}
