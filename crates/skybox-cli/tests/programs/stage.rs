//! A directory, and the processes that run in it.

use std::fmt::Debug;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What takes longer will not happen. Generous: tests share a small machine with builds.
const WAIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `look` finds something; the panic says what it saw last.
pub(crate) fn wait_for<T, S: Debug>(what: &str, mut look: impl FnMut() -> Result<T, S>) -> T {
    let since = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if since.elapsed() > WAIT => panic!("{what}: not within {WAIT:?}; last seen: {seen:?}"),
            // Sleeps because processes and files tell nobody that they have changed; each look is a condition.
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// The shop's executable, built once for each test process.
pub(crate) fn shop() -> &'static Path {
    static SHOP: OnceLock<PathBuf> = OnceLock::new();
    SHOP.get_or_init(|| built_alone(&["--package", "shop"], "shop"))
}

/// A program whose modules wait for each other.
pub(crate) fn quarrel() -> &'static Path {
    static QUARREL: OnceLock<PathBuf> = OnceLock::new();
    QUARREL.get_or_init(|| built(&["--package", "skybox-cli", "--example", "quarrel"], "examples/quarrel"))
}

/// A program of streams.
pub(crate) fn fountain() -> &'static Path {
    static FOUNTAIN: OnceLock<PathBuf> = OnceLock::new();
    FOUNTAIN.get_or_init(|| built(&["--package", "skybox-cli", "--example", "fountain"], "examples/fountain"))
}

/// A program whose modules fail on demand.
pub(crate) fn press() -> &'static Path {
    static PRESS: OnceLock<PathBuf> = OnceLock::new();
    PRESS.get_or_init(|| built(&["--package", "skybox-cli", "--example", "press"], "examples/press"))
}

/// A program whose instances have names.
pub(crate) fn lobby() -> &'static Path {
    static LOBBY: OnceLock<PathBuf> = OnceLock::new();
    LOBBY.get_or_init(|| built(&["--package", "skybox-cli", "--example", "lobby"], "examples/lobby"))
}

/// A program of a cloud.
pub(crate) fn harbour() -> &'static Path {
    static HARBOUR: OnceLock<PathBuf> = OnceLock::new();
    HARBOUR.get_or_init(|| built(&["--package", "skybox-cli", "--example", "harbour"], "examples/harbour"))
}

/// A program with an interface, and two implementations of it.
pub(crate) fn payments_shop() -> &'static Path {
    static SHOP: OnceLock<PathBuf> = OnceLock::new();
    SHOP.get_or_init(|| built(&["--package", "payments-shop"], "payments-shop"))
}

/// Set by whoever has built the programs of the whole workspace before. Each package by itself has other features of what it
/// depends on, and compiles all of that anew.
const IS_BUILT_ENV: &str = "SKYBOX_TEST_IS_BUILT";

/// Builds an executable where the one under test is, unless it is there.
fn built(what: &[&str], place: &str) -> PathBuf {
    match std::env::var_os(IS_BUILT_ENV) {
        None => built_alone(what, place),
        Some(_) => skybox().parent().expect("an executable is in a directory").join(place),
    }
}

/// Builds an executable where the one under test is, with the features that its package has by itself.
fn built_alone(what: &[&str], place: &str) -> PathBuf {
    let profile = skybox().parent().expect("an executable is in a directory");
    let target = profile.parent().expect("a profile is in the target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--target-dir"]).arg(target).args(what);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs this test");
    assert!(status.success(), "{place} does not build");
    profile.join(place)
}

/// The command under test.
pub(crate) fn skybox() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_skybox"))
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// What it printed, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// What it complained about, if it failed.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        self.err
    }
}

/// A test's directory.
pub(crate) struct Stage {
    directory: PathBuf,
}

impl Stage {
    /// A fresh one, whose programs listen on any free port.
    pub(crate) fn new() -> Stage {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: a socket's path has 108 bytes at most.
        let directory = std::env::temp_dir().join(format!("skybox-t{}-{count}", std::process::id()));
        fs::create_dir(&directory).expect("the name is this process's own");
        let stage = Stage { directory };
        stage.config("[listeners.http]\naddress = \"127.0.0.1:0\"\n");
        stage
    }

