//! A real etcd on this machine, as long as its value lives.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use skybox_cloud::store::{Etcd, EtcdConfig, StoreError};

/// What all keys begin with.
const PREFIX: &str = "/skybox/bench/";
/// The ports of its members begin here, ten apart.
const CLIENTS: usize = 2379;
const PEERS: usize = 2380;
/// The longest until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A real etcd of some members on this machine, in a directory of its own.
pub(super) struct Cluster {
    directory: PathBuf,
    clients: Vec<String>,
    children: Mutex<Vec<Child>>,
}

impl Cluster {
    pub(super) fn start(count: usize) -> Result<Cluster> {
        let pid = std::process::id();
        let directory = std::env::temp_dir().join(format!("skybox-bench-etcd-{pid}"));
        // All of 127.0.0.0/8 is this machine, and nobody else takes ports of this address.
        let host = format!("127.192.{}.{}", pid >> 8 & 0xff, pid & 0xff);
        let url = |port: usize, n: usize| format!("http://{host}:{}", port + 10 * n);
        let all: Vec<_> = (0..count).map(|n| format!("m{n}={}", url(PEERS, n))).collect();
        let all = all.join(",");
        let mut cluster = Cluster { directory, clients: Vec::new(), children: Mutex::default() };
        for n in 0..count {
            let (name, client, peer) = (format!("m{n}"), url(CLIENTS, n), url(PEERS, n));
            let child = Command::new("etcd")
                .args(["--name", &name, "--data-dir"])
                .arg(cluster.directory.join(n.to_string()))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
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
    pub(super) fn all_run(&self) -> Result<()> {
        for child in self.children().iter_mut() {
            if let Some(status) = child.try_wait()? {
                bail!("a member of etcd has ended with {status}");
            }
        }
        Ok(())
    }

    pub(super) async fn connect(&self) -> Result<Etcd> {
        let config = EtcdConfig {
            members: self.clients.clone(),
            prefix: PREFIX.to_owned(),
            wait: Duration::from_secs(10),
            ..EtcdConfig::default()
        };
        let began = Instant::now();
        loop {
            match Etcd::connect(config.clone()).await {
                Err(StoreError::Unreachable { .. }) if began.elapsed() < PATIENCE => {}
                connected => return Ok(connected?),
            }
        }
    }

    /// Bytes of the database of one of them, with the history that it has not forgotten.
    pub(super) async fn database(&self) -> Result<f64> {
        let mut client = etcd_client::Client::connect(&self.clients, None).await?;
        Ok(client.status().await?.db_size() as f64)
    }

    /// Seconds of a processor that all of them have used together.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
        let mut ticks = 0;
        for child in self.children().iter() {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
            // The name before may have blanks in it. After it come eleven fields, then user and system time.
            let fields = stat.rsplit_once(')').context("it names the program")?.1.split_whitespace();
            for field in fields.skip(11).take(2) {
                ticks += field.parse::<u64>()?;
            }
        }
        Ok(ticks as f64 / ticks_per_s)
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
