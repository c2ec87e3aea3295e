//! `skybox call`: a call from the command line, made by one of the program's nodes.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use skybox_core::{ErrorImage, TextChain};
use skybox_node::Outcome;

use crate::args::CallArgs;
use crate::choose::{Purpose, choose};

/// What `--json` prints: how the call ended, and with what.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum Shown<'o> {
    /// It returned this.
    Returned { value: &'o Value },
    /// It returned its own error.
    Failed { error: &'o Value },
    /// It failed as a call; `ran` is no, yes or maybe.
    CallError { message: &'o str, code: &'o str, ran: &'o str },
}

/// Calls, and prints the result; a failure is the exit code 1.
pub(crate) async fn call(args: &CallArgs) -> anyhow::Result<ExitCode> {
    let (module, method) = args.callee.split_once('.').unwrap_or((&args.callee, "call"));
    let arguments: Value = serde_json::from_str(&args.arguments).with_context(|| {
        format!("the arguments are not JSON: {}; write them by name, as in '{{\"id\": 1}}', or in order, as in '[1]'", args.arguments)
    })?;
    let program = choose(&args.read.which, Purpose::Change)?;
    let node = program.operator(args.from.as_ref()).await?;
    let outcome = node.call(module, method, args.key.as_deref(), arguments).await?;
    if args.read.json {
        let shown = match &outcome {
            Outcome::Returned(value) => Shown::Returned { value },
            Outcome::Failed(error) => Shown::Failed { error },
            Outcome::CallError { message, code, ran } => Shown::CallError { message, code, ran },
        };
        print_json(&shown)?;
    }
    match outcome {
        Outcome::Returned(_) if args.read.json => return Ok(ExitCode::SUCCESS),
        _ if args.read.json => {}
        Outcome::Returned(value) => {
            print_json(&value)?;
            return Ok(ExitCode::SUCCESS);
        }
        Outcome::Failed(error) => eprintln!("{} returned an error: {}", args.callee, text_of(&error)),
        Outcome::CallError { message, code, ran } => {
            let ran = match ran.as_str() {
                "no" => "it did not run",
                "yes" => "it ran",
                _ => "it may have run",
            };
            eprintln!("{} failed: {message} ({code}, {ran})", args.callee);
        }
    }
    Ok(ExitCode::FAILURE)
}

/// An error as people read it: a text with its causes, a variant by its name, anything else as JSON.
fn text_of(error: &Value) -> String {
    match (serde_json::from_value(error.clone()), serde_json::from_value::<TextChain>(error.clone())) {
        (Ok(ErrorImage::Text(chain)), _) | (Err(_), Ok(chain)) => chain.joined(),
        (Ok(ErrorImage::Variant { name, .. }), _) => name,
        (Err(_), Err(_)) => error.as_str().map_or_else(|| error.to_string(), str::to_owned),
    }
}

/// Prints JSON for people and programs: indented, one value.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
