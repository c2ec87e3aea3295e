//! `skybox explain`: why a module is where it is, or why it is not.
//!
//! It shows one module of what `skybox ps` gathers, section by section; a further thing to explain is a further section
//! ([`sections`]). What a person can do about it is decided in [`advice`].

mod advice;
mod kept;

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;

use skybox_cloud::parent::{Done, Explanation, Order};
use skybox_cloud::running::Running;

use crate::args::ExplainArgs;
use crate::call::print_json;
use crate::choose::{Purpose, choose};
use crate::ps::{Instance, Module, called, gather, joined, links};
use crate::table::{self, Table, Tone, paint};
use advice::advice;
use kept::kept;

/// What `--json` prints: what `ps --json` has of the module, and what to do about it.
#[derive(Debug, Serialize)]
struct Explained<'m> {
    program: &'m str,
    #[serde(flatten)]
    module: &'m Module,
    /// What a person can do, one thing each; nothing where all is well.
    advice: Vec<String>,
    /// Why the plan of a cloud has it there, and what other nodes would have cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Explanation>,
}

/// A heading, and what stands under it.
struct Section {
    title: &'static str,
    lines: Vec<(String, Tone)>,
}

/// Shows a module.
pub(crate) async fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let running = choose(&args.read.which, Purpose::Look).await?;
    let (shown, statuses) = running.look().await?;
    let program = gather(&running, shown, statuses);
    let Some(module) = program.modules.iter().find(|module| module.module == args.module) else {
        let names = joined(program.modules.iter().map(|module| module.module.as_str()));
        bail!("there is no module `{}`; there are {names}", args.module);
    };
    let plan = reasons(&running, module).await;
    if args.read.json {
        print_json(&Explained { program: &program.program, module, advice: advice(module), plan })?;
    } else {
        let colours = table::colours(&std::io::stdout());
        show(module, plan.as_ref(), &mut std::io::stdout().lock(), colours)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Why the plan of several nodes has a module where it is.
async fn reasons(running: &Running, module: &Module) -> Option<Explanation> {
    if module.form == "spawned" {
        return None;
    }
    match running.order(&Order::Explain { module: module.module.clone() }).await {
        Ok(Done::Explained(explanation)) => Some(*explanation),
        _ => None,
    }
}

/// A line for each instance and for each other node.
fn reasons_of(plan: &Explanation) -> Vec<(String, Tone)> {
    let here =
        plan.instances.iter().map(|here| (format!("on {}: {}", here.seat.node, here.why), Tone::Plain));
    let others = plan.others.iter().take(OTHERS_MAX);
    let others = others.map(|other| (format!("not on {}: {}", other.node, other.why), Tone::Faint));
    let more = plan.others.len().saturating_sub(OTHERS_MAX);
    let more = (more > 0).then(|| (format!("and {more} other nodes: --json has them"), Tone::Faint));
    let unplaced = plan.unplaced.iter().map(|unplaced| (unplaced.why.clone(), Tone::Bad));
    let proposals = plan.proposals.iter().map(|proposal| {
        let text = format!(
            "from {} to {} would save {} calls a second over the network (`[plan] auto-place = true` moves it)",
            proposal.from, proposal.to, proposal.saves_calls_per_s
        );
        (text, Tone::Plain)
    });
    here.chain(unplaced).chain(proposals).chain(others).chain(more).collect()
}

/// Other nodes of which it is said why it is not there; `--json` has all.
const OTHERS_MAX: usize = 20;

fn show(
    module: &Module,
    plan: Option<&Explanation>,
    out: &mut impl Write,
    colours: bool,
) -> std::io::Result<()> {
    writeln!(out, "{} is {}, written in {}", module.module, form(module), module.path)?;
    let mut sections = sections(module);
    if let Some(plan) = plan {
        sections.insert(1, Section { title: "Why there", lines: reasons_of(plan) });
    }
    for Section { title, lines } in sections {
        writeln!(out, "\n{}", paint(title, Tone::Faint, colours))?;
        lines.iter().try_for_each(|(line, tone)| writeln!(out, "  {}", paint(line, *tone, colours)))?;
    }
    writeln!(out, "\n{}", paint("Last exits", Tone::Faint, colours))?;
    let exits = exits(module);
    if exits.is_empty() {
        return writeln!(out, "  none that its nodes remember");
    }
    exits.write(out, colours)
}

fn form(module: &Module) -> String {
    match module.implementations.as_slice() {
        [] => module.form.to_owned(),
        chosen => {
            let names = joined(chosen.iter().map(|known| known.chosen.name.as_str()));
            format!("{}, an interface of which {names} is used", module.form)
        }
    }
}

/// All that is explained but the history, in the order of the questions one has.
fn sections(module: &Module) -> Vec<Section> {
    let plain = |lines: Vec<String>| lines.into_iter().map(|line| (line, Tone::Plain)).collect();
    let advice = match advice(module) {
        none if none.is_empty() => vec!["nothing: it runs".to_owned()],
        some => some,
    };
    vec![
        Section { title: "Place", lines: place(module) },
        Section { title: "How it is kept", lines: plain(kept(module)) },
        Section { title: "Instances", lines: instances(module) },
        Section { title: "What you can do", lines: plain(advice) },
    ]
}

/// Where the plan has it.
fn place(module: &Module) -> Vec<(String, Tone)> {
    if module.form == "spawned" {
        return vec![("code makes its instances, on the node that it says".to_owned(), Tone::Plain)];
    }
    let mut lines = Vec::new();
    let list = |nodes: &[String]| joined(nodes.iter().map(String::as_str));
    let (assigned, serving) = (&module.assigned, &module.serving);
    match module.form {
        _ if assigned.is_empty() => lines.push(("the plan has it nowhere".to_owned(), Tone::Bad)),
        "keyed" => lines.push((format!("its keys are spread over {}", list(assigned)), Tone::Plain)),
        _ => lines.push((format!("it belongs on {}", list(assigned)), Tone::Plain)),
    }
    if !module.pinned.is_empty() {
        let by = "as `--place` or `skybox move` said";
        lines.push((format!("it was put on {}, {by}", list(&module.pinned)), Tone::Plain));
    }
    if serving.is_empty() {
        lines.push(("no node takes its calls".to_owned(), Tone::Bad));
    } else if serving != assigned {
        lines.push((format!("calls go to {} meanwhile", list(serving)), Tone::Plain));
    }
    if let Some(why) = module.why_not() {
        lines.push((why, Tone::Bad));
    }
    lines.extend(module.left_texts().into_iter().map(|line| (line, Tone::Bad)));
    lines
}

/// Instances that are shown; `--json` has all.
const SHOWN_MAX: usize = 20;

/// What there is of it, and what is not started again.
fn instances(module: &Module) -> Vec<(String, Tone)> {
    let mut lines: Vec<_> = module.given_up_texts().into_iter().map(|line| (line, Tone::Bad)).collect();
    let live = module.instances.iter().take(SHOWN_MAX);
    lines.extend(live.map(|instance| (line(module, instance), Tone::Plain)));
    let (listed, all) = (module.instances.len(), module.live());
    if listed > SHOWN_MAX || all > listed as u64 {
        let more = all.saturating_sub(SHOWN_MAX.min(listed) as u64);
        let told = if all == listed as u64 { "them".to_owned() } else { format!("{listed} of all") };
        lines.push((format!("and {more} more: --json has {told}"), Tone::Faint));
    }
    if module.instances.is_empty() {
        let why = match module.form {
            "keyed" => "none is awake: a key's next call wakes it",
            "spawned" => "none lives: code makes them",
            "task" => "none: it has no state, and each call runs by itself",
            _ => "none lives",
        };
        lines.push((why.to_owned(), Tone::Faint));
    }
    lines
}

fn line(module: &Module, instance: &Instance) -> String {
    let some = |n: Option<u64>, what: &str| n.filter(|n| *n > 0).map(|n| format!("{n} {what}"));
    let parts = [
        Some(format!("up {}", table::duration(instance.up_ms))),
        instance.cell.as_ref().map(|cell| format!("in a cell, process {}", cell.pid)),
        some(instance.holding, "calls in it"),
        some(instance.waiting, "calls waiting"),
        called(&instance.names).map(|names| format!("called {names}")),
        links(instance.falls_with),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let key = instance.key.as_ref().map(|key| format!("{}[{key}] ", module.module)).unwrap_or_default();
    format!("{key}{} on {}: {}", instance.instance, instance.node, parts.join(", "))
}

/// All endings that its nodes remember, the last one first.
fn exits(module: &Module) -> Table {
    let mut table = Table::new(&["ENDED", "INSTANCE", "NODE", "LIVED", "WHY"]);
    for ended in module.endings.iter().rev() {
        table.row(ended.cells(ended.instance(module)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_and_what_does_not_is_told_by_form() {
        let of = |form: &'static str| Module { form, module: "page".to_owned(), ..Module::default() };
        let text = |module: &Module| {
            let mut out = Vec::new();
            show(module, None, &mut out, false).expect("a Vec takes everything");
            String::from_utf8(out).expect("it is text")
        };
        let rows = [
            ("replicated", "the plan has it nowhere"),
            ("keyed", "a key's next call wakes it"),
            ("spawned", "code makes its instances"),
            ("task", "each call runs by itself"),
        ];
        for (form, part) in rows {
            assert!(text(&of(form)).contains(part), "{}", text(&of(form)));
        }
        let nodes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let moving = Module {
            assigned: nodes(&["node-2"]),
            serving: nodes(&["node-1"]),
            pinned: nodes(&["node-2"]),
            ..of("replicated")
        };
        let text = text(&moving);
        let place = "Place\n  it belongs on node-2\n  it was put on node-2, as `--place` or `skybox move` said\n  \
                     calls go to node-1 meanwhile\n";
        assert!(text.contains(place), "{text}");
        assert!(text.contains("none that its nodes remember"), "{text}");
    }
}
