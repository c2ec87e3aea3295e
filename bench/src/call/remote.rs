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
    /// A blob of so many bytes, only counted.
    Blob(usize),
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
    /// One caller, who calls once, and again as soon as he is answered, until `stop`.
    fn caller(&self, number: usize, work: Work, stop: Arc<AtomicBool>) -> BoxFuture<'static, Result<Tally>>;
}

impl<C: Client> Load for C {
    fn caller(&self, number: usize, work: Work, stop: Arc<AtomicBool>) -> BoxFuture<'static, Result<Tally>> {
        let client = self.clone();
        match work {
            Work::Echo => Box::pin(call_echo(client, number, stop)),
            Work::EchoTimed => Box::pin(time_echo(client, number, stop)),
            Work::Blob(bytes) => Box::pin(call_blob(client, number, bytes, stop)),
        }
    }
}

async fn call_echo(client: impl Client, number: usize, stop: Arc<AtomicBool>) -> Result<Tally> {
    let mut tally = Tally::default();
    let first = number as u64 * IDS_PER_CALLER;
    // Each reply is the next request: no caller has to make or copy a message.
    let mut message = Echo::sample(first);
    loop {
        let id = message.id;
        message = client.echo(message).await?;
        ensure!(message.id == id, "call {id} was answered with {}", message.id);
        message.id += 1;
        tally.calls += 1;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    message.check(first + tally.calls)?;
    Ok(tally)
}

async fn time_echo(client: impl Client, number: usize, stop: Arc<AtomicBool>) -> Result<Tally> {
    let mut tally = Tally::default();
    let first = number as u64 * IDS_PER_CALLER;
    let mut message = Echo::sample(first);
    loop {
        let id = message.id;
        let start = Instant::now();
        message = client.echo(message).await?;
        tally.latencies_ns.push(start.elapsed().as_nanos() as u64);
        ensure!(message.id == id, "call {id} was answered with {}", message.id);
        message.id += 1;
        tally.calls += 1;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    message.check(first + tally.calls)?;
    Ok(tally)
}

async fn call_blob(
    client: impl Client,
    number: usize,
    blob_bytes: usize,
    stop: Arc<AtomicBool>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut bytes = blob(number, blob_bytes);
    loop {
        bytes = client.blob(bytes).await?;
        ensure!(bytes.len() == blob_bytes, "a blob came back with {} bytes", bytes.len());
        tally.calls += 1;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    ensure!(bytes == blob(number, blob_bytes), "the blob of caller {number} came back changed");
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
    let mut bench = Pair::start(subject, directory)?;

    bench.drive(1, Work::EchoTimed, pace.warm_up)?;
    let alone = bench.drive(1, Work::EchoTimed, pace.remote)?;
    report.add(subject.name(), Metric::P50At1, alone.percentile_us(50)?);
    report.add(subject.name(), Metric::P99At1, alone.percentile_us(99)?);

    for (callers, rate, cpu) in [
        (64, Metric::CallsPerSecondAt64, Metric::CpuPerCallAt64),
        (1024, Metric::CallsPerSecondAt1024, Metric::CpuPerCallAt1024),
    ] {
        bench.drive(callers, Work::Echo, pace.warm_up)?;
        let many = bench.drive(callers, Work::Echo, pace.remote)?;
        report.add(subject.name(), rate, many.calls_per_s());
        report.add(subject.name(), cpu, many.cpu_us_per_call());
    }

    bench.drive(16, Work::Blob(BLOB_BYTES), pace.warm_up)?;
    let blobs = bench.drive(16, Work::Blob(BLOB_BYTES), pace.remote)?;
    report.add(subject.name(), Metric::BlobCallsPerSecondAt16, blobs.calls_per_s());
    Ok(())
}

/// The two processes of a subject in one round.
pub(super) struct Pair {
    // In the order in which they have to go: connection, its runtime, its peer.
    load: Box<dyn Load>,
    runtime: Runtime,
    server: Server,
}

/// What all callers of a measurement did together.
#[derive(Debug)]
pub(super) struct Measured {
    calls: u64,
    elapsed: Duration,
    cpu_ns: u64,
    /// Sorted, if they were timed.
    latencies_ns: Vec<u64>,
}

impl Measured {
    pub(super) fn calls_per_s(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }

    fn cpu_us_per_call(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.calls as f64
    }

    /// The time that `percent` of the calls did not exceed, in microseconds.
    pub(super) fn percentile_us(&self, percent: usize) -> Result<f64> {
        percentile_us(&self.latencies_ns, percent)
    }
}

impl Pair {
    /// Starts the server and connects to it.
    ///
    /// # Errors
    /// When either fails.
    pub(super) fn start(subject: &dyn RemoteSubject, directory: &SocketDirectory) -> Result<Pair> {
        let server = Server::start(subject.name(), &directory.address(subject))?;
        let runtime = child::runtime()?;
        let load = runtime.block_on(subject.connect(server.address()))?;
        Ok(Pair { server, runtime, load })
    }

    /// Lets `callers` tasks call for `window`.
    pub(super) fn drive(&mut self, callers: usize, work: Work, window: Duration) -> Result<Measured> {
        let cpu_before_ns = child::own_cpu_ns() + self.server.cpu_ns()?;
        let calling = self.begin(callers, work);
        // The measurement itself: the callers run on the runtime's threads meanwhile.
        std::thread::sleep(window);
        let mut measured = self.end(calling)?;
        measured.cpu_ns = child::own_cpu_ns() + self.server.cpu_ns()? - cpu_before_ns;
        Ok(measured)
    }

    /// Has `callers` tasks call until [`end`](Pair::end).
    pub(super) fn begin(&self, callers: usize, work: Work) -> Calling {
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let tasks = (0..callers)
            .map(|number| self.runtime.spawn(self.load.caller(number, work, Arc::clone(&stop))))
            .collect();
        Calling { stop, start, tasks }
    }

    /// Ends the calls, and says what they were.
    ///
    /// # Errors
    /// When one of them failed, or none was answered.
    pub(super) fn end(&self, calling: Calling) -> Result<Measured> {
        let Calling { stop, start, tasks } = calling;
        stop.store(true, Ordering::Relaxed);
        let mut measured =
            Measured { calls: 0, elapsed: Duration::ZERO, cpu_ns: 0, latencies_ns: Vec::new() };
        for task in tasks {
            let tally = self.runtime.block_on(task).context("a caller ended")??;
            measured.calls += tally.calls;
            measured.latencies_ns.extend(tally.latencies_ns);
        }
        measured.elapsed = start.elapsed();
        measured.latencies_ns.sort_unstable();
        ensure!(measured.calls > 0, "no call was answered within {:?}", measured.elapsed);
        Ok(measured)
    }
}

/// Callers at work.
pub(super) struct Calling {
    stop: Arc<AtomicBool>,
    start: Instant,
    tasks: Vec<tokio::task::JoinHandle<Result<Tally>>>,
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
