//! What a store has to do for many nodes: `skybox-bench store`.
//!
//! So many members, in one process, use a real etcd as nodes do: each has a connection of its own, a lease that it renews
//! four times within its time, a record on that lease, and a watch of what is assigned to it. One of them watches all
//! members, as the leader does; with `--all-watch-nodes` each of them does, as nodes do to know where the others are. What
//! is measured:
//!
//! - how fast members join, and how large the database is with them;
//! - how long a renewal takes while nothing else happens, what that costs etcd, and how many renewals it takes at most;
//! - what the database grows by while nothing changes: renewals are not written, so it should be nothing;
//! - how many events one change of one member's assignment causes, over all watches: it should be one;
//! - how many one change of one member's record causes, how long it takes until the last one has seen it, and what it costs;
//! - how long it takes until the leader has seen all those end that stopped renewing in the same moment.

mod cluster;
mod member;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use skybox_cloud::records::{ASSIGN, NODE, Node, of_life, text};
use skybox_cloud::store::{Change, Etcd, Op, Store, StoreError, Txn};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::child;
use crate::figures::Figures;
use cluster::Cluster;
use member::{Counts, Member, join, life, record, renew};

const NAME: &str = "skybox";
/// Members that join at the same time.
const JOINING_MAX: usize = 64;
/// Changes of assignments that are counted.
const CHANGES: usize = 200;
/// Changes of members' records.
const RECORDS: usize = 20;
/// Renewals that are under way at the same time when it is measured how many etcd takes.
const RENEWING: usize = 64;
/// For how long.
const RENEWING_FOR: Duration = Duration::from_secs(10);
/// The share of members that end at once.
const DYING: f64 = 0.3;
/// The longest until all have been told of something.
const PATIENCE: Duration = Duration::from_secs(120);

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
    /// Every member watches all members, not one of them alone.
    #[arg(long)]
    all_watch_nodes: bool,
}

/// Measures and prints.
///
/// # Errors
/// When etcd does not start, or a member cannot join.
pub(crate) fn run(options: &Options) -> Result<()> {
    child::runtime()?.block_on(measure(options))?.print("store", options.json)
}

/// What is measured on.
struct Run {
    cluster: Arc<Cluster>,
    leader: Etcd,
    counts: Arc<Counts>,
    members: Vec<Member>,
    figures: Figures,
    /// How many are told of a change of a member.
    watching: usize,
}

async fn measure(options: &Options) -> Result<Figures> {
    let cluster = Arc::new(Cluster::start(options.etcds)?);
    let leader = cluster.connect().await?;
    cluster.all_run()?;
    let watching = if options.all_watch_nodes { options.members } else { 0 };
    let (counts, members, figures) = Default::default();
    let mut run = Run { cluster, leader, counts, members, figures, watching };
    eprintln!("{} members join", options.members);
    run.join(options).await?;
    eprintln!("nothing happens");
    run.steady(options.steady_s).await?;
    run.none_is_lost().await?;
    eprintln!("as many renewals as it takes");
    run.renew_without_end().await?;
    run.none_is_lost().await?;
    eprintln!("{CHANGES} changes of assignments");
    run.assign().await?;
    if options.all_watch_nodes {
        eprintln!("{RECORDS} changes of members");
        run.change_records().await?;
    }
    run.many_end().await?;
    run.add("renewals_failed", "", run.counts.failed.load(Ordering::Relaxed) as f64);
    run.add("database_mib", "MiB", run.cluster.database().await? / f64::from(1 << 20));
    Ok(run.figures)
}

impl Run {
    fn add(&mut self, metric: &str, unit: &'static str, value: f64) {
        self.figures.add(NAME, metric.to_owned(), unit, value);
    }

