//! A real etcd of several members.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::host::Host;
use crate::hosts::Hosts;
use crate::server::{Server, WAIT};

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

/// How long a member may take to answer a question that it need not ask others about.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// How often members are asked who leads.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// An etcd whose members run in hosts, one each. A member is meant by the number of its host. It ends when this is
/// dropped, or its hosts are.
///
/// Its times are short, so that tests need not wait: heartbeats of 50 ms, elections after 500 ms.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    host: Host,
    data: PathBuf,
    arguments: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    server: Server,
    is_paused: bool,
}

/// What a member says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Status {
    id: u64,
    /// 0 if it knows none.
    leader: u64,
    term: u64,
}

impl EtcdCluster {
    /// Starts a member in each of these hosts, and returns when they all serve.
    ///
    /// # Errors
    ///
    /// If a member does not come up within a minute: with the end of its log.
    pub fn start(hosts: &Hosts, on: impl IntoIterator<Item = usize>) -> Result<EtcdCluster> {
        let on: Vec<usize> = on.into_iter().collect();
        hosts.check(&on)?;
        let on: Vec<Host> = on.into_iter().map(|host| hosts.host(host).clone()).collect();
        ensure!(!on.is_empty(), "an etcd has at least one member");
        let peers: Vec<_> =
            on.iter().map(|host| format!("{}=http://{}:{PEER_PORT}", host.name(), host.address())).collect();
        let peers = peers.join(",");
        let members = on.into_iter().map(|host| Member::new(host, &peers)).collect();
        let cluster = EtcdCluster { members };
        for member in &cluster.members {
            member.start()?;
        }
        for member in &cluster.members {
            member.serves()?;
        }
        Ok(cluster)
    }

    /// All members, as `SKYBOX_STORE` takes them: `etcd://10.213.0.100:2379,10.213.0.101:2379`.
    pub fn endpoints(&self) -> String {
        let members: Vec<_> = self.members.iter().map(|member| member.client().to_string()).collect();
        format!("etcd://{}", members.join(","))
    }

    /// Where each member serves, as other clients take it: `http://10.213.0.100:2379`.
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://{}", member.client())).collect()
    }

    /// The hosts of the members.
    pub fn hosts(&self) -> impl Iterator<Item = usize> + '_ {
        self.members.iter().map(|member| member.host.index())
    }

    /// The member that leads, if more than half of all agree about it at the moment.
    pub fn leader(&self) -> Option<usize> {
        let statuses: Vec<_> = self
            .members
            .iter()
            .filter_map(|member| Some((member.host.index(), member.status().ok()?)))
            .collect();
        let (host, leader) = statuses
            .iter()
            .filter(|(_, status)| status.leader == status.id)
            .max_by_key(|(_, status)| status.term)?;
        let agree =
            statuses.iter().filter(|(_, other)| (other.leader, other.term) == (leader.id, leader.term));
        (agree.count() * 2 > self.members.len()).then_some(*host)
    }

    /// Waits until a member leads.
    ///
    /// # Errors
    ///
    /// After a minute without.
    pub fn wait_for_leader(&self) -> Result<usize> {
        self.wait_for_other_leader(None)
    }

    /// Waits until a member leads that is not this one.
    ///
    /// # Errors
    ///
    /// After a minute without.
    pub fn wait_for_other_leader(&self, than: Option<usize>) -> Result<usize> {
        let until = Instant::now() + WAIT;
        loop {
            match self.leader() {
                Some(leader) if Some(leader) != than => return Ok(leader),
                last if Instant::now() > until => {
                    let said: Vec<_> = self.members.iter().map(Member::status).collect();
                    bail!("no other member leads after {WAIT:?}: {last:?} does, and members say {said:?}")
                }
                _ => std::thread::sleep(ASK_AGAIN),
            }
        }
    }

    /// Waits until a member answers reads that a majority has to agree to.
    ///
    /// # Errors
    ///
    /// After a minute, or when it ends: with the end of its log.
    pub fn wait_until_serving(&self, member: usize) -> Result<()> {
        self.member(member)?.serves()
    }

    /// Ends a member with SIGKILL; what it has written stays.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn kill(&self, member: usize) -> Result<()> {
        self.member(member)?.end(Signal::KILL)
    }

    /// Ends a member as an operator does, with SIGTERM.
    ///
    /// # Errors
    ///
    /// If it does not run, or takes longer than a minute: then it is killed.
    pub fn stop(&self, member: usize) -> Result<()> {
        self.member(member)?.end(Signal::TERM)
    }

    /// Starts a member that was ended, with what it had written. It serves a while later
    /// ([`wait_until_serving`](Self::wait_until_serving)).
    ///
    /// # Errors
    ///
    /// If it runs.
    pub fn start_again(&self, member: usize) -> Result<()> {
        self.member(member)?.start()
    }

    /// Holds a member with SIGSTOP: its connections stay open, and it says nothing.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn pause(&self, member: usize) -> Result<()> {
        self.member(member)?.pause(true)
    }

    /// Lets a held member go on.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn resume(&self, member: usize) -> Result<()> {
        self.member(member)?.pause(false)
    }

    /// The process of a member.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn pid(&self, member: usize) -> Result<u32> {
        self.member(member)?.state().server.pid()
    }

    fn member(&self, host: usize) -> Result<&Member> {
        let member = self.members.iter().find(|member| member.host.index() == host);
        member.with_context(|| format!("no member of this etcd runs in host {host}"))
    }
}

