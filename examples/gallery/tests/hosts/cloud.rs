//! The gallery on five hosts of their own: one program, a node on each, that agree through an etcd on three of them and
//! speak mutual TLS. The command (`cargo xtask demo --hosts`) and its test share this.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use skybox::cloud::certs::Authority;
use skybox_hosts::{EtcdCluster, Hosts};
use skybox_node::Right;
use skybox_node::tls::Identity;

/// The program, in certificates and in etcd.
pub(crate) const PROGRAM: &str = "gallery";
/// How many hosts; the first of them have a member of etcd.
pub(crate) const HOSTS: usize = 5;
const STORES: usize = 3;
/// Where each host has what.
const PAGE: u16 = 8080;
const NODES: u16 = 7600;
const ADMIN: u16 = 9600;
/// How long a node counts as alive without a word from it.
const LEASE: &str = "3s";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest wait for anything. Generous: it ends only what would fail anyway.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Answers that each visitor has to get before and after a host is lost.
const VISITS: u64 = 20;

/// A gallery on hosts. All of it is gone when this is dropped.
pub(crate) struct Gallery {
    nodes: Vec<Child>,
    etcd: EtcdCluster,
    hosts: Hosts,
    directory: PathBuf,
}

/// What was answered.
#[derive(Debug)]
struct Page {
    /// The node that has answered.
    node: String,
    /// The node that has made the thumbnail, if it is one.
    made_by: Option<String>,
}

