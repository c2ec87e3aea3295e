//! The figures on a terminal, and the keys that sort and move them.

use std::cmp::Ordering;

use clap::ValueEnum;
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::figures::Figures;
use crate::table;

/// What the lines are sorted by: the largest first, but for names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// Nodes, and their modules and instances below them
    Name,
    /// Calls a second
    Calls,
    /// The latency of the slowest hundredth
    P99,
    /// Errors a second
    Errors,
    /// Instances that have ended
    Restarts,
    /// Memory in use
    Memory,
    /// Cores in use
    Cpu,
}

impl Sort {
    const KEYS: [(char, Sort, &'static str); 7] = [
        ('n', Sort::Name, "name"),
        ('c', Sort::Calls, "calls"),
        ('l', Sort::P99, "latency"),
        ('e', Sort::Errors, "errors"),
        ('r', Sort::Restarts, "restarts"),
        ('m', Sort::Memory, "memory"),
        ('u', Sort::Cpu, "cpu"),
    ];

    /// Sorts lines, which are in the order of their names.
    pub(super) fn sort(self, lines: &mut [Figures]) {
        let figure = |line: &Figures| match self {
            Sort::Name => None,
            Sort::Calls => line.calls_per_s,
            Sort::P99 => line.p99_us.map(|us| us as f64),
            Sort::Errors => line.errors_per_s,
            Sort::Restarts => line.restarts.map(|n| n as f64),
            Sort::Memory => line.memory_bytes.map(|n| n as f64),
            Sort::Cpu => line.cpu,
        };
        lines.sort_by(|one, other| figure(other).partial_cmp(&figure(one)).unwrap_or(Ordering::Equal));
    }
}

type Column = (&'static str, fn(&Figures) -> String);

/// The columns: their headings and texts.
pub(super) fn columns() -> [Column; 10] {
    fn or<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
        value.map_or_else(|| "–".to_owned(), text)
    }
    [
        ("NODE", |line| line.node.clone()),
        ("MODULE", |line| {
            or(line.module.clone(), |module| match &line.key {
                Some(key) => format!("{module}[{key}]"),
                None => module,
            })
        }),
        ("INSTANCE", |line| match (&line.instance, line.instances) {
            (Some(instance), _) => instance.clone(),
            (None, n) => format!("×{n}"),
        }),
        ("CALLS/S", |line| or(line.calls_per_s, rate)),
        ("P50", |line| or(line.p50_us, latency)),
        ("P99", |line| or(line.p99_us, latency)),
        ("ERRORS/S", |line| or(line.errors_per_s.filter(|rate| *rate > 0.0), rate)),
        ("RESTARTS", |line| or(line.restarts.filter(|n| *n > 0), |n| n.to_string())),
        ("MEMORY", |line| or(line.memory_bytes, table::bytes)),
        ("CPU", |line| or(line.cpu, |cores| format!("{:.0} %", cores * 100.0))),
    ]
}

fn rate(per_s: f64) -> String {
    if per_s > 0.0 && per_s < 10.0 { format!("{per_s:.1}") } else { format!("{per_s:.0}") }
}

fn latency(us: u64) -> String {
    match us {
        0..1_000 => format!("<{us} µs"),
        1_000..1_000_000 => format!("<{} ms", us.div_ceil(1_000)),
        _ => format!("<{} s", us.div_ceil(1_000_000)),
    }
}

/// What is on the terminal.
pub(super) struct Screen {
    program: String,
    sort: Sort,
    /// In the order of their names, so that equals stand in it.
    by_name: Vec<Figures>,
    /// As they are sorted.
    lines: Vec<Figures>,
    missing: Vec<(String, String)>,
    /// The chosen line, and what of the table is seen.
    state: TableState,
}

impl Screen {
    pub(super) fn new(program: String, sort: Sort) -> Screen {
        let (by_name, lines, missing) = (Vec::new(), Vec::new(), Vec::new());
        Screen { program, sort, by_name, lines, missing, state: TableState::default() }
    }

    /// Takes new figures, in the order of their names.
    pub(super) fn show(&mut self, by_name: Vec<Figures>, missing: Vec<(String, String)>) {
        (self.by_name, self.missing) = (by_name, missing);
        self.sort_lines();
    }

    fn sort_lines(&mut self) {
        self.lines.clone_from(&self.by_name);
        self.sort.sort(&mut self.lines);
    }

