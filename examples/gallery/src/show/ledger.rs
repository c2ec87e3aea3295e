//! The show's bookkeeping, given the time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Answered, Event, Note, NoteKind, Orders, Report, Snapshot, Totals};
use crate::Process;
use crate::stage::Place;

/// A process that has not reported for so long gets no share of the load: ten reports are missing.
const REPORTING: Duration = Duration::from_secs(2);

/// The rate is that of the last two seconds: steady to look at, and quick to show a gap.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Who has not answered for so long is no longer shown.
const SHOWN: Duration = Duration::from_secs(30);

/// More processes than a show on one machine can have had in half a minute; the longest silent is forgotten.
const PROCESSES_MAX: usize = 64;

/// As many events as the page lists.
const EVENTS_MAX: usize = 40;

/// Far more steps than reports arrive in [`RATE_WINDOW`].
const STEPS_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Ledger {
    began: Instant,
    load_per_s: u32,
    place: Place,
    totals: Totals,
    last_error: Option<String>,
    reporters: BTreeMap<Process, Reporter>,
    answered: BTreeMap<Process, Answerer>,
    /// Thumbnails by the moment they were reported, no older than [`RATE_WINDOW`].
    steps: VecDeque<(Instant, u64)>,
    events: VecDeque<Event>,
    events_ever: u64,
    /// Who measures the page: the same process for as long as it reports.
    prober: Option<Process>,
    /// Who was killed, and has not been heard of as a new process.
    killed: Option<(Process, Instant)>,
}

#[derive(Debug)]
struct Reporter {
    last: Report,
    seen: Instant,
}

#[derive(Debug)]
struct Answerer {
    pages: u64,
    thumbnails: u64,
    seen: Instant,
}

impl Ledger {
    pub(super) fn new(began: Instant, load_per_s: u32, place: Place) -> Ledger {
        Ledger {
            began,
            load_per_s,
            place,
            totals: Totals::default(),
            last_error: None,
            reporters: BTreeMap::new(),
            answered: BTreeMap::new(),
            steps: VecDeque::new(),
            events: VecDeque::new(),
            events_ever: 0,
            prober: None,
            killed: None,
        }
    }

    pub(super) fn set_load(&mut self, now: Instant, per_s: u32) {
        if self.load_per_s != per_s {
            self.load_per_s = per_s;
            self.event(now, NoteKind::Load, format!("load set to {per_s} thumbnails per second"));
        }
    }

    pub(super) fn note(&mut self, now: Instant, note: Note) {
        self.place = note.place.unwrap_or(self.place);
        // A worker that is not at work answers nobody, and its return is not seen.
        if let Some(killed) = note.killed.filter(|_| self.place == Place::Worker) {
            self.killed = Some((killed, now));
        }
        self.event(now, note.kind, note.text);
    }

    pub(super) fn record(&mut self, now: Instant, report: Report) -> Orders {
        let process = report.process.clone();
        let before = self.reporters.remove(&process);
        self.count(now, before.as_ref().map(|reporter| &reporter.last), &report);
        self.reporters.insert(process.clone(), Reporter { last: report, seen: now });
        forget_beyond(&mut self.reporters, |reporter| reporter.seen);
        self.orders(now, &process)
    }

    /// Adds what this report has more than the one before it.
    fn count(&mut self, now: Instant, before: Option<&Report>, report: &Report) {
        let counted = before.map(|before| before.totals).unwrap_or_default();
        let made = report.totals.thumbnails.saturating_sub(counted.thumbnails);
        let failed = report.totals.failures.saturating_sub(counted.failures);
        self.totals.thumbnails += made;
        self.totals.failures += failed;
        self.totals.shed += report.totals.shed.saturating_sub(counted.shed);
        if failed > 0 {
            self.last_error.clone_from(&report.last_error);
        }
        // What a process made before this show knew it was not made just now.
        if before.is_some() && made > 0 {
            self.steps.push_back((now, made));
            while self.steps.len() > STEPS_MAX {
                self.steps.pop_front();
            }
        }
        for answered in &report.answered {
            let counted = before
                .and_then(|before| before.answered.iter().find(|known| known.process == answered.process))
                .map_or((0, 0), |known| (known.pages, known.thumbnails));
            let pages = answered.pages.saturating_sub(counted.0);
            let thumbnails = answered.thumbnails.saturating_sub(counted.1);
            if pages + thumbnails > 0 {
                self.hear(now, &answered.process, pages, thumbnails);
            }
        }
    }

