//! `restart`: a module, or one key of it, is started anew.

use std::io::Write;
use std::process::ExitCode;

use skybox_core::{Code, NodeName};
use skybox_node::Restarted;

use crate::args::RestartArgs;
use crate::choose::{Purpose, choose};

/// Restarts a module on every node that runs it; ends when it is done, or cannot be.
pub(crate) async fn restart(args: &RestartArgs) -> anyhow::Result<ExitCode> {
    let running = choose(&args.which, Purpose::Change).await?;
    let what = match &args.key {
        Some(key) => format!("{}[{key}]", args.module),
        None => args.module.clone(),
    };
    let (mut said, mut failed) = (0, false);
    for (node, answer) in running.restart(&args.module, args.key.as_deref()).await? {
        let line = match answer {
            Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
            Ok(restarted) => match line(&what, &node, &restarted) {
                Some(line) => line,
                None => continue,
            },
        };
        said += 1;
        match line {
            Ok(line) => writeln!(std::io::stdout(), "{line}")?,
            Err(line) => {
                failed = true;
                eprintln!("error: {line}");
            }
        }
    }
    if said == 0 {
        anyhow::bail!(
            "{what} is on no node at the moment: `skybox ps` shows why, and whether it is tried again on one that gave it up"
        );
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is said of one node: what was done, or why not; nothing of one that it does not belong on.
fn line(what: &str, node: &NodeName, restarted: &Restarted) -> Option<Result<String, String>> {
    Some(match restarted {
        Restarted::Elsewhere => return None,
        Restarted::Replaced { old, new } => Ok(format!("{what} on {node}: {new} has taken over from {old}")),
        Restarted::Started { new } => Ok(format!("{what} on {node}: {new} has started")),
        Restarted::Asleep => Ok(format!("{what} on {node} sleeps: its next call starts it")),
        Restarted::Forgotten { keys } => Ok(match keys {
            0 => format!("{what} on {node} has no key that was given up"),
            1 => format!("{what} on {node}: 1 key that was given up is started by its next call"),
            keys => {
                format!("{what} on {node}: {keys} keys that were given up are started by their next calls")
            }
        }),
        Restarted::Failed { cause, old: None } => {
            Err(format!("{what} on {node} does not start ({}): {cause}", Code::NOT_STARTED))
        }
        Restarted::Failed { cause, old: Some(old) } => Err(format!(
            "{what} on {node}: a new one does not start ({}), and {old} goes on: {cause}",
            Code::NOT_STARTED
        )),
        Restarted::Waiting => Err(format!(
            "{what} on {node} is still on its way: its `start` or a call of the old one has not ended"
        )),
        other => Err(format!("{what} on {node}: {other:?}")),
    })
}
