//! A real etcd of three members, at an address of this machine that no other process has.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const MEMBERS: usize = 3;
/// The longest that it may take until they have a leader. Generous: it only ends tests that would fail anyway.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Etcd {
    directory: PathBuf,
    host: String,
    members: Vec<Option<Child>>,
}

impl Etcd {
    /// Starts all members, and waits until they have a leader.
    pub fn start() -> Etcd {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(format!("skybox-cloud-etcd-{pid}-{count}"));
        // All of 127.0.0.0/8 is this machine.
        let host = format!("127.{}.{}.{}", 64 + count % 64, pid >> 8 & 0xff, pid & 0xff);
        let mut etcd = Etcd { directory, host, members: (0..MEMBERS).map(|_| None).collect() };
        (0..MEMBERS).for_each(|member| etcd.begin(member));
        etcd.leader();
        etcd
    }

    fn url(&self, member: usize, port: usize) -> String {
        format!("http://{}:{}", self.host, port + 10 * member)
    }

    /// Starts a member, with what it had written before.
    pub fn begin(&mut self, member: usize) {
        let name = |member: usize| format!("m{member}");
        let cluster: Vec<_> =
            (0..MEMBERS).map(|member| format!("{}={}", name(member), self.url(member, 2380))).collect();
        let (client, peer) = (self.url(member, 2379), self.url(member, 2380));
        let child = Command::new("etcd")
            .args(["--name", &name(member)])
            .arg("--data-dir")
            .arg(self.directory.join(name(member)))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500", "--pre-vote"])
            .args(["--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.members[member] = Some(child.expect("etcd is there: `apt-get install etcd-server`"));
    }

    /// Kills a member, with SIGKILL.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].take() {
            child.kill().expect("it is a child of this process");
            child.wait().expect("it is a child of this process");
        }
    }

    /// The member that leads, as soon as one does and all that run agree.
    pub fn leader(&self) -> usize {
        let until = Instant::now() + PATIENCE;
        loop {
            let running = (0..MEMBERS).filter(|member| self.members[*member].is_some());
            let said: Option<Vec<_>> = running.map(|member| self.status(member)).collect();
            if let Some(said) = said.filter(|said| !said.is_empty()) {
                let leader = &said[0].1;
                let all_agree = said.iter().all(|(_, of, _)| of == leader);
                if let Some((_, _, at)) = said.iter().find(|(id, _, _)| id == leader).filter(|_| all_agree) {
                    return *at;
                }
            }
            assert!(Instant::now() < until, "etcd has no leader after {PATIENCE:?}");
            // Sleeps because there is nothing to wait for but another answer.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its id, that of its leader, and its number; nothing if it does not answer or has no leader.
    fn status(&self, member: usize) -> Option<(String, String, usize)> {
        use std::io::{Read, Write};
        let address = format!("{}:{}", self.host, 2379 + 10 * member);
        let mut stream = std::net::TcpStream::connect(&address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let request = format!(
            "POST /v3/maintenance/status HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        let id = body["header"]["member_id"].as_str()?.to_owned();
        let leader = body["leader"].as_str().filter(|leader| *leader != "0")?.to_owned();
        Some((id, leader, member))
    }

    /// As `SKYBOX_STORE` has it.
    pub fn address(&self) -> String {
        let members: Vec<_> =
            (0..MEMBERS).map(|member| format!("{}:{}", self.host, 2379 + 10 * member)).collect();
        format!("etcd://{}", members.join(","))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..MEMBERS).for_each(|member| self.kill(member));
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
