//! What a stream carries: `skybox-bench stream`.
//!
//! A file's worth of blocks goes up and comes down, over a bare Unix socket and over Skybox; then small calls are
//! timed while a stream runs beside them. Each round measures both subjects with processes made anew, and reports the
//! median, the least and the greatest over the rounds, with the ratio of the medians.

mod bare;
mod skybox_unix;

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::child::{self, Ready, Server};
use crate::figures::Figures;
use crate::subject::BoxFuture;

/// How much one stream carries.
const TOTAL_BYTES: u64 = 64 << 20;
/// Streams of one measurement, one after the other: one alone is over in the time of a few turns of the scheduler.
const STREAMS: u32 = 8;
/// The lengths of blocks, in KiB: what an HTTP body comes in, and what a file is read by.
const BLOCKS_KIB: [usize; 2] = [64, 256];
/// Before the name of a subject, where its server is meant: calls have subjects of the same names, and servers of
/// their own.
const SERVER_OF: &str = "stream/";
/// Small calls that are timed alone, and beside a stream.
const CALLS: usize = 2_000;

/// How streams are measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print an object for each metric, one a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Rounds; seven by default, so that three outliers move no median.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Three rounds: for a look while working, not for the record.
    #[arg(long)]
    quick: bool,
    /// These alone, such as `skybox-unix`: what a profiler is to see.
    #[arg(long, value_delimiter = ',', default_values_t = [bare::NAME.to_owned(), skybox_unix::NAME.to_owned()])]
    subjects: Vec<String>,
}

/// Rounds of a quick look.
const QUICK_ROUNDS: usize = 3;

/// One side of a connection that carries blocks.
trait Pipe: Send + Sync {
    /// Sends `TOTAL_BYTES` in blocks of this length; resolves when the other side has read all of them.
    fn upload(&self, block_len: usize) -> BoxFuture<'_, Result<()>>;
    /// Reads `TOTAL_BYTES` that come in blocks of this length.
    fn download(&self, block_len: usize) -> BoxFuture<'_, Result<()>>;
    /// Makes a small call, if that can be done beside a stream.
    fn small_call(&self) -> Option<BoxFuture<'_, Result<()>>>;
}

/// The server of a stream subject, if there is one of this name.
pub(crate) fn server<'a>(
    subject: &str,
    address: &'a str,
    ready: Ready,
) -> Result<BoxFuture<'a, Result<()>>, Ready> {
    match subject.strip_prefix(SERVER_OF) {
        Some(bare::NAME) => Ok(Box::pin(bare::serve(address, ready))),
        Some(skybox_unix::NAME) => Ok(Box::pin(skybox_unix::serve(ready))),
        _ => Err(ready),
    }
}

/// Measures and prints.
///
/// # Errors
/// When a server cannot be started, or not all bytes arrive.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut figures = Figures::beside(bare::NAME);
    let mut subjects = Vec::new();
    for name in &options.subjects {
        let known = [bare::NAME, skybox_unix::NAME].into_iter().find(|known| known == name);
        subjects.push(known.with_context(|| format!("there is no stream subject {name:?}"))?);
    }
    let rounds = if options.quick { QUICK_ROUNDS } else { options.rounds };
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        // Each round starts with another subject, so that none is always first.
        let first = round % subjects.len();
        let (before, after) = subjects.split_at(first);
        for subject in after.iter().chain(before) {
            measure(subject, &mut figures)?;
        }
    }
    figures.print("stream", options.json)
}

fn measure(subject: &'static str, figures: &mut Figures) -> Result<()> {
    let directory = crate::call::SocketDirectory::create()?;
    let server = Server::start(&format!("{SERVER_OF}{subject}"), &directory.socket(subject))?;
    let address = server.address().to_owned();
    let runtime = child::runtime()?;
    // On a task, as the code of a server's requests is: a runtime's main thread has to be woken for each byte.
    let measured = runtime.block_on(runtime.spawn(async move {
        let pipe: Box<dyn Pipe> = match subject {
            bare::NAME => Box::new(bare::Bare::at(&address)),
            _ => Box::new(skybox_unix::Client::join(&address).await?),
        };
        let mut values = Vec::new();
        for kib in BLOCKS_KIB {
            for (way, upload) in [("upload", true), ("download", false)] {
                let carry = || if upload { pipe.upload(kib << 10) } else { pipe.download(kib << 10) };
                carry().await?;
                let began = Instant::now();
                for _ in 0..STREAMS {
                    carry().await?;
                }
                let mib = f64::from(STREAMS) * (TOTAL_BYTES >> 20) as f64;
                values.push((format!("{way}_{kib}k"), "MiB/s", mib / began.elapsed().as_secs_f64()));
            }
        }
        small_calls(&*pipe, &mut values).await?;
        anyhow::Ok(values)
    }));
    drop(runtime);
    for (metric, unit, value) in measured.context("the measuring task ended")?? {
        figures.add(subject, metric, unit, value);
    }
    Ok(())
}

/// A metric's name, its unit, and what was measured.
type Value = (String, &'static str, f64);

/// Times small calls alone, then while streams come down without a break.
async fn small_calls(pipe: &dyn Pipe, values: &mut Vec<Value>) -> Result<()> {
    if pipe.small_call().is_none() {
        return Ok(());
    }
    let calls = async || {
        let mut latencies = Vec::with_capacity(CALLS);
        while let (true, Some(call)) = (latencies.len() < CALLS, pipe.small_call()) {
            let began = Instant::now();
            call.await?;
            latencies.push(began.elapsed());
        }
        latencies.sort_unstable();
        anyhow::Ok(latencies)
    };
    let streams = async {
        loop {
            pipe.download(BLOCKS_KIB[0] << 10).await?;
        }
    };
    let alone = calls().await?;
    let beside = tokio::select! {
        latencies = calls() => latencies?,
        ended = streams => return ended,
    };
    for (name, at) in [("p50", CALLS / 2), ("p99", CALLS * 99 / 100)] {
        let [alone, beside] = [&alone, &beside].map(|latencies| latencies[at].as_secs_f64() * 1e6);
        values.push((format!("{name}_alone"), "us", alone));
        values.push((format!("{name}_beside"), "us", beside));
        values.push((format!("{name}_times"), "of alone", beside / alone));
    }
    Ok(())
}