impl Gallery {
    /// Starts `program` on each of the hosts, and waits until all pages are there.
    ///
    /// # Errors
    /// When a program is missing, or a node ends; then its own words are on stderr.
    pub(crate) fn start(hosts: Hosts, program: &Path, pictures: &Path, load_per_s: u32) -> Result<Gallery> {
        let etcd = EtcdCluster::start(&hosts, 0..STORES)?;
        etcd.wait_for_leader()?;
        let directory = std::env::temp_dir().join(format!("skybox-gallery-{}", std::process::id()));
        let authority = Authority::make(PROGRAM, DAY)?;
        authority.save(&directory)?;
        let operator = Identity::Operator { right: Right::Admin, name: "ada".to_owned() };
        authority.issue(&operator, DAY)?.write(&directory)?;
        let mut gallery = Gallery { nodes: Vec::new(), etcd, hosts, directory };
        for host in &gallery.hosts {
            let (name, address) = (host.name(), host.address());
            let files = authority.issue(&Identity::Node(name.clone()), DAY)?.write(&gallery.directory)?;
            let node = host
                .command(program)
                .args(["--load", &load_per_s.to_string(), "--pictures"])
                .arg(pictures)
                // Not where a `skybox.toml` is: all that a node has to know are these variables.
                .current_dir(&gallery.directory)
                .env("SKYBOX_PROGRAM", PROGRAM)
                .env("SKYBOX_NODE__NAME", &name)
                .env("SKYBOX_NODE__LISTEN", format!("0.0.0.0:{NODES}"))
                .env("SKYBOX_NODE__ADVERTISE", format!("{address}:{NODES}"))
                .env("SKYBOX_STORE", gallery.etcd.endpoints())
                .env("SKYBOX_STORE__LEASE", LEASE)
                .env("SKYBOX_TLS__AUTHORITY", &files.authority)
                .env("SKYBOX_TLS__CERTIFICATE", &files.certificate)
                .env("SKYBOX_TLS__KEY", &files.key)
                .env("SKYBOX_LISTENERS__HTTP__ADDRESS", format!("{address}:{PAGE}"))
                .env("SKYBOX_ADMIN__ADDRESS", format!("{address}:{ADMIN}"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .with_context(|| program.display().to_string())?;
            gallery.nodes.push(node);
        }
        gallery.are_there()?;
        Ok(gallery)
    }

    fn are_there(&mut self) -> Result<()> {
        for at in 0..HOSTS {
            let began = Instant::now();
            while let Err(error) = self.get(at, at, "/page-probe") {
                if let Some(status) = self.nodes[at].try_wait()? {
                    bail!("the node of host {at} has ended with {status}");
                }
                ensure!(began.elapsed() < PATIENCE, "host {at} has no page after {PATIENCE:?}: {error:#}");
                // Sleeps because there is nothing to wait for but another answer.
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }

    /// Where the page of a host is.
    pub(crate) fn page_of(&self, host: usize) -> SocketAddr {
        (self.hosts.host(host).address(), PAGE).into()
    }

    /// Asks one host for a page from another one, over the network that is between them.
    fn get(&self, from: usize, of: usize, path: &str) -> Result<Page> {
        let url = format!("http://{}{path}", self.page_of(of));
        self.hosts.host(from).inside(|| fetch(&url))?
    }

    /// Each host asks each of them for its page and a thumbnail; how many were answered.
    ///
    /// # Errors
    /// When one is not, or another node has answered than was asked.
    pub(crate) fn visit_all(&self) -> Result<usize> {
        let mut answered = 0;
        for from in 0..HOSTS {
            for of in 0..HOSTS {
                let name = self.hosts.host(of).name();
                for path in ["/".to_owned(), format!("/thumb/{}?w=64", (from * HOSTS + of) % 24)] {
                    let page =
                        self.get(from, of, &path).with_context(|| format!("{path}, {from} of {of}"))?;
                    ensure!(page.node == name, "{name} was asked, and {} has answered", page.node);
                    answered += 1;
                }
            }
        }
        Ok(answered)
    }

    /// Who makes the thumbnails.
    ///
    /// # Errors
    /// When none arrives.
    pub(crate) fn maker(&self, asked: usize) -> Result<usize> {
        let made_by = self.get(asked, asked, "/thumb/0?w=64")?.made_by.context("nobody has signed it")?;
        self.hosts
            .iter()
            .position(|host| host.name() == made_by)
            .with_context(|| format!("who is {made_by}?"))
    }

    /// A host is lost: its node is killed, its member of etcd as well, and nothing reaches it any more.
    ///
    /// # Errors
    /// When there is no such host.
    pub(crate) fn kill_host(&mut self, host: usize) -> Result<()> {
        self.hosts.cut(host)?;
        self.nodes.get_mut(host).context("there is no such host")?.kill()?;
        if host < STORES {
            self.etcd.kill(host)?;
        }
        Ok(())
    }

    /// Visitors on all hosts ask for pages and thumbnails without end while the host that makes the thumbnails is lost.
    ///
    /// # Errors
    /// When a visitor of a host that lives is not answered, or only after a minute.
    pub(crate) fn lose_one(&mut self) -> Result<Loss> {
        let lost = self.maker(0)?;
        let visitors: Vec<_> = (0..HOSTS).filter(|host| *host != lost).map(Visitor::of).collect();
        let over = AtomicBool::new(false);
        let killed = Instant::now();
        let url = |host: usize| format!("http://{}", self.page_of(host));
        let urls: Vec<_> = (0..HOSTS).map(url).collect();
        let hosts: Vec<_> = self.hosts.iter().cloned().collect();
        let replaced = std::thread::scope(|scope| {
            // Also where a step fails.
            let _over = OnDrop(&over);
            for visitor in &visitors {
                let (host, url, over) = (&hosts[visitor.host], &urls[visitor.host], &over);
                scope.spawn(move || host.inside(|| visitor.ask_until(over, url)));
            }
            all(&visitors, |seen| seen.pages >= VISITS && seen.thumbnails >= VISITS)?;
            self.kill_host(lost)?;
            let killed_at = Instant::now();
            let before: Vec<_> = visitors.iter().map(|visitor| visitor.seen().clone()).collect();
            let elsewhere = hosts[lost].name();
            all(&visitors, |seen| seen.made_by.as_ref().is_some_and(|maker| *maker != elsewhere))?;
            let replaced = killed_at.elapsed();
            for (visitor, before) in visitors.iter().zip(before) {
                visitor.waits(|seen| {
                    seen.pages >= before.pages + VISITS && seen.thumbnails >= before.thumbnails + VISITS
                })?;
            }
            anyhow::Ok(replaced)
        })?;
        let seen = visitors.iter().map(|visitor| visitor.seen().clone()).collect();
        let now = self.maker((lost + 1) % HOSTS)?;
        Ok(Loss { lost, now, replaced, took: killed.elapsed(), seen })
    }

    /// What to type to look at it.
    pub(crate) fn told(&self) -> String {
        let mut lines = vec!["the gallery runs on five hosts; each has a page of its own:".to_owned()];
        for host in &self.hosts {
            lines.push(format!("  {}  http://{}/", host.name(), self.page_of(host.index())));
        }
        let at = |host: usize| (self.hosts.host(host).address(), NODES);
        let (node, port): (Ipv4Addr, u16) = at(HOSTS - 1);
        lines.push("from a host, or from here:".to_owned());
        let namespace = self.hosts.host(3).namespace();
        lines.push(format!(
            "  ip netns exec {namespace} curl -sD- -o/dev/null http://{}/thumb/7",
            self.page_of(0)
        ));
        lines.push(format!("  export SKYBOX_IDENTITY={}", self.directory.join("operator-ada").display()));
        for command in ["ps", "graph", "explain thumbnail"] {
            lines.push(format!("  cargo run -qp skybox-cli -- {command} --at {node}:{port}"));
        }
        lines.push("`kill 3` loses a host; Ctrl-C ends all.".to_owned());
        lines.join("\n")
    }
}

impl Drop for Gallery {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended already.
            let _ = node.kill();
            let _ = node.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Asks for one page.
fn fetch(url: &str) -> Result<Page> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    let mut answer = agent.get(url).call()?;
    let header = |name: &str| {
        let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
        value.and_then(|value| value.split(' ').next()).map(str::to_owned)
    };
    let (node, made_by) = (header("x-node").context("nobody has signed the answer")?, header("x-made-by"));
    ensure!(!answer.body_mut().read_to_vec()?.is_empty(), "the page is empty");
    Ok(Page { node, made_by })
}

/// Somebody on a host who looks at its page.
struct Visitor {
    host: usize,
    seen: Mutex<Seen>,
}

/// What a visitor has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Pages that were answered.
    pub(crate) pages: u64,
    /// Thumbnails.
    pub(crate) thumbnails: u64,
    /// What was not answered, and why.
    pub(crate) failed: Vec<String>,
    /// The longest that an answer took.
    pub(crate) longest: Duration,
    /// Who made the last thumbnail.
    made_by: Option<String>,
}

impl Visitor {
    fn of(host: usize) -> Visitor {
        Visitor { host, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_until(&self, over: &AtomicBool, url: &str) {
        for n in (0..24).cycle() {
            for path in ["/page-probe".to_owned(), format!("/thumb/{n}?w=64")] {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let began = Instant::now();
                let answered = fetch(&format!("{url}{path}"));
                let mut seen = self.seen();
                seen.longest = seen.longest.max(began.elapsed());
                match answered {
                    Ok(Page { made_by: Some(maker), .. }) => {
                        seen.thumbnails += 1;
                        seen.made_by = Some(maker);
                    }
                    Ok(_) => seen.pages += 1,
                    Err(error) => seen.failed.push(format!("{path} of host {}: {error:#}", self.host)),
                }
            }
            // Sleeps because that is how often it asks.
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn waits(&self, is_so: impl Fn(&Seen) -> bool) -> Result<()> {
        let began = Instant::now();
        while !is_so(&self.seen()) {
            ensure!(
                began.elapsed() < PATIENCE,
                "after {PATIENCE:?} host {} has {:?}",
                self.host,
                self.seen()
            );
            // Sleeps because there is nothing to wait for but further answers.
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

fn all(visitors: &[Visitor], is_so: impl Fn(&Seen) -> bool) -> Result<()> {
    visitors.iter().try_for_each(|visitor| visitor.waits(&is_so))
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was seen when a host was lost.
#[derive(Debug)]
pub(crate) struct Loss {
    /// The host that was lost, and the one that makes thumbnails in its place.
    pub(crate) lost: usize,
    pub(crate) now: usize,
    /// How long it took until each visitor had a thumbnail of another one.
    pub(crate) replaced: Duration,
    /// How long all of it took.
    pub(crate) took: Duration,
    /// What the visitors of the other hosts have seen.
    pub(crate) seen: Vec<Seen>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss { lost, now, replaced, took, seen } = self;
        let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
        let longest = seen.iter().map(|seen| seen.longest).max().unwrap_or_default();
        write!(
            f,
            "host {lost} was lost, which made the thumbnails; {:.1} s later host {now} makes them\n\
             in {:.1} s the visitors of the others were answered {} pages and {} thumbnails, the slowest after {:.1} s; \
             {} failed",
            replaced.as_secs_f64(),
            took.as_secs_f64(),
            sum(|seen| seen.pages),
            sum(|seen| seen.thumbnails),
            longest.as_secs_f64(),
            sum(|seen| seen.failed.len() as u64),
        )
    }
}
