//! Calls between two processes: latency alone, throughput and CPU time with many in flight.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;

use super::Pace;
use super::report::{Metric, Report};
use crate::child::{self, Server};
use crate::subject::{BoxFuture, Client, RemoteSubject, Transport};
use crate::work::{BLOB_BYTES, Echo, blob};

/// Ids of different callers lie this far apart, more than one of them makes calls in a run.
const IDS_PER_CALLER: u64 = 1 << 32;

/// What a caller repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The small message, only counted.
    Echo,
    /// The small message, each call timed.
    EchoTimed,
    /// The blob, only counted.
    Blob,
}

/// What a caller did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    calls: u64,
    /// One for each call if they were timed, else none.
    latencies_ns: Vec<u64>,
}

/// A connection under load. Every [`Client`] is one: the loop is compiled for each client, so that
/// no boxed future lies between it and its caller.
pub(crate) trait Load: Send + Sync {
    /// One caller, who calls again as soon as he is answered, until `stop`.
    fn caller(&self, number: usize, work: Work, stop: Arc<AtomicBool>) -> BoxFuture<'static, Result<Tally>>;
}

impl<C: Client> Load for C {
    fn caller(&self, number: usize, work: Work, stop: Arc<AtomicBool>) -> BoxFuture<'static, Result<Tally>> {
        let client = self.clone();
        match work {
            Work::Echo => Box::pin(call_echo(client, number, stop)),
            Work::EchoTimed => Box::pin(time_echo(client, number, stop)),
            Work::Blob => Box::pin(call_blob(client, number, stop)),
        }
    }
}

async fn call_echo(client: impl Client, number: usize, stop: Arc<AtomicBool>) -> Result<Tally> {
    let mut tally = Tally::default();
    let first = number as u64 * IDS_PER_CALLER;
    // Each reply is the next request: no caller has to make or copy a message.
    let mut message = Echo::sample(first);
    while !stop.load(Ordering::Relaxed) {
        let id = message.id;
        message = client.echo(message).await?;
        ensure!(message.id == id, "call {id} was answered with {}", message.id);
        message.id += 1;
        tally.calls += 1;
    }
    message.check(first + tally.calls)?;
    Ok(tally)
}

async fn time_echo(client: impl Client, number: usize, stop: Arc<AtomicBool>) -> Result<Tally> {
    let mut tally = Tally::default();
    let first = number as u64 * IDS_PER_CALLER;
    let mut message = Echo::sample(first);
    while !stop.load(Ordering::Relaxed) {
        let id = message.id;
        let start = Instant::now();
        message = client.echo(message).await?;
        tally.latencies_ns.push(start.elapsed().as_nanos() as u64);
        ensure!(message.id == id, "call {id} was answered with {}", message.id);
        message.id += 1;
        tally.calls += 1;
    }
    message.check(first + tally.calls)?;
    Ok(tally)
}

async fn call_blob(client: impl Client, number: usize, stop: Arc<AtomicBool>) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut bytes = blob(number);
    while !stop.load(Ordering::Relaxed) {
        bytes = client.blob(bytes).await?;
        ensure!(bytes.len() == BLOB_BYTES, "a blob came back with {} bytes", bytes.len());
        tally.calls += 1;
    }
    ensure!(bytes == blob(number), "the blob of caller {number} came back changed");
    Ok(tally)
}

/// Measures one remote subject once, with a server and a connection of its own.
///
/// # Errors
/// When the server cannot be started or reached, or a call fails.
pub(super) fn measure(
    subject: &dyn RemoteSubject,
    pace: Pace,
    directory: &SocketDirectory,
    report: &mut Report,
) -> Result<()> {
    let name = subject.name();
    measure_all(subject, pace, directory, report).with_context(|| format!("measuring {name}"))
}

