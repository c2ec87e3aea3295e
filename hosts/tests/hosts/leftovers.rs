//! What is left of hosts: nothing.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use skybox_hosts::{EtcdCluster, Hosts, Postgres};

use crate::talk::LONG;

/// Everything of a network that can be seen: namespaces, links and files.
fn seen(network: u8) -> Vec<PathBuf> {
    let below = |directory: &Path, prefix: &str| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let found = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        found.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut all = below(Path::new("/run/netns"), &format!("skybox-{network}-"));
    all.extend(below(&std::env::temp_dir(), &format!("skybox-hosts-{network}-")));
    let link = format!("skybox{network}");
    all.extend(below(Path::new("/sys/class/net"), &link).into_iter().filter(|path| path.ends_with(&link)));
    all
}

fn is_root() -> bool {
    // The tests of one network of its own: `for_test` says what is missing.
    Hosts::for_test(1).is_some()
}

/// Whether a process is there and has not ended.
fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
}

#[test]
fn nothing_is_left_when_they_are_dropped() {
    if !is_root() {
        return;
    }
    let hosts = Hosts::on_network(250, 3).unwrap();
    assert!(Hosts::on_network(250, 1).unwrap_err().to_string().contains("is in use"));
    let etcd = EtcdCluster::start(&hosts, [0]).unwrap();
    let postgres = Postgres::start(&hosts, 2).unwrap();
    hosts.delay(1, Duration::from_millis(1)).unwrap();
    hosts.cut(1).unwrap();
    // One that has another parent by then, and one that does not want to end.
    let mut shell = hosts.host(1).command("sh");
    let script = "sh -c \"trap '' TERM INT HUP; sleep 1000\" & echo $!";
    let mut shell = shell.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut orphan = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut orphan).unwrap();
    shell.wait().unwrap();
    let pids = [etcd.pid(0).unwrap(), postgres.pid().unwrap(), orphan.trim().parse().unwrap()];
    assert!(pids.into_iter().all(lives));
    assert_eq!(seen(250).len(), 6, "four namespaces, a link, a directory: {:?}", seen(250));
    drop(hosts);
    assert_eq!(seen(250), Vec::<PathBuf>::new());
    assert!(!pids.into_iter().any(lives), "{pids:?}");
    // What they ran may be dropped later.
    drop((etcd, postgres));
}

#[test]
fn nothing_is_left_by_a_panic() {
    if !is_root() {
        return;
    }
    let panicking = std::panic::catch_unwind(|| {
        let hosts = Hosts::on_network(251, 2).unwrap();
        let _etcd = EtcdCluster::start(&hosts, [0]).unwrap();
        assert!(seen(251).is_empty(), "a test that fails");
    });
    assert_eq!(panicking.unwrap_err().downcast_ref(), Some(&"a test that fails"));
    assert_eq!(seen(251), Vec::<PathBuf>::new());
}

/// The command, and what it has said until it waits for orders.
fn command(arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skybox-hosts"));
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = String::new();
    for line in lines.by_ref() {
        told = told + &line.unwrap() + "\n";
        if told.contains("Ctrl-C") {
            return (child, lines, told);
        }
    }
    panic!("it ended: {:?}, {told:?}", child.wait());
}

/// All processes in the namespaces of a network.
fn processes(network: u8, hosts: usize) -> Vec<u32> {
    let of_host = |host| {
        let name = format!("skybox-{network}-{host}");
        let output = Command::new("ip").args(["netns", "pids", &name]).output().unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| line.parse().unwrap())
            .collect::<Vec<u32>>()
    };
    (0..hosts).flat_map(of_host).collect()
}

#[test]
fn what_a_killed_run_leaves_the_next_one_removes() {
    if !is_root() {
        return;
    }
    let (mut child, _lines, _) = command(&["--network", "252", "--count", "4", "--postgres"]);
    let running = processes(252, 4);
    assert!(running.len() > 3, "three of etcd, and those of PostgreSQL: {running:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    // Any run does it; another test's may be at it at this moment, so what it removes goes a while later.
    drop(Hosts::make(1).unwrap());
    let until = Instant::now() + LONG;
    while !seen(252).is_empty() || running.iter().any(|pid| lives(*pid)) {
        assert!(Instant::now() < until, "{:?} is left, and of {running:?} some live", seen(252));
        std::thread::yield_now();
    }
}

#[test]
fn the_command_says_what_there_is_and_does_what_is_typed_until_ctrl_c() {
    if !is_root() {
        return;
    }
    let (mut child, mut lines, told) = command(&["--network", "253", "--count", "2", "--etcd", "0"]);
    for part in ["10.213.253.100", "ip netns exec skybox-253-1 ", "SKYBOX_STORE=etcd://10.213.253.100:2379\n"]
    {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }
    let mut stdin = child.stdin.take().unwrap();
    for (order, answer) in [
        ("cut 1", "done"),
        ("delay 0 1 20ms", "done"),
        ("leader", "host 0"),
        ("kill 1", "no member of this etcd runs in host 1"),
        ("drop 0 300", "`300` is no number that is possible here"),
        ("hang up", "what is known:"),
    ] {
        writeln!(stdin, "{order}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), answer, "{order}");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(seen(253), Vec::<PathBuf>::new());
}