    /// Writes `skybox.toml`.
    pub(crate) fn config(&self, text: &str) {
        self.write("skybox.toml", text);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).expect("the directory is this test's own");
    }

    /// The lines of the shop's store.
    pub(crate) fn store(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.join("store")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the warehouse packs an order.
    pub(crate) fn packs(&self, order: &str) {
        let line = format!("packing {order}");
        wait_for(&line, || if self.store().contains(&line) { Ok(()) } else { Err(self.store()) });
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What programs of this stage have left behind: their directories.
    pub(crate) fn left_behind(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.join("skybox")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Processes that were started here and still live.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mark = format!("XDG_RUNTIME_DIR={}\0", self.directory.display());
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours = numbers.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(mark.len()).any(|part| part == mark.as_bytes())
        });
        ours.collect()
    }

    /// A command in this directory.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.directory).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SKYBOX_") {
                command.env_remove(name);
            }
        }
        command.env_remove("RUST_LOG").env("XDG_RUNTIME_DIR", &self.directory);
        command.env("SHOP_STORE", self.directory.join("store"));
        command
    }

    /// Runs `skybox` to its end.
    pub(crate) fn skybox(&self, arguments: &[&str]) -> Ended {
        self.ask(self.command(skybox()).args(arguments))
    }

    /// Runs a command to its end.
    pub(crate) fn ask(&self, command: &mut Command) -> Ended {
        let program = Program::start(self, command);
        let code = program.end().code();
        Ended { code, out: program.out(), err: program.err() }
    }

    /// Starts the shop as several nodes: `skybox run` with these arguments; those behind `--` are the shop's.
    pub(crate) fn run(&self, arguments: &[&str]) -> Program<'_> {
        Program::start(self, self.command(skybox()).args(["run", "--program"]).arg(shop()).args(arguments))
    }

    /// Starts the shop as a single process.
    pub(crate) fn alone(&self, arguments: &[&str]) -> Program<'_> {
        Program::start(self, self.command(shop()).args(arguments))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nodes outlive a killed parent for a moment; a failed test leaves anything.
        let since = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() || since.elapsed() > WAIT {
                break;
            }
            left.into_iter().for_each(|pid| send(pid, Signal::KILL));
            // Sleeps because a killed process is gone a moment later, and tells nobody.
            std::thread::sleep(LOOK);
        }
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Sends a signal to a process, which may have ended.
pub(crate) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// A running command, killed when this goes.
pub(crate) struct Program<'s> {
    stage: &'s Stage,
    child: Mutex<Child>,
    pid: i32,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
    readers: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl<'s> Program<'s> {
    pub(crate) fn start(stage: &'s Stage, command: &mut Command) -> Program<'s> {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let (out, err) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().expect("it is piped"), &out),
            collect(child.stderr.take().expect("it is piped"), &err),
        ];
        let pid = i32::try_from(child.id()).expect("a process id fits");
        Program { stage, child: Mutex::new(child), pid, out, err, readers: Mutex::new(readers) }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// What it has printed so far.
    pub(crate) fn out(&self) -> String {
        text(&self.out)
    }

    /// What it has logged so far.
    pub(crate) fn err(&self) -> String {
        text(&self.err)
    }

    /// Waits for a line of its log that has this in it.
    pub(crate) fn says(&self, what: &str) -> String {
        wait_for(&format!("a line with {what:?}"), || {
            let err = self.err();
            err.lines().find(|line| line.contains(what)).map(str::to_owned).ok_or(err)
        })
    }

    /// Where its pages are.
    pub(crate) fn address(&self) -> SocketAddr {
        wait_for("the address of its pages", || {
            let err = self.err();
            let lines = err.lines().filter(|line| !line.starts_with("admin"));
            let address = lines.filter_map(|line| line.split_once("listens on http://")).next();
            address.and_then(|(_, address)| address.trim().parse().ok()).ok_or(err)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }

    /// Waits for its end, and for the end of what it wrote.
    pub(crate) fn end(&self) -> ExitStatus {
        let status = wait_for(&format!("the end of process {}", self.pid), || {
            let mut child = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            child.try_wait().expect("it is our child").ok_or_else(|| text(&self.err))
        });
        for reader in self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).drain(..) {
            reader.join().expect("it only reads");
        }
        status
    }

    /// A command about this very program.
    pub(crate) fn skybox(&self, arguments: &[&str]) -> Ended {
        self.stage.ask(&mut self.command(arguments))
    }

    /// The same, to be started. Without the program's process, single processes of other tests are in question as well.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.command(skybox());
        command.args(arguments).args(["--program", &self.pid.to_string()]);
        command
    }

    pub(crate) fn stage(&self) -> &'s Stage {
        self.stage
    }

    /// What a command about it prints as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.skybox(&[arguments, &["--json"]].concat()).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What a command about it that fails prints as JSON.
    pub(crate) fn json_of_failed(&self, arguments: &[&str]) -> Value {
        let ended = self.skybox(&[arguments, &["--json"]].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    /// Waits until so many nodes are ready and every module serves where it should; the result of `ps --json`.
    pub(crate) fn ready(&self, nodes: usize) -> Value {
        wait_for(&format!("{nodes} ready nodes"), || {
            let ended = self.skybox(&["ps", "--json"]);
            let Ok(ps) = serde_json::from_str::<Value>(&ended.out) else { return Err((ended, self.err())) };
            let list = |key: &str| ps[key].as_array().cloned().unwrap_or_default();
            let ready = list("nodes").iter().filter(|node| node["state"] == "ready").count();
            let serving = list("modules").iter().all(|module| {
                let somewhere = module["serving"].as_array().is_some_and(|nodes| !nodes.is_empty());
                somewhere && module["serving"] == module["assigned"]
            });
            if ready == nodes && list("nodes").len() == nodes && serving {
                Ok(ps)
            } else {
                Err((ended, self.err()))
            }
        })
    }

    /// The process of a node, as `ps` says.
    pub(crate) fn process_of(&self, node: &str) -> i32 {
        wait_for(&format!("the process of {node}"), || {
            let ps = self.json(&["ps"]);
            let nodes = ps["nodes"].as_array().into_iter().flatten();
            let found =
                nodes.into_iter().find(|found| found["node"] == node).and_then(|node| node["pid"].as_i64());
            found.and_then(|pid| i32::try_from(pid).ok()).ok_or(ps)
        })
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if matches!(child.try_wait(), Ok(None)) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn text(of: &Mutex<String>) -> String {
    of.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    let into = into.clone();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).into_owned();
            into.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push_str(&text);
            line.clear();
        }
    })
}
