//! What is known about the show: the load that was set, the figures of every process, and what happened.
//!
//! Each process that serves the page reports its own totals a few times per second and is told its share of
//! the load. There is one [`Show`] for all of them, so every browser sees the same figures, whichever process
//! its connection ended up in. It is a module, so it is one wherever it runs. Reports carry totals, not differences: one that arrives twice, or never,
//! falsifies nothing.

mod ledger;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use skybox::App;

use crate::stage::Place;
use crate::{AppError, Process};
use ledger::Ledger;

/// The heaviest load that can be set, in thumbnails per second: more than ten cores could make.
pub const LOAD_MAX_PER_S: u32 = 400;

/// What one process counted since it started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub process: Process,
    pub totals: Totals,
    /// The latest failure's text.
    pub last_error: Option<String>,
    /// The page's latency over the last seconds, if this process measures it.
    pub page: Option<Latency>,
    /// The latency of the thumbnails it asked for over the last seconds.
    pub thumbnail: Option<Latency>,
    /// Who answered it how often.
    pub answered: Vec<Answered>,
    /// How many instances of each module have crashed in its node, or were killed.
    pub restarts: BTreeMap<String, u64>,
}

/// Sums since a process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Thumbnails that arrived.
    pub thumbnails: u64,
    /// Thumbnails and pages that failed.
    pub failures: u64,
    /// Requests that were due and not sent, because too many were under way.
    pub shed: u64,
}

/// Percentiles over the last seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// How often one process answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub process: Process,
    pub pages: u64,
    pub thumbnails: u64,
}

/// What a process is to do until it hears otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// Its share of the load.
    pub per_s: f64,
    /// Whether it measures the page: one process does.
    pub probe: bool,
}

/// What a note is about; the chart draws a line for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    Load,
    Place,
    Kill,
    Crash,
    Back,
    Trouble,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub kind: NoteKind,
    pub text: String,
    /// Where thumbnails are made since then, if that changed.
    pub place: Option<Place>,
    /// The process that was killed, if one was.
    pub killed: Option<Process>,
}

/// A note, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 without gaps.
    pub id: u64,
    pub at_ms: u64,
    pub kind: NoteKind,
    pub text: String,
}

/// Everything the page shows, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Since the show began.
    pub at_ms: u64,
    pub load_per_s: u32,
    pub place: Place,
    /// Thumbnails that arrived per second, over the last two.
    pub rate_per_s: f64,
    pub totals: Totals,
    pub last_error: Option<String>,
    pub page: Option<Latency>,
    /// Of the process whose thumbnails were slowest.
    pub thumbnail: Option<Latency>,
    /// Who answered during the last half minute.
    pub answered: Vec<Answered>,
    /// How many instances of each module have crashed, or were killed, of those that have.
    pub restarts: BTreeMap<String, u64>,
    /// The latest, oldest first.
    pub events: Vec<Event>,
}

/// How a show begins; every node provides it.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    pub load_per_s: u32,
    pub place: Place,
}

/// The state of the show. Its methods take and give plain data, since it lives in any process.
///
/// # Errors
/// None of the methods fails by itself except where it says so; [`AppError::Call`] says that a call did.
#[derive(Debug)]
pub struct Show {
    ledger: Mutex<Ledger>,
}

#[skybox::module]
impl Show {
    /// A show without reports.
    pub fn new(Opening { load_per_s, place }: Opening) -> Show {
        Show { ledger: Mutex::new(Ledger::new(Instant::now(), load_per_s.min(LOAD_MAX_PER_S), place)) }
    }

    async fn start(app: &App) -> skybox::Result<Show> {
        Ok(Show::new(*app.value::<Opening>()?))
    }

    /// Asks for that many thumbnails per second, all processes together.
    ///
    /// # Errors
    /// [`AppError::Load`] beyond [`LOAD_MAX_PER_S`].
    #[idempotent]
    pub async fn set_load(&self, per_s: u32) -> Result<(), AppError> {
        if per_s > LOAD_MAX_PER_S {
            return Err(AppError::Load { max_per_s: LOAD_MAX_PER_S });
        }
        self.ledger().set_load(Instant::now(), per_s);
        Ok(())
    }

    /// Takes a process's figures and tells it what to do next.
    #[idempotent]
    pub async fn record(&self, report: Report) -> Result<Orders, AppError> {
        Ok(self.ledger().record(Instant::now(), report))
    }

    /// Writes down what happened.
    pub async fn note(&self, note: Note) -> Result<(), AppError> {
        self.ledger().note(Instant::now(), note);
        Ok(())
    }

    /// All there is to see now.
    #[idempotent]
    pub async fn snapshot(&self) -> Result<Snapshot, AppError> {
        Ok(self.ledger().snapshot(Instant::now()))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic while it was held left at worst one report half counted.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