    fn hear(&mut self, now: Instant, process: &Process, pages: u64, thumbnails: u64) {
        match self.answered.get_mut(process) {
            Some(known) => {
                known.pages += pages;
                known.thumbnails += thumbnails;
                known.seen = now;
            }
            None => {
                self.answered.insert(process.clone(), Answerer { pages, thumbnails, seen: now });
                forget_beyond(&mut self.answered, |answerer| answerer.seen);
                self.welcome_back(now, process);
            }
        }
    }

    /// Says how long a killed node was away, at the first answer of its next process.
    fn welcome_back(&mut self, now: Instant, process: &Process) {
        let back =
            self.killed.take_if(|(killed, _)| killed.node == process.node && killed.pid != process.pid);
        if let Some((_, at)) = back {
            let away_s = (now - at).as_secs_f64();
            let text = format!("{} is back as pid {} after {away_s:.1} s", process.node, process.pid);
            self.event(now, NoteKind::Back, text);
        }
    }

    fn orders(&mut self, now: Instant, process: &Process) -> Orders {
        let reporting = |reporter: &&Reporter| now - reporter.seen <= REPORTING;
        let shares = self.reporters.values().filter(reporting).count();
        let probing = self.prober.as_ref().and_then(|prober| self.reporters.get(prober)).filter(reporting);
        if probing.is_none() {
            self.prober = Some(process.clone());
        }
        Orders {
            per_s: f64::from(self.load_per_s) / shares as f64,
            probe: self.prober.as_ref() == Some(process),
        }
    }

