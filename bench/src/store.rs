//! What a store has to do for many nodes: `skybox-bench store`.
//!
//! So many members, in one process, use a real etcd as nodes do: each has a connection of its own, a lease that it renews
//! every third of its time, a key on that lease, and a watch of what is assigned to it. One of them watches all members, as
//! the leader does. What is measured:
//!
//! - how long a renewal takes while nothing else happens, and while many members end at once;
//! - how many events one change of one member's assignment causes, over all watches: it should be one;
//! - what the database grows by while nothing changes: renewals are not written, so it should be nothing;
//! - how long it takes until the leader has seen all those end that stopped renewing in the same moment.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use skybox_cloud::store::{Change, Etcd, EtcdConfig, Op, Store, StoreError, Txn};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::child;
use crate::figures::Figures;

const NAME: &str = "skybox";
const PREFIX: &str = "/skybox/bench/";
/// How long a lease lasts: that of nodes.
const TTL: Duration = Duration::from_secs(6);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(2);
/// Members that join at the same time.
const JOINING_MAX: usize = 64;
/// Changes of assignments that are counted.
const CHANGES: usize = 200;
/// The share of members that end at once.
const DYING: f64 = 0.3;

/// How a store is measured.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print an object for each metric, one a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Members.
    #[arg(long, default_value_t = 2_000)]
    members: usize,
    /// Members of the etcd.
    #[arg(long, default_value_t = 3)]
    etcds: usize,
    /// How many seconds renewals are measured for.
    #[arg(long, default_value_t = 30)]
    steady_s: u64,
}

/// A real etcd of some members on this machine, in a directory of its own.
struct Cluster {
    directory: PathBuf,
    clients: Vec<String>,
    children: Mutex<Vec<Child>>,
}

impl Cluster {
    fn start(count: usize) -> Result<Cluster> {
        let directory = std::env::temp_dir().join(format!("skybox-bench-etcd-{}", std::process::id()));
        let port = || -> Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        let mut peers = Vec::new();
        for n in 0..count {
            peers.push(format!("m{n}=http://127.0.0.1:{}", port()?));
        }
        let all = peers.join(",");
        let mut cluster = Cluster { directory, clients: Vec::new(), children: Mutex::default() };
        for (n, peer) in peers.iter().enumerate() {
            let (name, peer) = peer.split_once('=').context("made above")?;
            let client = format!("http://127.0.0.1:{}", port()?);
            let child = Command::new("etcd")
                .args(["--name", name, "--data-dir"])
                .arg(cluster.directory.join(n.to_string()))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args(["--initial-cluster", &all, "--initial-cluster-state", "new"])
                .args(["--logger", "zap", "--log-level", "error", "--pre-vote"])
                .stdin(Stdio::null())
                .spawn()
                .context("etcd is not there: `apt-get install etcd-server`")?;
            cluster.children().push(child);
            cluster.clients.push(client);
        }
        Ok(cluster)
    }

