//! `history` and `undo`: what was changed and by whom, and how it is taken back.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;
use skybox_cloud::history::{Line, What};
use skybox_cloud::parent::{Done, Order};

use crate::args::{HistoryArgs, UndoArgs};
use crate::call::print_json;
use crate::choose::{Purpose, choose};
use crate::table::{self, Table};

/// What `history --json` prints.
#[derive(Debug, Serialize)]
struct History<'h> {
    program: &'h str,
    /// The newest last.
    history: Vec<Line>,
}

/// Shows who has changed what.
pub(crate) async fn history(args: &HistoryArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.read.which, Purpose::Look).await?;
    let mut lines = match program.order(&Order::History {}).await? {
        Done::Told(lines) => lines,
        other => bail!("it answered {other:?}"),
    };
    if let Some(last) = args.last {
        lines.drain(..lines.len().saturating_sub(last as usize));
    }
    if args.read.json {
        print_json(&History { program: &program.program, history: lines })?;
        return Ok(ExitCode::SUCCESS);
    }
    let colours = table::colours(&std::io::stdout());
    let out = &mut std::io::stdout().lock();
    if lines.is_empty() {
        writeln!(out, "nothing has been changed yet")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["NUMBER", "TIME (UTC)", "WHO", "AT", "WHAT"]);
    for line in &lines {
        let number = line.number.to_string();
        let cells = [number, utc(line.at_ms), line.by.clone(), line.at.clone(), told(line)];
        table.row(cells.into_iter().map(table::Cell::from).collect());
    }
    table.write(out, colours)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes an order back.
pub(crate) async fn undo(args: &UndoArgs) -> anyhow::Result<ExitCode> {
    let program = choose(&args.read.which, Purpose::Change).await?;
    let line = match program.order(&Order::Undo { number: args.number }).await? {
        Done::Undone(line) => *line,
        other => bail!("it answered {other:?}"),
    };
    match args.read.json {
        true => print_json(&line)?,
        false => writeln!(
            std::io::stdout(),
            "{} is taken back: {}",
            line.undoes.unwrap_or_default(),
            changed(&line)
        )?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `search: 2 → 4`; of the whole cloud without a name.
fn changed(line: &Line) -> String {
    match line.of.as_str() {
        "" => format!("{} → {}", line.before, line.after),
        of => format!("{of}: {} → {}", line.before, line.after),
    }
}

/// What a line says, for people.
fn told(line: &Line) -> String {
    let (of, why) = (&line.of, &line.why);
    match line.what {
        What::Move => format!("move {}", changed(line)),
        What::Scale => format!("scale {}", changed(line)),
        What::Cordon => format!("cordon {of}"),
        What::Uncordon => format!("uncordon {of}"),
        What::Freeze => "freeze".to_owned(),
        What::Unfreeze => "unfreeze".to_owned(),
        What::TryAgain if why.is_empty() => format!("try {of} again"),
        What::TryAgain => format!("try {of} again: {why}"),
        What::GoOn => format!("go-on: {}", line.before),
        What::Undo => format!("undo {}, {}", line.undoes.unwrap_or_default(), changed(line)),
        What::Placed => format!("{} ({why})", changed(line)),
        What::Lost => format!("{of} is lost: {why}"),
        What::Left => format!("{of} has left"),
        What::HeldBack => format!("holds back {}: {why}", line.after),
        What::HeldNoMore => "holds nothing back any more".to_owned(),
        other => format!("{other:?} {}", changed(line)),
    }
}

/// A time since 1970 as `2026-11-27 07:41:58`.
fn utc(at_ms: u64) -> String {
    let seconds = at_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from March, so that the day which some lack is the last one of theirs: see Howard Hinnant,
    // "chrono-compatible low-level date algorithms", `civil_from_days`.
    let from_march = days + 719_468;
    let (era, day) = (from_march / 146_097, from_march % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{of_month:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_704_067_199, "2023-12-31 23:59:59"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(utc(seconds * 1_000 + 999), date);
        }
    }

    #[test]
    fn each_line_is_a_sentence() {
        let line = |what, of: &str, before: &str, after: &str, why: &str| Line {
            number: 7,
            at_ms: 0,
            by: "leader".to_owned(),
            at: "a".to_owned(),
            what,
            of: of.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            why: why.to_owned(),
            undoes: (what == What::Undo).then_some(3),
            change: None,
        };
        for (line, text) in [
            (line(What::Move, "catalog", "anywhere", "b, c", ""), "move catalog: anywhere → b, c"),
            (line(What::Freeze, "", "things move", "nothing moves", ""), "freeze"),
            (line(What::TryAgain, "search", "", "", "b leaves"), "try search again: b leaves"),
            (line(What::TryAgain, "search", "", "", ""), "try search again"),
            (line(What::Undo, "search", "4", "2", ""), "undo 3, search: 4 → 2"),
            (line(What::Undo, "", "nothing moves", "things move", ""), "undo 3, nothing moves → things move"),
            (line(What::Placed, "catalog", "a", "b", "repair"), "catalog: a → b (repair)"),
            (line(What::Lost, "b", "", "", "its lease has ended"), "b is lost: its lease has ended"),
            (line(What::HeldBack, "", "", "c, d", "too many"), "holds back c, d: too many"),
        ] {
            assert_eq!(told(&line), text);
        }
    }
}
