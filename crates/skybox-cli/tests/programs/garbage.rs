//! What a node makes of bytes that no node sends: one closed connection each, and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use skybox_wire::handshake::MAGIC;

use crate::http::{self, Http};
use crate::peer::Peer;
use crate::stage::{Program, Stage, wait_for};

/// Connections of each kind. A node that leaked a read buffer (64 KiB) for each would grow beyond the bound below.
const TIMES: usize = 400;
/// What a node may grow by while it is flooded: what its allocator keeps of a few connections at a time.
const GROWTH_KIB_MAX: u64 = 12 * 1024;
/// A connection that is not closed after this is kept.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// A running shop whose node-2 is attacked.
struct Target<'s> {
    program: Program<'s>,
    directory: PathBuf,
    pid: i32,
}

impl<'s> Target<'s> {
    fn start(stage: &'s Stage) -> Target<'s> {
        stage.config("[listeners.http]\naddress = \"127.0.0.1:0\"\nnodes = 1\n");
        let program = stage.run(&["--nodes", "2", "--place", "catalog=node-2"]);
        program.ready(2);
        // The connection between the nodes is there before anything is counted.
        assert_eq!(http::get(program.address(), "/items/pear").expect("an answer").status, 200);
        let pid = program.process_of("node-2");
        let directory = stage.left_behind().pop().expect("a running program has a directory");
        Target { program, directory, pid }
    }

    fn connect(&self, socket: &str) -> UnixStream {
        let stream = wait_for("a connection", || UnixStream::connect(self.directory.join(socket)));
        stream.set_read_timeout(Some(CLOSE_WAIT)).expect("a time above zero");
        stream
    }

    /// A connection with a finished handshake.
    fn shake(&self) -> UnixStream {
        Peer::shake(self.connect("node-2.sock")).into_stream()
    }

    fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("every process has it");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("it lives").count()
    }

    /// The lines that tell of a cause.
    fn warnings(&self, cause: &str) -> usize {
        let mark = format!("cause=\"{cause}\"");
        self.program.err().lines().filter(|line| line.contains(&mark)).count()
    }
}

/// Reads to the end that the other side makes.
fn closed(mut stream: UnixStream, what: &str) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{what}: not closed: {error}"),
    }
}

/// Sends bytes, which the other side may refuse to read to their end.
fn send(stream: &mut UnixStream, bytes: &[u8]) {
    match stream.write_all(bytes) {
        Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            panic!("{error}")
        }
        _ => {}
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Attacks often, and checks that nothing else happened. `cause`: of the log lines that may tell of it.
fn flood(target: &Target<'_>, cause: &str, what: &str, attack: impl Fn(&Target<'_>)) {
    let mut page = Http::connect(target.program.address()).expect("a connection");
    let mut get = || assert_eq!(page.get("/items/pear").expect("an answer").status, 200, "{what}");
    // What the first ones cost is not a leak.
    (0..TIMES / 4).for_each(|_| attack(target));
    let (memory, warned, since) = (target.memory_kib(), target.warnings(cause), Instant::now());
    for n in 0..TIMES {
        attack(target);
        if n % 20 == 0 {
            get();
        }
    }
    get();
    let grown = target.memory_kib().saturating_sub(memory);
    assert!(grown < GROWTH_KIB_MAX, "{what}: grew by {grown} KiB");
    // One a second, one at the beginning, and one that a slow reader saw late.
    let lines = target.warnings(cause) - warned;
    let bound = since.elapsed().as_secs() as usize + 2;
    assert!(lines <= bound, "{what}: {lines} lines in {:?}", since.elapsed());
    assert!(target.warnings(cause) > 0, "{what}: nobody was told");
}

/// Neither a process nor a place for a connection was lost.
fn unharmed(stage: &Stage, target: &Target<'_>, files: usize) {
    wait_for("the end of all the connections", || {
        let now = target.open_files();
        if now <= files { Ok(()) } else { Err(now) }
    });
    assert!(stage.processes().contains(&target.pid), "the node is still the same process");
    let call = target.program.json(&["call", "catalog.get", r#"["pear"]"#, "--from", "node-2"]);
    assert_eq!(call["value"]["price_cents"], 30);
}

#[test]
fn before_the_handshake() {
    let stage = Stage::new();
    let target = Target::start(&stage);
    let files = target.open_files();
    let huge = [&MAGIC[..], &[0xff; 4], &noise(64)].concat();
    let long_hello = [&MAGIC[..], &100_000_u32.to_le_bytes(), &noise(1000)].concat();
    let whole: [(&str, Vec<u8>); 3] = [
        ("noise", noise(10_000)),
        ("a hello of 4 GiB", huge),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in &whole {
        flood(&target, "handshake", what, |target| {
            let mut stream = target.connect("node-2.sock");
            send(&mut stream, bytes);
            closed(stream, what);
        });
    }
    flood(&target, "handshake", "half a hello", |target| {
        let mut stream = target.connect("node-2.sock");
        send(&mut stream, &long_hello);
        stream.shutdown(Shutdown::Write).expect("it is open");
        closed(stream, "half a hello");
    });
    unharmed(&stage, &target, files);
}

#[test]
fn after_the_handshake() {
    let stage = Stage::new();
    let target = Target::start(&stage);
    let files = target.open_files();
    for (what, bytes) in
        [("noise", noise(10_000)), ("a frame of 4 GiB", [&[0xff; 4][..], &noise(64)].concat())]
    {
        flood(&target, "frame", what, |target| {
            let mut stream = target.shake();
            send(&mut stream, &bytes);
            closed(stream, what);
        });
    }
    // Half a frame is no mistake until its sender goes; then it is an ended connection like any other.
    for _ in 0..TIMES {
        let mut stream = target.shake();
        send(&mut stream, &[&1000_u32.to_le_bytes()[..], &noise(10)].concat());
        stream.shutdown(Shutdown::Write).expect("it is open");
        closed(stream, "half a frame");
    }
    unharmed(&stage, &target, files);
}

#[test]
fn the_silent_are_closed_and_block_nobody() {
    let stage = Stage::new();
    let target = Target::start(&stage);
    let files = target.open_files();
    let mut page = Http::connect(target.program.address()).expect("a connection");
    let mut silent: Vec<_> = (0..100).map(|_| target.connect("node-2.sock")).collect();
    silent.extend((0..20).map(|_| target.connect("parent.sock")));
    for stream in silent {
        assert_eq!(page.get("/items/pear").expect("an answer").status, 200);
        closed(stream, "silence");
    }
    unharmed(&stage, &target, files);
}

#[test]
fn a_parent_takes_no_garbage_either() {
    let stage = Stage::new();
    let target = Target::start(&stage);
    for bytes in [
        noise(1000),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"{\"Operate\": {\"dance\": 1}}\n".to_vec(),
        b"{}\n".to_vec(),
    ] {
        for _ in 0..50 {
            let mut stream = target.connect("parent.sock");
            send(&mut stream, &bytes);
            stream.shutdown(Shutdown::Write).expect("it is open");
            closed(stream, "garbage");
        }
    }
    assert_eq!(target.program.json(&["ps"])["nodes"][1]["pid"], json!(target.pid));
    unharmed(&stage, &target, usize::MAX);
}
