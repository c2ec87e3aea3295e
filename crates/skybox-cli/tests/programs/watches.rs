//! `skybox run --watch`: a program of two packages in a directory of its own, whose sources change while it is asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::process::Signal;

use crate::http;
use crate::stage::{Program, Stage, skybox, wait_for};

/// Answers with a word of another package, by a task.
const MAIN: &str = r#"
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[skybox::task]
async fn word() -> skybox::Result<String> {
    Ok(words::word().to_owned())
}

#[tokio::main]
async fn main() -> skybox::Result<()> {
    let app = skybox::App::builder().start().await?;
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
        let word = word().await?;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{word}", word.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}
"#;

/// The sources. Always in the same place, so that what they depend on is built once.
const PLACE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/watched");

fn write_source(name: &str, text: &str) {
    std::fs::write(Path::new(PLACE).join(name), text).expect("the directory is this test's own");
}

/// Writes the program, and builds what it depends on, which takes long and has no bound.
fn write(stage: &Stage) {
    let skybox_crate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../skybox");
    for directory in ["talker/src", "talker/.cargo", "words/src"] {
        std::fs::create_dir_all(Path::new(PLACE).join(directory)).expect("the directory is this test's own");
    }
    let package = |name: &str, dependencies: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
             {dependencies}"
        )
    };
    let dependencies = format!(
        "words = {{ path = \"../words\" }}\nskybox = {{ path = {skybox_crate:?} }}\n\
         tokio = {{ version = \"1\", features = [\"rt-multi-thread\", \"macros\", \"net\", \"io-util\"] }}\n\
         [profile.dev]\ndebug = false\n"
    );
    write_source("talker/Cargo.toml", &package("talker", &dependencies));
    write_source("words/Cargo.toml", &package("words", ""));
    write_source("talker/src/main.rs", MAIN);
    write_source("talker/skybox.toml", "[listeners.http]\naddress = \"127.0.0.1:0\"\n");
    says("one");
    // The versions that this tree is built with.
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock"));
    write_source("talker/Cargo.lock", &lock.expect("the workspace has one"));
    write_source("talker/.cargo/config.toml", "[build]\ntarget-dir = \"../target\"\n");
    let mut cargo = stage.command(Path::new(env!("CARGO")));
    let built = cargo.args(["build", "--quiet"]).current_dir(Path::new(PLACE).join("talker")).status();
    assert!(built.expect("cargo runs this test").success());
}

/// Has the other package say another word.
fn says(word: &str) {
    write_source("words/src/lib.rs", &format!("pub fn word() -> &'static str {{ {word:?} }}\n"));
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
    write(&stage);
    let mut command = stage.command(skybox());
    command.current_dir(Path::new(PLACE).join("talker")).args(["run", "--watch", "--nodes", "2"]);
    let program = Program::start(&stage, &mut command);
    program.ready(2);
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
    program.says("watching the sources of");
    says("two");
    answers(address, "two");
    program.says("the new build runs");
    done.store(true, Ordering::Relaxed);
    assert_eq!(asking.join().expect("it only asks"), Vec::<String>::new(), "{}", program.err());
    assert_ne!(program.ready(2)["nodes"][0]["pid"], old);

    // A mistake changes nothing.
    let running = program.process_of("node-1");
    write_source("talker/src/main.rs", &MAIN.replace("words::word()", "words::wrod()"));
    program.says("cannot find function `wrod`");
    program.says("the program does not build; what runs goes on");
    answers(address, "two");
    assert_eq!(program.process_of("node-1"), running);

    // A program that does not start leaves the listener open, for the one that does.
    write_source(
        "talker/src/main.rs",
        &MAIN.replace("let app", "return Err(std::io::Error::other(\"no\").into());\nlet app"),
    );
    program.says("the program does not start; waiting for the next change");
    write_source("talker/src/main.rs", &MAIN.replace("words::word()", "\"three\""));
    answers(address, "three");

    program.signal(Signal::INT);
    assert_eq!(program.end().code(), Some(0), "{}", program.err());
}