impl Member {
    fn new(host: Host, peers: &str) -> Member {
        let url = |port: u16| format!("http://{}:{port}", host.address());
        let data = host.directory().join("etcd");
        let name = format!("etcd of {}", host.name());
        let server = Server::new(name, host.directory().join("etcd.log"));
        let mut arguments = vec!["--name".to_owned(), host.name()];
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("--listen-client-urls", url(CLIENT_PORT));
        add("--advertise-client-urls", url(CLIENT_PORT));
        add("--listen-peer-urls", url(PEER_PORT));
        add("--initial-advertise-peer-urls", url(PEER_PORT));
        add("--initial-cluster", peers.to_owned());
        add("--heartbeat-interval", "50".to_owned());
        add("--election-timeout", "500".to_owned());
        add("--log-level", "warn".to_owned());
        arguments.push("--pre-vote".to_owned());
        Member { host, data, arguments, state: Mutex::new(State { server, is_paused: false }) }
    }

    fn client(&self) -> SocketAddr {
        (self.host.address(), CLIENT_PORT).into()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<()> {
        let mut command = self.host.command("etcd");
        command.arg("--data-dir").arg(&self.data).args(&self.arguments);
        self.state().server.start(&mut command).context("etcd is in Debian's package etcd-server")
    }

    fn end(&self, signal: Signal) -> Result<()> {
        let mut state = self.state();
        if std::mem::take(&mut state.is_paused) {
            // Held, it would take no signal but one.
            state.server.signal(Signal::CONT)?;
        }
        state.server.end(signal)
    }

    fn pause(&self, is_paused: bool) -> Result<()> {
        let mut state = self.state();
        state.server.signal(if is_paused { Signal::STOP } else { Signal::CONT })?;
        state.is_paused = is_paused;
        Ok(())
    }

    fn serves(&self) -> Result<()> {
        let client = self.client();
        let mut state = self.state();
        state.server.wait_until("healthy", || {
            let answer = ask(client, "GET", "/health", "")?;
            Ok((answer["health"] == "true").then_some(()))
        })
    }

    fn status(&self) -> Result<Status> {
        let answers = {
            let state = self.state();
            state.server.is_started() && !state.is_paused
        };
        ensure!(answers, "{} does not run", self.host.name());
        let answer = ask(self.client(), "POST", "/v3/maintenance/status", "{}")?;
        // Numbers of 64 bits are texts in the JSON of protocol buffers, and 0 is left out.
        let number = |value: &Value| match value {
            Value::Null => Ok(0),
            value => value.as_str().and_then(|text| text.parse().ok()).context("a number is none"),
        };
        Ok(Status {
            id: number(&answer["header"]["member_id"])?,
            leader: number(&answer["leader"])?,
            term: number(&answer["raftTerm"])?,
        })
    }
}

/// Asks a member over HTTP, from the machine: no cut is in the way.
fn ask(member: SocketAddr, method: &str, path: &str, body: &str) -> Result<Value> {
    let mut stream = TcpStream::connect_timeout(&member, ANSWER_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(ANSWER_WAIT))?;
    // To HTTP/1.0 nobody answers in chunks.
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {member}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    serde_json::from_str(body).with_context(|| format!("the answer is no JSON: {body}"))
}