    async fn join(&mut self, options: &Options) -> Result<()> {
        let (began, before) = (Instant::now(), self.cluster.database().await?);
        let room = Arc::new(Semaphore::new(JOINING_MAX));
        let mut joining = JoinSet::new();
        let watches_all = options.all_watch_nodes;
        for number in 0..options.members {
            let (cluster, counts, room) = (self.cluster.clone(), self.counts.clone(), room.clone());
            joining.spawn(async move {
                let _place = room.acquire().await?;
                anyhow::Ok((number, join(cluster.connect().await?, number, watches_all, counts).await?))
            });
        }
        let mut joined = Vec::new();
        while let Some(member) = joining.join_next().await {
            joined.push(member??);
        }
        // By their numbers, as they name them.
        joined.sort_by_key(|(number, _)| *number);
        self.members = joined.into_iter().map(|(_, member)| member).collect();
        self.add("joins_per_s", "1/s", options.members as f64 / began.elapsed().as_secs_f64());
        let listed = self.leader.list(NODE).await?;
        ensure!(listed.entries.len() == options.members, "{} have joined", listed.entries.len());
        let bytes: usize = listed.entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
        self.add("record_bytes", "B", bytes as f64 / options.members as f64);
        let grown = self.cluster.database().await? - before;
        self.add("database_per_member_bytes", "B", grown / options.members as f64);
        let each = if watches_all { 2 } else { 1 };
        self.add("watches", "", (each * options.members) as f64);
        Ok(())
    }

    async fn steady(&mut self, seconds: u64) -> Result<()> {
        let (database, cpu) = (self.cluster.database().await?, self.cluster.cpu_s()?);
        drop(self.counts.renewals());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let took = self.counts.renewals();
        self.add("renewals_per_s", "1/s", took.len() as f64 / seconds as f64);
        self.add_renewals("renewal", &took)?;
        self.add("renewing_etcd_cores", "", (self.cluster.cpu_s()? - cpu) / seconds as f64);
        self.add("idle_growth_kib", "KiB", (self.cluster.database().await? - database) / 1024.0);
        Ok(())
    }

    /// Each that is answered is followed by the next.
    async fn renew_without_end(&mut self) -> Result<()> {
        // What members ask for by themselves would come on top of it.
        self.counts.renewed_by_others.store(true, Ordering::Relaxed);
        drop(self.counts.renewals());
        let until = Instant::now() + RENEWING_FOR;
        let cpu = (self.cluster.cpu_s()?, child::own_cpu_ns());
        let mut renewing = JoinSet::new();
        for first in 0..RENEWING.min(self.members.len()) {
            let some = self.members.iter().skip(first).step_by(RENEWING);
            let some: Vec<_> = some.map(|member| (member.store.clone(), member.lease)).collect();
            let counts = self.counts.clone();
            renewing.spawn(async move {
                for (store, lease) in some.iter().cycle() {
                    if Instant::now() >= until {
                        break;
                    }
                    renew(store, *lease, &counts).await;
                }
            });
        }
        while let Some(ended) = renewing.join_next().await {
            ended?;
        }
        self.counts.renewed_by_others.store(false, Ordering::Relaxed);
        let took = self.counts.renewals();
        let seconds = RENEWING_FOR.as_secs_f64();
        self.add("renewals_per_s_most", "1/s", took.len() as f64 / seconds);
        self.add_renewals("renewal_at_most", &took)?;
        self.add("renewing_at_most_etcd_cores", "", (self.cluster.cpu_s()? - cpu.0) / seconds);
        let own = (child::own_cpu_ns() - cpu.1) as f64 / 1e9;
        self.add("renewing_at_most_own_cores", "", own / seconds);
        Ok(())
    }

    /// Whoever is lost takes part in nothing that is measured afterwards.
    async fn none_is_lost(&self) -> Result<()> {
        let there = self.leader.list(NODE).await?.entries.len();
        let failed = self.counts.failed.load(Ordering::Relaxed);
        ensure!(
            there == self.members.len(),
            "of {} members {there} are left, and {failed} renewals have failed: this machine cannot bear so many",
            self.members.len()
        );
        Ok(())
    }

