//! One real member of an etcd, in a directory of its own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use skybox_cloud::store::{Etcd, EtcdConfig, Revision, StoreError};
use tokio::process::{Child, Command};

pub(crate) struct Member {
    directory: PathBuf,
    pub(crate) client: String,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// A port that nobody has at the moment, and that nobody is given who does not ask for it.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let of_this_process = std::process::id() % 1_500 * 8;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % 8;
        let port = u16::try_from(20_000 + of_this_process).unwrap() + next;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Member {
    pub(crate) async fn start(arguments: &[&str]) -> Member {
        let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let directory = std::env::temp_dir().join(format!("skybox-etcd-{}-{test}", std::process::id()));
        let is_tls = arguments.iter().any(|argument| argument.starts_with("--cert-file"));
        let scheme = if is_tls { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", free_port());
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut member = Member { directory, client, arguments, child: None };
        member.start_again().await;
        member
    }

    /// As it was, with what it had written.
    pub(crate) async fn start_again(&mut self) {
        let peer = format!("http://127.0.0.1:{}", free_port());
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(&self.directory)
            .args(["--listen-client-urls", &self.client, "--advertise-client-urls", &self.client])
            .args(["--listen-peer-urls", &peer])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500", "--pre-vote"])
            .args(["--log-level", "error"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.expect("etcd is there: `apt-get install etcd-server`"));
    }

    pub(crate) fn config(&self) -> EtcdConfig {
        let prefix = "/skybox/store-test/".to_owned();
        EtcdConfig {
            members: vec![self.client.clone()],
            prefix,
            wait: Duration::from_secs(5),
            ..EtcdConfig::default()
        }
    }

    pub(crate) async fn store(&self) -> Etcd {
        self.store_with(self.config()).await
    }

    /// Once it answers.
    pub(crate) async fn store_with(&self, config: EtcdConfig) -> Etcd {
        let connecting = async {
            loop {
                match Etcd::connect(config.clone()).await {
                    Err(StoreError::Unreachable { .. }) => {}
                    connected => return connected.expect("it lets this program in"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), connecting).await.expect("etcd starts")
    }

    /// As an operator.
    pub(crate) async fn operator(&self) -> etcd_client::Client {
        etcd_client::Client::connect([&self.client], None).await.expect("it answers")
    }

    pub(crate) async fn compact(&self, revision: Revision) {
        let revision = i64::try_from(revision.0).unwrap();
        self.operator().await.compact(revision, None).await.expect("it is compacted");
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        let pid = self.child.as_ref().and_then(Child::id).expect("it runs");
        rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap()
    }

    /// With SIGKILL.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it is a child of this process");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.start_kill());
        }
        drop(std::fs::remove_dir_all(&self.directory));
    }
}
