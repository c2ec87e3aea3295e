//! `skybox run --watch`: a program of two packages in a directory of its own, whose sources change while it is asked.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::Signal;

use crate::http;
use crate::stage::{Program, Stage, skybox, wait_for};

/// Answers with a word of another package, by a task, and with a mark of its configuration.
const MAIN: &str = r#"
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[skybox::task]
async fn word() -> skybox::Result<String> {
    Ok(words::word().to_owned())
}

#[tokio::main]
async fn main() -> skybox::Result<()> {
    let app = skybox::App::builder().start().await?;
    let own: BTreeMap<String, String> = app.config("own").unwrap_or_default();
    let mark = own.get("mark").cloned().unwrap_or_default();
    let listener = app.listen("http").await?;
    let draining = app.draining();
    tokio::pin!(draining);
    loop {
        let mut stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            () = &mut draining => return Ok(()),
        };
        // To its end, before the node may leave.
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await?;
        let word = word().await? + &mark;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}
"#;

/// Where its port is any.
const CONFIG: &str = "[listeners.http]\naddress = \"127.0.0.1:0\"\n";

/// The sources of one test: a program, and a package that it depends on. They are always in the same place, and all
/// tests build in one directory, so that what they depend on is built once.
struct Sources {
    place: PathBuf,
}

impl Sources {
    /// Writes them, and builds what they depend on, which takes long and has no bound.
    fn new(stage: &Stage, program: &str) -> Sources {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("watched");
        let sources = Sources { place: shared.join(program) };
        let skybox_crate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../skybox");
        for directory in ["program/src", "program/.cargo", "words/src"] {
            std::fs::create_dir_all(sources.place.join(directory)).expect("the directory is this test's own");
        }
        let package = |name: &str, dependencies: &str| {
            format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
                 [dependencies]\n{dependencies}"
            )
        };
        let dependencies = format!(
            "words = {{ path = \"../words\", package = \"{program}-words\" }}\n\
             skybox = {{ path = {skybox_crate:?} }}\n\
             tokio = {{ version = \"1\", features = [\"rt-multi-thread\", \"macros\", \"net\", \"io-util\"] }}\n\
             [profile.dev]\ndebug = false\n"
        );
        sources.write("program/Cargo.toml", &package(program, &dependencies));
        sources.write("words/Cargo.toml", &package(&format!("{program}-words"), ""));
        sources.write("program/src/main.rs", MAIN);
        sources.write("program/skybox.toml", CONFIG);
        sources.says("one");
        // The versions that this tree is built with.
        let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock"));
        sources.write("program/Cargo.lock", &lock.expect("the workspace has one"));
        let target = shared.join("target");
        sources.write("program/.cargo/config.toml", &format!("[build]\ntarget-dir = {target:?}\n"));
        let mut cargo = stage.command(Path::new(env!("CARGO")));
        let built = cargo.args(["build", "--quiet"]).current_dir(sources.program()).status();
        assert!(built.expect("cargo runs this test").success());
        sources
    }

    fn program(&self) -> PathBuf {
        self.place.join("program")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.place.join(name), text).expect("the directory is this test's own");
    }

    /// Has the other package say another word.
    fn says(&self, word: &str) {
        self.write("words/src/lib.rs", &format!("pub fn word() -> &'static str {{ {word:?} }}\n"));
    }

    /// Runs the program as two nodes; `compiler`: what compiles it, if that is not rustc alone.
    fn run<'s>(&self, stage: &'s Stage, compiler: Option<&Path>) -> Program<'s> {
        let mut command = stage.command(skybox());
        command.current_dir(self.program()).args(["run", "--watch", "--nodes", "2"]);
        if let Some(compiler) = compiler {
            command.env("RUSTC_WRAPPER", compiler);
        }
        let program = Program::start(stage, &mut command);
        program.ready(2);
        program.says("watching the sources of");
        program
    }
}