    /// Does what a key says; says whether that is to end.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Down => self.state.scroll_down_by(1),
            KeyCode::Up => self.state.scroll_up_by(1),
            KeyCode::PageDown => self.state.scroll_down_by(20),
            KeyCode::PageUp => self.state.scroll_up_by(20),
            KeyCode::Char(pressed) => {
                if let Some((_, sort, _)) = Sort::KEYS.iter().find(|(key, ..)| *key == pressed) {
                    self.sort = *sort;
                    self.sort_lines();
                }
            }
            _ => {}
        }
        false
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let parts = [Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
        let [head, body, foot] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        let rows = self.lines.iter().map(|line| {
            let style = match line {
                line if line.errors_per_s > Some(0.0) => Style::new().fg(Color::Red),
                line if line.module.is_none() => Style::new().add_modifier(Modifier::BOLD),
                _ => Style::new(),
            };
            Row::new(columns().map(|(_, text)| Cell::new(text(line)))).style(style)
        });
        let headings = columns().map(|(heading, _)| heading);
        let widths = columns().map(|(heading, text)| {
            let texts = self.lines.iter().map(|line| text(line).chars().count());
            Constraint::Length(texts.chain([heading.len()]).max().unwrap_or(0) as u16)
        });
        let table = Table::new(rows, widths)
            .column_spacing(2)
            .header(Row::new(headings).style(Style::new().add_modifier(Modifier::DIM)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, body, &mut self.state);
        let keys = Sort::KEYS.map(|(key, sort, name)| {
            if sort == self.sort { format!("[{key} {name}]") } else { format!("{key} {name}") }
        });
        let keys = format!("q quit  ↑↓ move  sort: {}", keys.join("  "));
        frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
    }

    /// The first line: the program, what it does altogether, and who is missing.
    fn head(&self) -> String {
        let nodes = self.lines.iter().filter(|line| line.module.is_none());
        let calls: f64 = nodes.clone().filter_map(|node| node.calls_per_s).sum();
        let count = nodes.count();
        let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
        let missing = self.missing.iter().map(|(node, why)| format!("; {node} is missing: {why}"));
        format!("{}: {nodes}, {} calls/s{}", self.program, rate(calls), missing.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::figures::figures;
    use super::super::testing::{look, node};
    use super::*;

    /// What stands on a terminal of 100 by 9 characters.
    fn drawn(screen: &mut Screen) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(100, 9)).expect("it is memory");
        terminal.draw(|frame| screen.draw(frame)).expect("it is memory");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..100).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..9).map(line).collect()
    }

    fn screen() -> Screen {
        let (before, after) = (look(node(1_000, 10, 1_000)), look(node(4_000, 16, 1_500)));
        let mut screen = Screen::new("shop".to_owned(), Sort::Name);
        let missing = vec![("node-2".to_owned(), "it is silent".to_owned())];
        screen.show(figures(&before, &after, Duration::from_secs(2)), missing);
        screen
    }

    #[test]
    fn the_screen_shows_nodes_modules_and_instances() {
        let expected = [
            "shop: 1 node, 1503 calls/s; node-2 is missing: it is silent",
            "NODE    MODULE     INSTANCE  CALLS/S  P50     P99     ERRORS/S  RESTARTS  MEMORY    CPU",
            "node-1  –          ×3        1503     –       –       –         2         64.0 MiB  25 %",
            "node-1  catalog    a.1       1500     <4 µs   <4 µs   –         –         –         –",
            "node-1  cart       ×2        3.0      –       –       –         2         –         –",
            "node-1  cart[ann]  a.3       3.0      <16 µs  <16 µs  –         –         –         –",
            "node-1  cart[bob]  a.2       0        –       –       1.5       2         –         –",
            "",
            "q quit  ↑↓ move  sort: [n name]  c calls  l latency  e errors  r restarts  m memory  u cpu",
        ];
        assert_eq!(drawn(&mut screen()), expected);
    }

    #[test]
    fn keys_sort_and_end() {
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let mut screen = screen();
        let second = |screen: &mut Screen| drawn(screen)[3].split_whitespace().nth(1).map(str::to_owned);
        assert!(!screen.press(key(KeyCode::Char('r'))));
        assert_eq!(second(&mut screen).as_deref(), Some("cart"), "it has ended most often, beside the node");
        assert!(!screen.press(key(KeyCode::Char('l'))));
        assert_eq!(
            drawn(&mut screen)[2].split_whitespace().nth(1),
            Some("cart[ann]"),
            "one of several, and the slowest"
        );
        for other in [KeyCode::Down, KeyCode::Char('c'), KeyCode::Char('x')] {
            assert!(!screen.press(key(other)));
        }
        assert!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(screen.press(key(KeyCode::Char('q'))));
    }
}
