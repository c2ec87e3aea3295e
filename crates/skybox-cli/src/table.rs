//! Tables for people: columns two spaces apart, nothing drawn; colours only on a terminal that wants them.

use std::io::{IsTerminal, Write};

/// How a cell is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Faint,
}

/// A cell's text and tone.
#[derive(Clone, Debug)]
pub(crate) struct Cell(String, Tone);

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell(text.into(), Tone::Plain)
    }
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Cell {
        Cell(text.into(), tone)
    }

    /// A number, or nothing for zero: what matters stands out.
    pub(crate) fn count(n: u64) -> Cell {
        if n == 0 { Cell::new("–", Tone::Faint) } else { n.to_string().into() }
    }
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it. Columns in which every cell is a number stand to the right.
    pub(crate) fn write(&self, out: &mut impl Write, colours: bool) -> std::io::Result<()> {
        let columns = 0..self.headings.len();
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| row[at].0.chars().count());
            cells.chain([self.headings[at].len()]).max().unwrap_or(0)
        };
        let right = |at: usize| {
            let number = |text: &str| text == "–" || text.starts_with(|c: char| c.is_ascii_digit());
            !self.rows.is_empty() && self.rows.iter().all(|row| number(&row[at].0))
        };
        let layout: Vec<(usize, bool)> = columns.map(|at| (width(at), right(at))).collect();
        let headings = self.headings.iter().map(|text| Cell::new(*text, Tone::Faint)).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (Cell(text, tone), (width, right)) in row.iter().zip(&layout) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let pad = " ".repeat(width.saturating_sub(text.chars().count()));
                let text = paint(text, *tone, colours);
                line.push_str(&if *right { pad + &text } else { text + &pad });
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Puts a text in its tone's colour.
pub(crate) fn paint(text: &str, tone: Tone, colours: bool) -> String {
    match tone {
        _ if !colours => text.to_owned(),
        Tone::Plain => text.to_owned(),
        Tone::Good => format!("\x1b[32m{text}\x1b[0m"),
        Tone::Bad => format!("\x1b[31m{text}\x1b[0m"),
        Tone::Faint => format!("\x1b[2m{text}\x1b[0m"),
    }
}

/// Whether what is written there may have colours: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub(crate) fn colours(of: &impl IsTerminal) -> bool {
    of.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A time that people read: `830 ms`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{} s", ms / 1_000),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// A size that people read, in steps of 1024.
pub(crate) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let mut table = Table::new(&["MODULE", "CALLS"]);
        table.row(vec!["a".into(), Cell::count(12_000)]);
        table.row(vec!["thumbnail".into(), Cell::new("0", Tone::Bad)]);
        let mut plain = Vec::new();
        table.write(&mut plain, false).expect("a Vec takes everything");
        assert_eq!(String::from_utf8_lossy(&plain), "MODULE     CALLS\na          12000\nthumbnail      0\n");
        let mut coloured = Vec::new();
        table.write(&mut coloured, true).expect("a Vec takes everything");
        assert!(String::from_utf8_lossy(&coloured).contains("\x1b[31m0\x1b[0m"));
    }

    #[test]
    fn times_and_sizes() {
        let times = [(830, "830 ms"), (12_400, "12 s"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min")];
        for (ms, text) in times {
            assert_eq!(duration(ms), text);
        }
        for (n, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")] {
            assert_eq!(bytes(n), text);
        }
    }
}
