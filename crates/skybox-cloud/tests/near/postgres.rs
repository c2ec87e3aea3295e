//! A real Postgres, in a directory of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skybox_cloud::near::{Method, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cases::{is_by_kernel, known, pace, prober, resource};

struct Postgres {
    directory: PathBuf,
    address: SocketAddr,
    child: Child,
}

/// The newest that is installed. Debian has it where no search path leads.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    found.retain(|programs| programs.join("initdb").exists());
    found.sort();
    found.pop().expect("Postgres is there: `apt-get install postgresql`")
}

/// It refuses to run as root. In a user namespace the same user has another number, and may use the same files.
fn command(program: &Path) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

impl Postgres {
    async fn start() -> Postgres {
        let programs = programs();
        let directory = std::env::temp_dir().join(format!("skybox-near-postgres-{}", std::process::id()));
        let data = directory.join("data");
        std::fs::create_dir_all(&directory).unwrap();
        let made = command(&programs.join("initdb"))
            .arg("--pgdata")
            .arg(&data)
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = command(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &address.port().to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap();
        let postgres = Postgres { directory, address, child };
        let starting = async {
            while !postgres.log().contains("ready to accept connections") {
                // Sleeps because a file tells nobody that it has grown.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let started = tokio::time::timeout(Duration::from_secs(60), starting).await;
        started.unwrap_or_else(|_| panic!("it does not start: {}", postgres.log()));
        postgres
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// A session.
    async fn session(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let who = b"user\0postgres\0database\0postgres\0\0";
        let length = u32::try_from(8 + who.len()).unwrap();
        stream.write_all(&[&length.to_be_bytes()[..], &[0, 3, 0, 0], who].concat()).await.unwrap();
        until_ready(&mut stream).await;
        stream
    }
}

/// One question and its answer.
async fn select(stream: &mut TcpStream) {
    let question = b"select 1\0";
    let length = u32::try_from(4 + question.len()).unwrap();
    stream.write_all(&[&b"Q"[..], &length.to_be_bytes(), question].concat()).await.unwrap();
    until_ready(stream).await;
}

/// Reads messages up to the one that says so.
async fn until_ready(stream: &mut TcpStream) {
    loop {
        let kind = stream.read_u8().await.unwrap();
        let length = stream.read_u32().await.unwrap();
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_ne!(kind, b'E', "{}", String::from_utf8_lossy(&body));
        if kind == b'Z' {
            return;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

#[tokio::test]
async fn postgres_answers_and_its_log_stays_as_it_is() {
    let postgres = Postgres::start().await;
    let before = postgres.log();
    let prober = prober(resource(postgres.address, Probe::Postgres), pace());
    let asked = known(&prober, |known| known.as_ref().is_ok_and(|measured| measured.samples >= 3)).await;
    let asked = asked.unwrap();
    assert_eq!(asked.method, Method::Postgres);
    assert!(!asked.round_trip.is_zero());

    let mut session = postgres.session().await;
    let told = tokio::select! {
        told = known(&prober, is_by_kernel) => told.unwrap(),
        () = async { loop { select(&mut session).await } } => unreachable!("it has no end"),
    };
    assert_eq!(told.method, Method::Kernel { connections: 1 });

    assert_eq!(postgres.log().strip_prefix(&before), Some(""));
}
