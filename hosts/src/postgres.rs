//! A real PostgreSQL.
//!
//! Debian's package starts a server of its own when it is installed. That one is left alone: ours has another directory,
//! another network and other shared memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::host::Host;
use crate::hosts::Hosts;
use crate::run::finish;
use crate::server::Server;

const PORT: u16 = 5432;

/// Where Debian has its versions.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The user that Debian's package makes, and the one that may do anything in the database. The server refuses to run as
/// root.
const USER: &str = "postgres";

/// How long it may take to greet.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// A database server in a host. Whoever reaches it is let in, as any user that it knows: at first there is `postgres`.
/// It ends when this is dropped, or its host is.
#[derive(Debug)]
pub struct Postgres {
    host: Host,
    programs: PathBuf,
    data: PathBuf,
    server: Server,
}

impl Postgres {
    /// Makes a database in a host, and returns when it takes connections.
    ///
    /// # Errors
    ///
    /// If there is no PostgreSQL, or it does not come up within a minute: with the end of its log.
    pub fn start(hosts: &Hosts, on: usize) -> Result<Postgres> {
        hosts.check(&[on])?;
        let host = hosts.host(on).clone();
        let programs = newest()?;
        let files = host.directory().join("postgres");
        finish(
            Command::new("install").args(["-d", "-m", "700", "-o", USER]).arg(&files),
            "",
            "postgresql, which makes the user",
        )?;
        let data = files.join("data");
        // No machine of ours outlives a loss of power, so nothing is forced to disk.
        let mut initdb = as_user(&host, &programs.join("initdb"));
        initdb.current_dir(&files).arg("--pgdata").arg(&data);
        initdb.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]);
        finish(initdb.args(["--username", USER]), "", "postgresql")?;
        let mut access = std::fs::OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
        writeln!(access, "host all all {}/24 trust", host.address())?;
        let server =
            Server::new(format!("PostgreSQL of {}", host.name()), host.directory().join("postgres.log"));
        let mut postgres = Postgres { host, programs, data, server };
        postgres.start_again()?;
        Ok(postgres)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (self.host.address(), PORT).into()
    }

    /// As its clients take it: `postgres://postgres@10.213.0.104:5432/postgres`.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@{}/postgres", self.address())
    }

    /// Its process, which is the parent of those that serve connections.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn pid(&self) -> Result<u32> {
        self.server.pid()
    }

    /// Ends its first process with SIGKILL; the others notice and end too. What was committed stays.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.server.end(Signal::KILL)
    }

    /// Ends it in order, with SIGINT: it breaks off what is under way.
    ///
    /// # Errors
    ///
    /// If it does not run, or takes longer than a minute: then it is killed.
    pub fn stop(&mut self) -> Result<()> {
        self.server.end(Signal::INT)
    }

    /// Starts it after it was ended, with what it had committed, and returns when it takes connections.
    ///
    /// # Errors
    ///
    /// If it runs, or does not come up within a minute.
    pub fn start_again(&mut self) -> Result<()> {
        let mut command = as_user(&self.host, &self.programs.join("postgres"));
        command.current_dir("/").arg("-D").arg(&self.data);
        let address = self.host.address();
        for setting in [
            format!("listen_addresses={address}"),
            format!("port={PORT}"),
            "unix_socket_directories=".to_owned(),
            // Its files are removed with the directory, however it ends.
            "dynamic_shared_memory_type=mmap".to_owned(),
            "fsync=off".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        self.server.start(&mut command)?;
        let address = self.address();
        self.server.wait_until("taking connections", || Ok(greets(address)?.then_some(())))
    }
}

/// A program of the server's, as its user. System V shared memory would stay if it were killed; so it gets a namespace
/// for that too.
fn as_user(host: &Host, program: &Path) -> Command {
    let mut command = host.command("unshare");
    command.args(["--ipc", "--mount", "--", "sh", "-c", AS_USER, USER]).arg(program);
    command
}

/// `initdb` writes to `/dev/null`, which on some machines only root may. There it gets one of its own, which nobody else
/// sees.
const AS_USER: &str = "\
if ! setpriv --reuid \"$0\" --regid \"$0\" --init-groups test -w /dev/null; then
    mount -t tmpfs -o mode=755 none /mnt && mknod -m 666 /mnt/null c 1 3 && mount --bind /mnt/null /dev/null
fi
exec setpriv --reuid \"$0\" --regid \"$0\" --init-groups -- \"$@\"";

/// The programs of the newest version that is installed.
fn newest() -> Result<PathBuf> {
    let entries = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = entries.map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists());
    let newest = installed.max_by_key(|path| version(path));
    let missing = || format!("no PostgreSQL is in {VERSIONS}: it is in Debian's package postgresql");
    Ok(newest.with_context(missing)?.join("bin"))
}

/// Whether it lets its user in. While it starts, it greets with an error.
fn greets(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    // The first message: its length, version 3.0 of the protocol, and who comes.
    let parameters = format!("user\0{USER}\0\0");
    let length = u32::try_from(8 + parameters.len()).context("it is short")?;
    let mut message = Vec::from(length.to_be_bytes());
    message.extend(196_608_u32.to_be_bytes());
    message.extend(parameters.as_bytes());
    stream.write_all(&message)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    Ok(kind == *b"R")
}
