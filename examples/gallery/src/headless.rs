//! The show without a browser: presses the buttons one after the other and reads the same figures.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, MissedTickBehavior};

use crate::client;
use crate::show::Snapshot;

/// How often the end of an act is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The first act begins when thumbnails arrive, and they do unless something is wrong.
const WARM_UP_MAX: Duration = Duration::from_secs(60);

/// As long as figures of the act before may still arrive: a report, and a call that was under way.
const SETTLE: Duration = Duration::from_millis(500);

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub load_per_s: u32,
    /// The length of each act; latencies are those of its last five seconds.
    pub act: Duration,
}

/// Why the show could not be played to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadlessError {
    /// The gallery did not answer.
    #[error("{path} did not answer")]
    Unreachable { path: &'static str, source: std::io::Error },
    /// The gallery refused; the text is its own.
    #[error("{path} answered {status}: {text}")]
    Refused { path: &'static str, status: u16, text: String },
    /// The gallery answered something else than its figures.
    #[error("{path} answered no figures")]
    Answer { path: &'static str, source: serde_json::Error },
    /// No thumbnail arrived.
    #[error("no thumbnail arrived within {} s", WARM_UP_MAX.as_secs())]
    Idle,
}

/// One act, and what was measured in it.
#[derive(Clone, Debug)]
pub struct Act {
    pub name: &'static str,
    /// What the page's log said when the button was pressed.
    pub text: String,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub rate_per_s: f64,
    pub failures: u64,
    pub shed: u64,
    /// Who made thumbnails.
    pub makers: Vec<String>,
}

/// The whole show.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub acts: Vec<Act>,
    /// All there were, in every act and between them.
    pub failures: u64,
    pub last_error: Option<String>,
    /// The page's log.
    pub log: Vec<String>,
}

impl Outcome {
    /// Whether no call failed, and each act had thumbnails.
    pub fn good(&self) -> bool {
        self.failures == 0 && self.acts.iter().all(|act| act.rate_per_s > 0.0)
    }
}

/// Plays the scenario against the gallery at `address`.
///
/// # Errors
/// When the gallery does not answer, refuses a button, or makes no thumbnails; then start it, or read what
/// it says.
pub async fn play(address: SocketAddr, scenario: Scenario) -> Result<Outcome, HeadlessError> {
    let load = format!(r#"{{"per_s":{}}}"#, scenario.load_per_s);
    post(address, "/load", &load).await?;
    warm_up(address).await?;
    let mut acts = Vec::new();
    for (name, path, body) in [
        ("thumbnails where the page is served", "/place", r#"{"where":"pages"}"#),
        ("thumbnails on the worker", "/place", r#"{"where":"worker"}"#),
        ("kill -9 the worker", "/kill", "{}"),
    ] {
        acts.push(act(address, scenario.act, name, path, body).await?);
    }
    let last = snapshot(address).await?;
    Ok(Outcome {
        acts,
        failures: last.totals.failures,
        last_error: last.last_error,
        log: last
            .events
            .iter()
            .map(|event| format!("{:>6.1} s  {}", event.at_ms as f64 / 1e3, event.text))
            .collect(),
    })
}

/// Waits until each picture has probably been drawn: as many thumbnails arrived as the gallery has.
async fn warm_up(address: SocketAddr) -> Result<(), HeadlessError> {
    let until = Instant::now() + WARM_UP_MAX;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    while Instant::now() < until {
        looks.tick().await;
        let now = snapshot(address).await?;
        if now.totals.thumbnails >= u64::from(crate::pictures::COUNT) && now.page.is_some() {
            return Ok(());
        }
    }
    Err(HeadlessError::Idle)
}

async fn act(
    address: SocketAddr,
    length: Duration,
    name: &'static str,
    path: &'static str,
    body: &str,
) -> Result<Act, HeadlessError> {
    let before = snapshot(address).await?;
    let began = Instant::now();
    let text = post(address, path, body).await?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut settled = None;
    while began.elapsed() < length {
        looks.tick().await;
        if settled.is_none() && began.elapsed() >= SETTLE {
            settled = Some(snapshot(address).await?);
        }
    }
    let after = snapshot(address).await?;
    let settled = settled.as_ref().unwrap_or(&before);
    let made = after.totals.thumbnails.saturating_sub(before.totals.thumbnails);
    let makers = after.answered.iter().filter(|now| {
        let then = settled.answered.iter().find(|then| then.process == now.process);
        now.thumbnails > then.map_or(0, |then| then.thumbnails)
    });
    Ok(Act {
        name,
        text,
        p50_ms: after.page.map_or(f64::NAN, |page| page.p50_ms),
        p99_ms: after.page.map_or(f64::NAN, |page| page.p99_ms),
        rate_per_s: made as f64 * 1e3 / (after.at_ms.saturating_sub(before.at_ms).max(1)) as f64,
        failures: after.totals.failures.saturating_sub(before.totals.failures),
        shed: after.totals.shed.saturating_sub(before.totals.shed),
        makers: makers.map(|maker| format!("{} ({})", maker.process.node, maker.process.pid)).collect(),
    })
}

async fn snapshot(address: SocketAddr) -> Result<Snapshot, HeadlessError> {
    decode("/snapshot", &ask(address, "/snapshot", None).await?)
}

/// Presses a button; what it says, if it says something.
async fn post(address: SocketAddr, path: &'static str, body: &str) -> Result<String, HeadlessError> {
    #[derive(serde::Deserialize)]
    struct Said {
        text: String,
    }
    let answer = ask(address, path, Some(body)).await?;
    if answer.is_empty() { Ok(String::new()) } else { Ok(decode::<Said>(path, &answer)?.text) }
}

async fn ask(address: SocketAddr, path: &'static str, body: Option<&str>) -> Result<Vec<u8>, HeadlessError> {
    let answer = client::ask(address, path, body)
        .await
        .map_err(|source| HeadlessError::Unreachable { path, source })?;
    if !(200..300).contains(&answer.status) {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(HeadlessError::Refused { path, status: answer.status, text });
    }
    Ok(answer.body)
}

fn decode<T: DeserializeOwned>(path: &'static str, json: &[u8]) -> Result<T, HeadlessError> {
    serde_json::from_slice(json).map_err(|source| HeadlessError::Answer { path, source })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<37}{:>10}{:>10}{:>10}{:>10}{:>7}  made by",
            "", "page p50", "page p99", "thumbs/s", "failures", "shed"
        )?;
        for act in &self.acts {
            writeln!(
                f,
                "{:<37}{:>7.1} ms{:>7.1} ms{:>10.1}{:>10}{:>7}  {}",
                act.name,
                act.p50_ms,
                act.p99_ms,
                act.rate_per_s,
                act.failures,
                act.shed,
                act.makers.join(", ")
            )?;
        }
        writeln!(f)?;
        for line in &self.log {
            writeln!(f, "{line}")?;
        }
        match (&self.last_error, self.good()) {
            (Some(error), _) => write!(f, "\n{} calls failed, the last one: {error}", self.failures),
            (None, true) => write!(f, "\nno call failed"),
            (None, false) => write!(f, "\nan act went by without a thumbnail"),
        }
    }
}