    fn event(&mut self, now: Instant, kind: NoteKind, text: String) {
        self.events_ever += 1;
        self.events.push_back(Event { id: self.events_ever, at_ms: millis(now - self.began), kind, text });
        while self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    pub(super) fn snapshot(&mut self, now: Instant) -> Snapshot {
        while self.steps.front().is_some_and(|&(at, _)| now - at > RATE_WINDOW) {
            self.steps.pop_front();
        }
        let made: u64 = self.steps.iter().map(|&(_, made)| made).sum();
        let reporting = || self.reporters.values().filter(|reporter| now - reporter.seen <= REPORTING);
        let slowest = reporting()
            .filter_map(|reporter| reporter.last.thumbnail)
            .max_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
        let prober = self.prober.as_ref();
        let page = reporting()
            .find(|reporter| Some(&reporter.last.process) == prober)
            .and_then(|reporter| reporter.last.page);
        Snapshot {
            at_ms: millis(now - self.began),
            load_per_s: self.load_per_s,
            place: self.place,
            rate_per_s: made as f64 / RATE_WINDOW.as_secs_f64(),
            totals: self.totals,
            last_error: self.last_error.clone(),
            page,
            thumbnail: slowest,
            answered: self
                .answered
                .iter()
                .filter(|(_, answerer)| now - answerer.seen <= SHOWN)
                .map(|(process, answerer)| Answered {
                    process: process.clone(),
                    pages: answerer.pages,
                    thumbnails: answerer.thumbnails,
                })
                .collect(),
            restarts: self.restarts(),
            events: self.events.iter().cloned().collect(),
        }
    }
}

impl Ledger {
    /// What all processes have said, also those that are gone.
    fn restarts(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (module, count) in self.reporters.values().flat_map(|reporter| &reporter.last.restarts) {
            *sums.entry(module.clone()).or_default() += count;
        }
        sums
    }
}

/// Drops the longest silent until no more than [`PROCESSES_MAX`] are left.
fn forget_beyond<T>(known: &mut BTreeMap<Process, T>, seen: impl Fn(&T) -> Instant) {
    while known.len() > PROCESSES_MAX {
        let oldest = known.iter().min_by_key(|(_, value)| seen(value)).map(|(process, _)| process.clone());
        match oldest {
            Some(process) => known.remove(&process),
            None => return,
        };
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(node: &str, pid: u32) -> Process {
        Process { node: node.to_owned(), pid }
    }

    fn report(from: &Process, thumbnails: u64, failures: u64) -> Report {
        Report {
            process: from.clone(),
            totals: Totals { thumbnails, failures, shed: 0 },
            last_error: (failures > 0).then(|| "it broke".to_owned()),
            page: None,
            thumbnail: None,
            answered: Vec::new(),
            restarts: BTreeMap::from([("mortal".to_owned(), failures)]),
        }
    }

    fn answers(mut report: Report, by: &Process, thumbnails: u64) -> Report {
        report.answered.push(Answered { process: by.clone(), pages: 0, thumbnails });
        report
    }

    #[test]
    fn a_report_that_arrives_twice_counts_once() {
        let began = Instant::now();
        let (mut ledger, page) = (Ledger::new(began, 10, Place::Worker), process("node-1", 1));
        for thumbnails in [4, 9, 9] {
            ledger.record(began, report(&page, thumbnails, 1));
        }
        let snapshot = ledger.snapshot(began);
        assert_eq!(snapshot.totals, Totals { thumbnails: 9, failures: 1, shed: 0 });
        assert_eq!(snapshot.last_error.as_deref(), Some("it broke"));
    }

    #[test]
    fn the_rate_is_that_of_the_last_two_seconds() {
        let began = Instant::now();
        let (mut ledger, page) = (Ledger::new(began, 10, Place::Worker), process("node-1", 1));
        // The first report is from a process that was at work before.
        ledger.record(began, report(&page, 1000, 0));
        ledger.record(began + Duration::from_millis(500), report(&page, 1030, 0));
        assert_eq!(ledger.snapshot(began + Duration::from_secs(1)).rate_per_s, 15.0);
        assert_eq!(ledger.snapshot(began + Duration::from_secs(3)).rate_per_s, 0.0);
        assert_eq!(ledger.snapshot(began + Duration::from_secs(3)).totals.thumbnails, 1030);
    }

    #[test]
    fn processes_that_report_share_the_load_and_one_measures() {
        let began = Instant::now();
        let mut ledger = Ledger::new(began, 90, Place::Worker);
        let pages = [process("node-1", 1), process("node-2", 2), process("node-3", 3)];
        for page in &pages {
            ledger.record(began, report(page, 0, 0));
        }
        let orders = pages.each_ref().map(|page| ledger.record(began, report(page, 0, 0)));
        assert_eq!(orders.map(|orders| orders.per_s), [30.0; 3]);
        assert_eq!(orders.map(|orders| orders.probe), [true, false, false]);

        // The first one dies: the others take over its share, and one of them its measuring.
        let later = began + REPORTING + Duration::from_millis(1);
        ledger.record(later, report(&pages[1], 0, 0));
        ledger.record(later, report(&pages[2], 0, 0));
        let orders = ledger.record(later, report(&pages[1], 0, 0));
        assert_eq!(orders, Orders { per_s: 45.0, probe: true });
    }

    #[test]
    fn a_killed_worker_is_welcomed_back_once_under_its_new_pid() {
        let began = Instant::now();
        let mut ledger = Ledger::new(began, 10, Place::Worker);
        let (page, old, new) = (process("node-1", 1), process("node-4", 40), process("node-4", 41));
        ledger.record(began, answers(report(&page, 1, 0), &old, 1));
        let killed =
            Note { kind: NoteKind::Kill, text: "killed".into(), place: None, killed: Some(old.clone()) };
        ledger.note(began, killed);
        // Its last words are not its return.
        ledger.record(began + Duration::from_millis(10), answers(report(&page, 2, 0), &old, 2));
        let back = answers(answers(report(&page, 3, 0), &old, 2), &new, 1);
        ledger.record(began + Duration::from_millis(400), back.clone());
        ledger.record(began + Duration::from_millis(600), back);
        let events = ledger.snapshot(began + Duration::from_secs(1)).events;
        let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(texts, ["killed", "node-4 is back as pid 41 after 0.4 s"]);
    }

    #[test]
    fn restarts_are_those_of_all_processes() {
        let began = Instant::now();
        let mut ledger = Ledger::new(began, 10, Place::Worker);
        for (pid, failures) in [(1, 2), (2, 1), (1, 3)] {
            ledger.record(began, report(&process("node", pid), 0, failures));
        }
        assert_eq!(ledger.snapshot(began).restarts, BTreeMap::from([("mortal".to_owned(), 4)]));
    }

    #[test]
    fn everything_kept_is_bounded() {
        let began = Instant::now();
        let mut ledger = Ledger::new(began, 10, Place::Worker);
        for pid in 0..500 {
            let one = process("node", pid);
            let at = began + Duration::from_millis(u64::from(pid));
            ledger.record(at, answers(report(&one, 1, 0), &one, 1));
            ledger.set_load(at, pid);
        }
        let snapshot = ledger.snapshot(began + Duration::from_millis(500));
        assert_eq!(snapshot.answered.len(), PROCESSES_MAX);
        assert_eq!(snapshot.events.len(), EVENTS_MAX);
        assert_eq!(snapshot.events.last().expect("kept").id, 500);
        assert_eq!(snapshot.totals.thumbnails, 500);
    }
}
