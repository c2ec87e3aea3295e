//! `skybox top`: what a program does at this moment, live on a terminal, or once for scripts.

mod figures;
mod screen;
#[cfg(test)]
mod testing;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ratatui::crossterm::event::{self, Event};
use serde::Serialize;
use skybox_cloud::running::Running;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::TopArgs;
use crate::call::print_json;
use crate::choose::{Purpose, choose};
use crate::table::{self, Table};
use figures::{Figures, Look, figures};
use screen::{Screen, columns};

pub(crate) use screen::Sort;

/// Keys that wait while the nodes are asked: more than anybody types.
const KEYS_MAX: usize = 64;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Top {
    program: String,
    pid: u32,
    /// The time that the figures are of, in milliseconds.
    passed_ms: u64,
    lines: Vec<Figures>,
    /// Nodes that did not answer, with why.
    missing: Vec<(String, String)>,
}

/// Shows what a program does.
pub(crate) async fn top(args: &TopArgs) -> anyhow::Result<ExitCode> {
    let running = choose(&args.read.which, Purpose::Look).await?;
    let every = args.every;
    if args.once || args.read.json {
        let (before, began) = (look(&running).await?.0, Instant::now());
        tokio::time::sleep(every).await;
        let (after, missing) = look(&running).await?;
        let passed = began.elapsed();
        let mut lines = figures(&before, &after, passed);
        args.sort.sort(&mut lines);
        let passed_ms = passed.as_millis() as u64;
        let top = Top { program: running.program.clone(), pid: running.pid, passed_ms, lines, missing };
        if args.read.json {
            print_json(&top)?;
        } else {
            write(&top, &mut std::io::stdout().lock(), table::colours(&std::io::stdout()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !std::io::stdout().is_terminal() {
        bail!(
            "`top` draws on a terminal, and this is none: `--once` prints a table, `--json` is for programs"
        );
    }
    let screen = Screen::new(running.program.clone(), args.sort);
    // Whatever becomes of it, a panic included, the terminal is as it was.
    let mut terminal = ratatui::try_init().context("the terminal cannot be drawn on")?;
    let ended = live(&running, every, screen, &mut terminal).await;
    ratatui::try_restore().context("the terminal cannot be given back")?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// Draws until somebody wants no more.
async fn live(
    running: &Running,
    every: Duration,
    mut screen: Screen,
    terminal: &mut ratatui::DefaultTerminal,
) -> anyhow::Result<()> {
    let mut keys = keys();
    let mut ends = signal(SignalKind::terminate())?;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before: Option<(Look, Instant)> = None;
    // Asked beside the keys: a node that is silent for a while holds up none of them.
    let mut looking = None;
    loop {
        tokio::select! {
            biased;
            event = keys.recv() => match event {
                Some(Event::Key(key)) if screen.press(key) => return Ok(()),
                Some(_) => {}
                // The terminal is gone.
                None => return Ok(()),
            },
            _ = ends.recv() => return Ok(()),
            _ = ticks.tick(), if looking.is_none() => {
                looking = Some(Box::pin(look(running)));
                continue;
            }
            Some(looked) = in_progress(&mut looking) => {
                looking = None;
                let (now, missing) = looked?;
                let at = Instant::now();
                let earlier = before.as_ref().map(|(look, since)| (look, at - *since));
                // The first look shows what there is, before anything can be said of its speed.
                let (earlier, passed) = earlier.unwrap_or((&now, every));
                screen.show(figures(earlier, &now, passed), missing);
                before = Some((now, at));
            }
        }
        terminal.draw(|frame| screen.draw(frame))?;
    }
}

/// The outcome of what is in progress; `None` if nothing is.
async fn in_progress<F: Future + Unpin>(future: &mut Option<F>) -> Option<F::Output> {
    match future {
        Some(future) => Some(future.await),
        None => None,
    }
}

/// What is pressed, read by a thread: reading waits.
fn keys() -> mpsc::Receiver<Event> {
    let (pressed, keys) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if pressed.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

/// What the nodes say, and which do not.
async fn look(running: &Running) -> anyhow::Result<(Look, Vec<(String, String)>)> {
    let (mut all, mut missing) = (Look::new(), Vec::new());
    for (name, status) in running.nodes().await? {
        match status {
            Ok(status) => drop(all.insert(name, status)),
            Err(error) => missing.push((name.to_string(), format!("{:#}", anyhow::Error::from(error)))),
        }
    }
    Ok((all, missing))
}

fn write(top: &Top, out: &mut impl Write, colours: bool) -> std::io::Result<()> {
    let mut table = Table::new(&columns().map(|(heading, _)| heading));
    for line in &top.lines {
        table.row(columns().into_iter().map(|(_, text)| text(line).into()).collect());
    }
    table.write(out, colours)?;
    top.missing.iter().try_for_each(|(node, why)| writeln!(out, "{node}: {why}"))
}