    async fn assign(&mut self) -> Result<()> {
        self.counts.assigned.store(0, Ordering::Relaxed);
        for n in 0..CHANGES {
            let key = of_life(ASSIGN, life(n * 7 % self.members.len()));
            self.leader.commit(Txn::of([Op::put(key, n.to_string())])).await?;
        }
        told(&self.counts.assigned, CHANGES as u64).await?;
        // More than are due would come in this time.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let events = self.counts.assigned.load(Ordering::Relaxed) as f64;
        self.add("events_per_assignment", "", events / CHANGES as f64);
        Ok(())
    }

    /// One after the other: each once all have seen the one before.
    async fn change_records(&mut self) -> Result<()> {
        // All that came when members joined has been told.
        let all = (self.members.len() * self.members.len()) as u64;
        let mut quiet = self.counts.nodes.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.counts.nodes.load(Ordering::Relaxed);
            if now == std::mem::replace(&mut quiet, now) || now >= all {
                break;
            }
        }
        self.counts.nodes.store(0, Ordering::Relaxed);
        let (etcd_s, own_ns) = (self.cluster.cpu_s()?, child::own_cpu_ns());
        let began = Instant::now();
        let mut slowest = Duration::ZERO;
        for n in 0..RECORDS {
            let at = n * 7 % self.members.len();
            let node = Node { draining: true, ..record(at) };
            let member = &self.members[at];
            let sent = Instant::now();
            let put = Op::put_on(member.lease, of_life(NODE, life(at)), text(&node));
            member.store.commit(Txn::of([put])).await?;
            told(&self.counts.nodes, ((n + 1) * self.watching) as u64).await?;
            slowest = slowest.max(sent.elapsed());
        }
        let each = RECORDS as f64;
        let events = self.counts.nodes.load(Ordering::Relaxed) as f64;
        self.add("events_per_record", "", events / each);
        self.add("record_seen_by_all_ms", "ms", began.elapsed().as_secs_f64() * 1e3 / each);
        self.add("record_seen_by_all_ms_slowest", "ms", slowest.as_secs_f64() * 1e3);
        // With the renewals of that time.
        self.add("record_etcd_cpu_ms", "ms", (self.cluster.cpu_s()? - etcd_s) * 1e3 / each);
        self.add("record_own_cpu_ms", "ms", (child::own_cpu_ns() - own_ns) as f64 / 1e6 / each);
        Ok(())
    }

    async fn many_end(&mut self) -> Result<()> {
        let count = self.members.len();
        let dying = (count as f64 * DYING) as usize;
        eprintln!("{dying} members end at once");
        drop(self.counts.renewals());
        let (seen, mut ends) = mpsc::channel(dying.max(1));
        let mut watch = self.leader.watch(NODE, self.leader.list(NODE).await?.revision.next()).await?;
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
        drop(self.members.drain(..dying));
        let mut last = began;
        let counting = async {
            for _ in 0..dying {
                let Some(at) = ends.recv().await else { bail!("the watch broke off") };
                last = at;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, counting).await.context("not all were seen to end")??;
        watching.abort();
        self.add("last_end_seen_s", "s", (last - began).as_secs_f64());
        let took = self.counts.renewals();
        self.add_renewals("renewal_while_many_end", &took)?;
        let living = self.leader.list(NODE).await?.entries.len();
        ensure!(living == count - dying, "{living} live: a lease was lost");
        Ok(())
    }

    fn add_renewals(&mut self, what: &str, took: &[u32]) -> Result<()> {
        ensure!(!took.is_empty(), "nobody has renewed a lease");
        let mut took = took.to_vec();
        took.sort_unstable();
        let at = |share: f64| f64::from(took[((took.len() - 1) as f64 * share) as usize]) / 1_000.0;
        for (quantile, share) in [("p50", 0.5), ("p99", 0.99)] {
            self.add(&format!("{what}_{quantile}_ms"), "ms", at(share));
        }
        Ok(())
    }
}

/// Waits until so many events have come.
async fn told(events: &AtomicU64, count: u64) -> Result<()> {
    let all = async {
        while events.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.context("a change was not told to all")
}
