//! `skybox call`: a call from the command line, made by one of the program's nodes.
//!
//! A stream that it returns is printed as it comes, an item a line; a stream that it takes is read from standard input in
//! the same way. Ended by Ctrl-C, the connection goes, and with it the call and its streams.

mod stdin;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use skybox_core::{ErrorImage, TextChain};
use skybox_node::{Answer, ItemError, Items, Outcome};

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
    /// One item of the stream that it returned.
    Item { value: &'o Value },
    /// An error among the items; more may follow.
    ItemFailed { error: &'o Value },
    /// It failed as a call; `ran` is no, yes or maybe.
    CallError { message: &'o str, code: &'o str, ran: &'o str },
}

/// Calls, and prints the result; a failure is the exit code 1.
pub(crate) async fn call(args: &CallArgs) -> anyhow::Result<ExitCode> {
    let (module, method) = args.callee.split_once('.').unwrap_or((&args.callee, "call"));
    let (text, dash) = if args.arguments == "-" { ("{}", true) } else { (&*args.arguments, false) };
    let arguments: Value = serde_json::from_str(text).with_context(|| {
        format!("the arguments are not JSON: {text}; write them by name, as in '{{\"id\": 1}}', or in order, as in '[1]'")
    })?;
    let program = choose(&args.read.which, Purpose::Change).await?;
    let node = program.operator(args.from.as_ref()).await?;
    let (stdin, mistake) = match args.stdin.clone().or(dash.then_some(None)) {
        None => (None, None),
        Some(parameter) => {
            let (items, mistake) = stdin::items()?;
            (Some((parameter, items)), Some(mistake))
        }
    };
    let calling = async {
        match node.call(module, method, args.key.as_deref(), arguments, stdin).await? {
            Answer::Once(outcome) => print(args, &outcome),
            Answer::Items(items) => print_items(args, items).await,
            _ => anyhow::bail!("the node's answer was not understood: it may be another version"),
        }
    };
    tokio::select! {
        code = calling => code,
        mistake = stdin::mistake(mistake) => Err(mistake),
    }
}

fn print(args: &CallArgs, outcome: &Outcome) -> anyhow::Result<ExitCode> {
    if args.read.json {
        print_json(&match outcome {
            Outcome::Returned(value) => Shown::Returned { value },
            Outcome::Failed(error) => Shown::Failed { error },
            Outcome::CallError { message, code, ran } => Shown::CallError { message, code, ran },
        })?;
        return Ok(ExitCode::from(u8::from(!matches!(outcome, Outcome::Returned(_)))));
    }
    match outcome {
        Outcome::Returned(value) => {
            print_json(value)?;
            return Ok(ExitCode::SUCCESS);
        }
        Outcome::Failed(error) => eprintln!("{} returned an error: {}", args.callee, text_of(error)),
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

/// Prints each item as it comes, and goes on after those that are errors.
async fn print_items(args: &CallArgs, mut items: Items) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    while let Some(item) = items.next().await {
        let item = match item {
            Ok(value) if args.read.json => line(&Shown::Item { value: &value })?,
            Ok(value) => line(&value)?,
            Err(error) => {
                code = ExitCode::FAILURE;
                match error {
                    ItemError::Own(error) if args.read.json => line(&Shown::ItemFailed { error: &error })?,
                    ItemError::Own(error) => {
                        eprintln!("{} gave an error: {}", args.callee, text_of(&error));
                        continue;
                    }
                    ItemError::Broken(error) if args.read.json => {
                        let (message, code) = (error.kind().to_string(), error.code().to_string());
                        line(&Shown::CallError { message: &message, code: &code, ran: "yes" })?
                    }
                    ItemError::Broken(error) => {
                        eprintln!("{} broke off: {} ({})", args.callee, error.kind(), error.code());
                        continue;
                    }
                    other => anyhow::bail!("{other}"),
                }
            }
        };
        let mut out = std::io::stdout().lock();
        out.write_all(item.as_bytes())?;
        out.flush()?;
    }
    Ok(code)
}

fn line(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value)? + "\n")
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