fn answers(address: SocketAddr, word: &str) {
    wait_for(&format!("the answer {word}"), || match http::get(address, "/") {
        Ok(answer) if answer.body == word => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Asks without end, each time over a connection of its own; each is to be answered.
fn ask_on(address: SocketAddr, done: &AtomicBool, asked: &AtomicU32) -> Vec<String> {
    let mut failed = Vec::new();
    while !done.load(Ordering::Relaxed) {
        if let Err(error) = http::get(address, "/") {
            failed.push(error.to_string());
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
    failed
}

#[test]
fn a_change_replaces_the_nodes_and_refuses_nobody() {
    let stage = Stage::new();
    let sources = Sources::new(&stage, "talker");
    let program = sources.run(&stage, None);
    let address = program.address();
    answers(address, "one");
    let old = program.process_of("node-1");

    // Another package changes, while the program is asked.
    let (done, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let asking = std::thread::spawn({
        let (done, asked) = (done.clone(), asked.clone());
        move || ask_on(address, &done, &asked)
    });
    wait_for("the first answers", || if asked.load(Ordering::Relaxed) > 10 { Ok(()) } else { Err(()) });
    sources.says("two");
    answers(address, "two");
    program.says("the new build runs");
    done.store(true, Ordering::Relaxed);
    assert_eq!(asking.join().expect("it only asks"), Vec::<String>::new(), "{}", program.err());
    assert_ne!(program.ready(2)["nodes"][0]["pid"], old);

    // A mistake changes nothing.
    let running = program.process_of("node-1");
    sources.write("program/src/main.rs", &MAIN.replace("words::word()", "words::wrod()"));
    program.says("cannot find function `wrod`");
    program.says("the program does not build; what runs goes on");
    answers(address, "two");
    assert_eq!(program.process_of("node-1"), running);

    // A program that does not start leaves the listener open, for the one that does.
    sources.write(
        "program/src/main.rs",
        &MAIN.replace("let app", "return Err(std::io::Error::other(\"no\").into());\nlet app"),
    );
    program.says("the program does not start; waiting for the next change");
    sources.write("program/src/main.rs", &MAIN.replace("words::word()", "\"three\""));
    answers(address, "three");

    program.signal(Signal::INT);
    assert_eq!(program.end().code(), Some(0), "{}", program.err());
}

/// A compiler that waits at a gate, if there is one, after it has compiled the other package.
const GATE_KEEPER: &str = r#"#!/bin/sh
"$@" || exit
gate=$(dirname "$0")/gate
case "$*" in *"--crate-name held_words "*) if [ -p "$gate" ]; then cat "$gate"; fi ;; esac
"#;

#[test]
fn a_change_during_a_build_is_built_next() {
    let stage = Stage::new();
    let sources = Sources::new(&stage, "held");
    let (gate, keeper) = (sources.place.join("gate"), sources.place.join("keeper.sh"));
    // Of an earlier run that failed.
    drop(std::fs::remove_file(&gate));
    sources.write("keeper.sh", GATE_KEEPER);
    std::fs::set_permissions(&keeper, std::fs::Permissions::from_mode(0o755)).expect("it is this test's own");
    let program = sources.run(&stage, Some(&keeper));
    let address = program.address();
    answers(address, "one");

    mknodat(CWD, &gate, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("there is none");
    sources.says("two");
    // It opens once the compiler has read that word, and waits.
    let held = wait_for("a build at the gate", || {
        open(&gate, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| (error, program.err()))
    });
    sources.says("three");
    std::fs::remove_file(&gate).expect("it is there");
    drop(held);
    answers(address, "three");
    let builds = program.err().matches("has changed: building").count();
    assert_eq!(builds, 2, "{}", program.err());
}

#[test]
fn a_change_of_the_configuration_replaces_the_nodes_and_builds_nothing() {
    let stage = Stage::new();
    let sources = Sources::new(&stage, "marked");
    let program = sources.run(&stage, None);
    let address = program.address();
    answers(address, "one");

    sources.write("program/skybox.toml", &format!("{CONFIG}[config.own]\nmark = \"!\"\n"));
    answers(address, "one!");
    program.says("the nodes run with it");
    assert!(!program.err().contains("building"), "{}", program.err());

    // A mistake changes nothing, wherever it is found.
    let running = program.process_of("node-1");
    let mistakes = [
        ("[listeners.http]\nadress = \"127.0.0.1:0\"\n", "skybox.toml:2: there is no key `adress`"),
        ("[modules.word]\nreplicas = \"many\"\n", "skybox.toml:2: `[modules.word]`"),
        ("\n[modules.world]\nreplicas = 1\n", "skybox.toml:3: there is no module `world` in this program"),
        ("\n[modules.word]\nuse = \"other\"\n", "skybox.toml:3: `word` is not an interface"),
        ("[[", "skybox.toml:1: "),
    ];
    for (text, message) in mistakes {
        sources.write("program/skybox.toml", text);
        program.says(message);
    }
    wait_for("a word on each mistake", || {
        let said = program.err().matches("what runs goes on").count();
        if said == mistakes.len() { Ok(()) } else { Err(program.err()) }
    });
    answers(address, "one!");
    assert_eq!(program.process_of("node-1"), running);

    // Another address is another port; the file may also go.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let elsewhere = free.expect("there is a free port");
    sources.write("program/skybox.toml", &format!("[listeners.http]\naddress = \"{elsewhere}\"\n"));
    answers(elsewhere, "one");
    program.says(&format!("http listens on http://{elsewhere}"));
    assert!(http::get(address, "/").is_err(), "nobody is left at the old one");
    assert!(!program.err().contains("building"), "{}", program.err());

    program.signal(Signal::INT);
    assert_eq!(program.end().code(), Some(0), "{}", program.err());
}
