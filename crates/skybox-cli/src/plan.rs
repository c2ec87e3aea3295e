//! `plan --dry-run`: what the plan would become, without anything being changed.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;
use skybox_cloud::parent::{Done, Order, Outlook};
use skybox_core::NodeName;

use crate::args::PlanArgs;
use crate::call::print_json;
use crate::choose::{Purpose, choose};
use crate::table::{self, Cell, Table, Tone, paint};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Planned<'p> {
    program: &'p str,
    #[serde(flatten)]
    outlook: Outlook,
}

/// Shows what would move and what would have no place.
pub(crate) async fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.read.which, Purpose::Look).await?;
    let order = Order::TryOut {
        moves: args.moves.iter().map(|to| (to.module.clone(), to.nodes.clone())).collect(),
        scales: args.scales.iter().map(|(module, n)| (module.clone(), n.to_string())).collect(),
        cordons: args.cordons.clone(),
    };
    let outlook = match program.order(&order).await? {
        Done::Foreseen(outlook) => *outlook,
        other => bail!("it answered {other:?}"),
    };
    if args.read.json {
        print_json(&Planned { program: &program.program, outlook })?;
    } else {
        let colours = table::colours(&std::io::stdout());
        show(&outlook, &mut std::io::stdout().lock(), colours)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(outlook: &Outlook, out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    if outlook.moves.is_empty() {
        writeln!(out, "nothing would move")?;
    } else {
        let name = |node: &Option<NodeName>| match node {
            Some(node) => Cell::from(node.as_str()),
            None => Cell::new("–", Tone::Faint),
        };
        let mut table = Table::new(&["MODULE", "SHARDS", "FROM", "TO", "WHY"]);
        for one in &outlook.moves {
            let (shards, why) = (Cell::count(one.shards.into()), one.reason.to_string());
            table.row(vec![one.module.as_str().into(), shards, name(&one.from), name(&one.to), why.into()]);
        }
        table.write(out, colours)?;
    }
    for unplaced in &outlook.unplaced {
        let text =
            format!("{} of {} would have no place: {}", unplaced.missing, unplaced.module, unplaced.why);
        writeln!(out, "{}", paint(&text, Tone::Bad, colours))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use skybox_cloud::parent::{Move, Reason, Unplaced};

    use super::*;

    #[test]
    fn what_would_be_is_a_table_and_a_line_for_each_that_has_no_place() {
        let node = |name: &str| Some(NodeName::new(name));
        let one = |module: &str, from, to, shards, reason| Move {
            module: module.to_owned(),
            from,
            to,
            shards,
            reason,
        };
        let why = "needs 64 cores; the freest of 3 nodes has 2 left: a".to_owned();
        let outlook = Outlook {
            moves: vec![
                one("carts", node("a"), node("c"), 341, Reason::Repair),
                one("search", None, node("c"), 0, Reason::Command),
            ],
            unplaced: vec![Unplaced { module: "dreamer".to_owned(), missing: 1, why }],
        };
        let text = |outlook: &Outlook| {
            let mut out = Vec::new();
            show(outlook, &mut out, false).expect("a Vec takes everything");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            text(&outlook),
            "MODULE  SHARDS  FROM  TO  WHY\ncarts      341  a     c   repair\nsearch       –  –     c   command\n\
             1 of dreamer would have no place: needs 64 cores; the freest of 3 nodes has 2 left: a\n"
        );
        assert_eq!(text(&Outlook::default()), "nothing would move\n");
    }
}