fn measure_all(
    subject: &dyn RemoteSubject,
    pace: Pace,
    directory: &SocketDirectory,
    report: &mut Report,
) -> Result<()> {
    let server = Server::start(subject.name(), &directory.address(subject))?;
    let runtime = child::runtime()?;
    let load = runtime.block_on(subject.connect(server.address()))?;
    let mut bench = Pair { server, runtime, load };

    bench.drive(1, Work::EchoTimed, pace.warm_up)?;
    let mut alone = bench.drive(1, Work::EchoTimed, pace.remote)?;
    alone.latencies_ns.sort_unstable();
    report.add(subject.name(), Metric::P50At1, percentile_us(&alone.latencies_ns, 50)?);
    report.add(subject.name(), Metric::P99At1, percentile_us(&alone.latencies_ns, 99)?);

    for (callers, rate, cpu) in [
        (64, Metric::CallsPerSecondAt64, Metric::CpuPerCallAt64),
        (1024, Metric::CallsPerSecondAt1024, Metric::CpuPerCallAt1024),
    ] {
        bench.drive(callers, Work::Echo, pace.warm_up)?;
        let many = bench.drive(callers, Work::Echo, pace.remote)?;
        report.add(subject.name(), rate, many.calls_per_s());
        report.add(subject.name(), cpu, many.cpu_us_per_call());
    }

    bench.drive(16, Work::Blob, pace.warm_up)?;
    let blobs = bench.drive(16, Work::Blob, pace.remote)?;
    report.add(subject.name(), Metric::BlobCallsPerSecondAt16, blobs.calls_per_s());
    Ok(())
}

/// The two processes of a subject in one round.
struct Pair {
    // In the order in which they have to go: connection, its runtime, its peer.
    load: Box<dyn Load>,
    runtime: Runtime,
    server: Server,
}

/// What all callers of a measurement did together.
#[derive(Debug)]
struct Measured {
    calls: u64,
    elapsed: Duration,
    cpu_ns: u64,
    latencies_ns: Vec<u64>,
}

impl Measured {
    fn calls_per_s(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }

    fn cpu_us_per_call(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.calls as f64
    }
}

impl Pair {
    /// Lets `callers` tasks call for `window`.
    fn drive(&mut self, callers: usize, work: Work, window: Duration) -> Result<Measured> {
        let stop = Arc::new(AtomicBool::new(false));
        let cpu_before_ns = child::own_cpu_ns() + self.server.cpu_ns()?;
        let start = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|number| self.runtime.spawn(self.load.caller(number, work, Arc::clone(&stop))))
            .collect();
        // The measurement itself: the callers run on the runtime's threads meanwhile.
        std::thread::sleep(window);
        stop.store(true, Ordering::Relaxed);

        let mut measured = Measured { calls: 0, elapsed: window, cpu_ns: 0, latencies_ns: Vec::new() };
        for task in tasks {
            let tally = self.runtime.block_on(task).context("a caller ended")??;
            measured.calls += tally.calls;
            measured.latencies_ns.extend(tally.latencies_ns);
        }
        measured.elapsed = start.elapsed();
        measured.cpu_ns = child::own_cpu_ns() + self.server.cpu_ns()? - cpu_before_ns;
        ensure!(measured.calls > 0, "no call was answered within {window:?}");
        Ok(measured)
    }
}

/// The value that `percent` of the sorted values do not exceed, in microseconds.
fn percentile_us(sorted_ns: &[u64], percent: usize) -> Result<f64> {
    let index = (sorted_ns.len() * percent).div_ceil(100).saturating_sub(1);
    let value = sorted_ns.get(index).context("no call was timed")?;
    Ok(*value as f64 / 1e3)
}

/// Where the Unix sockets of a run lie; removed when dropped.
#[derive(Debug)]
pub(crate) struct SocketDirectory {
    path: PathBuf,
}

impl SocketDirectory {
    /// Makes a directory that only this user may enter.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn create() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("skybox-bench-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where the next server of `subject` shall listen; what the last one left there is removed.
    fn address(&self, subject: &dyn RemoteSubject) -> String {
        match subject.transport() {
            Transport::Tcp => "127.0.0.1:0".to_owned(),
            Transport::Unix => self.socket(subject.name()),
        }
    }

    /// The path of a subject's socket, where nothing is any more.
    pub(crate) fn socket(&self, name: &str) -> String {
        let path = self.path.join(name);
        // It is missing in the first round; if it cannot be removed, the server says so.
        let _ = std::fs::remove_file(&path);
        path.display().to_string()
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=200).map(|value| value * 1_000).collect();
        assert_eq!(percentile_us(&values, 50).unwrap(), 100.0);
        assert_eq!(percentile_us(&values, 99).unwrap(), 198.0);
        assert_eq!(percentile_us(&values[..1], 99).unwrap(), 1.0);
        assert!(percentile_us(&[], 50).is_err());
    }
}