    fn children(&self) -> MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Two of three answer as well as all: figures of these are others.
    fn all_run(&self) -> Result<()> {
        for child in self.children().iter_mut() {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "a member of etcd has ended with {status}: somebody may have taken its port, try again"
                );
            }
        }
        Ok(())
    }

    fn config(&self) -> EtcdConfig {
        EtcdConfig {
            members: self.clients.clone(),
            prefix: PREFIX.to_owned(),
            wait: Duration::from_secs(10),
            ..EtcdConfig::default()
        }
    }

    async fn connect(&self) -> Result<Etcd> {
        let began = Instant::now();
        loop {
            match Etcd::connect(self.config()).await {
                Err(StoreError::Unreachable { .. }) if began.elapsed() < Duration::from_secs(60) => {}
                connected => return Ok(connected?),
            }
        }
    }

    /// Bytes of the databases, as they are in use.
    async fn database(&self) -> Result<f64> {
        let mut client = etcd_client::Client::connect(&self.clients, None).await?;
        Ok(client.status().await?.db_size() as f64)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children().iter_mut() {
            drop(child.kill());
            drop(child.wait());
        }
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// What all members count.
#[derive(Default)]
struct Counts {
    /// Events that their watches of assignments have brought.
    events: AtomicU64,
    /// Microseconds of each renewal since it was last emptied.
    renewals: Mutex<Vec<u32>>,
    failed: AtomicU64,
}

/// What one member does; dropped, it ends without a word.
type Member = JoinSet<Result<()>>;

async fn join(store: Etcd, number: usize, counts: Arc<Counts>) -> Result<Member> {
    let lease = store.grant(TTL).await?;
    let facts =
        format!(r#"{{"node":"node-{number}","address":"10.0.0.1:7000","cores":4,"memory":8589934592}}"#);
    let joined = store.commit(Txn::of([Op::put_on(lease.id, format!("node/{number}"), facts)])).await?;
    let mut watch = store.watch(&format!("assign/{number}/"), joined.revision.next()).await?;
    let mut tasks = JoinSet::new();
    let counting = counts.clone();
    tasks.spawn(async move {
        loop {
            let told = watch.next().await?.changes.len();
            counting.events.fetch_add(told as u64, Ordering::Relaxed);
        }
    });
    tasks.spawn(async move {
        // Not all in the same moment.
        tokio::time::sleep(RENEW.mul_f64(number as f64 * 0.618 % 1.0)).await;
        let mut beat = tokio::time::interval(RENEW);
        loop {
            beat.tick().await;
            let began = Instant::now();
            match store.renew(lease.id).await {
                Ok(_) => {
                    let took = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                    counts.renewals.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(took);
                }
                Err(_) => drop(counts.failed.fetch_add(1, Ordering::Relaxed)),
            }
        }
    });
    Ok(tasks)
}

/// Measures and prints.
///
/// # Errors
/// When etcd does not start, or a member cannot join.
pub(crate) fn run(options: &Options) -> Result<()> {
    child::runtime()?.block_on(measure(options))?.print("store", options.json)
}

async fn measure(options: &Options) -> Result<Figures> {
    let mut figures = Figures::default();
    let cluster = Arc::new(Cluster::start(options.etcds)?);
    let leader = cluster.connect().await?;
    cluster.all_run()?;
    let counts = Arc::new(Counts::default());

    eprintln!("{} members join", options.members);
    let began = Instant::now();
    let room = Arc::new(Semaphore::new(JOINING_MAX));
    let mut joining = JoinSet::new();
    for number in 0..options.members {
        let (cluster, counts, room) = (cluster.clone(), counts.clone(), room.clone());
        joining.spawn(async move {
            let _place = room.acquire().await?;
            join(cluster.connect().await?, number, counts).await
        });
    }
    let mut members = Vec::new();
    while let Some(joined) = joining.join_next().await {
        members.push(joined??);
    }
    add(&mut figures, "joins_per_s", "1/s", options.members as f64 / began.elapsed().as_secs_f64());
    let listed = leader.list("node/").await?;
    ensure!(listed.entries.len() == options.members, "{} have joined", listed.entries.len());

    eprintln!("nothing happens");
    let before = cluster.database().await?;
    taken(&counts);
    tokio::time::sleep(Duration::from_secs(options.steady_s)).await;
    add_renewals(&mut figures, "renewal", &taken(&counts))?;
    add(&mut figures, "idle_growth_kib", "KiB", (cluster.database().await? - before) / 1024.0);

    eprintln!("{CHANGES} changes");
    counts.events.store(0, Ordering::Relaxed);
    for n in 0..CHANGES {
        let key = format!("assign/{}/plan", n * 7 % options.members);
        leader.commit(Txn::of([Op::put(key, n.to_string())])).await?;
    }
    let told = async {
        while counts.events.load(Ordering::Relaxed) < CHANGES as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // More than are due would come in this time.
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.context("a change was not told")?;
    let events = counts.events.load(Ordering::Relaxed) as f64;
    add(&mut figures, "events_per_change", "", events / CHANGES as f64);

    let dying = (options.members as f64 * DYING) as usize;
    eprintln!("{dying} members end at once");
    taken(&counts);
    let (seen, mut ends) = mpsc::channel(dying.max(1));
    let mut watch = leader.watch("node/", leader.list("node/").await?.revision.next()).await?;
    let watching = tokio::spawn(async move {
        loop {
            let changes: Vec<Change> = watch.next().await?.changes;
            for change in changes {
                if change.entry.is_none() && seen.send(Instant::now()).await.is_err() {
                    return Ok::<_, StoreError>(());
                }
            }
        }
    });
    let began = Instant::now();
    drop(members.drain(..dying));
    let mut last = began;
    let counting = async {
        for _ in 0..dying {
            let Some(at) = ends.recv().await else { bail!("the watch broke off") };
            last = at;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(120), counting).await.context("not all were seen to end")??;
    watching.abort();
    add(&mut figures, "last_end_seen_s", "s", (last - began).as_secs_f64());
    add_renewals(&mut figures, "renewal_while_many_end", &taken(&counts))?;
    let living = leader.list("node/").await?.entries.len();
    ensure!(living == options.members - dying, "{living} live: a lease was lost");
    add(&mut figures, "renewals_failed", "", counts.failed.load(Ordering::Relaxed) as f64);
    add(&mut figures, "database_mib", "MiB", cluster.database().await? / f64::from(1 << 20));
    drop(members);
    Ok(figures)
}

fn add(figures: &mut Figures, metric: &str, unit: &'static str, value: f64) {
    figures.add(NAME, metric.to_owned(), unit, value);
}

fn taken(counts: &Counts) -> Vec<u32> {
    std::mem::take(&mut *counts.renewals.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn add_renewals(figures: &mut Figures, what: &str, took: &[u32]) -> Result<()> {
    ensure!(!took.is_empty(), "nobody has renewed a lease");
    let mut took = took.to_vec();
    took.sort_unstable();
    let at = |share: f64| f64::from(took[((took.len() - 1) as f64 * share) as usize]) / 1_000.0;
    for (quantile, share) in [("p50", 0.5), ("p99", 0.99)] {
        add(figures, &format!("{what}_{quantile}_ms"), "ms", at(share));
    }
    Ok(())
}
