//! Modules that live in cells: what ends the process ends that cell alone, and nothing is left behind.

#[path = "kill_matrix/deadly.rs"]
mod deadly;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind, CallOptions, Ran};

use deadly::{null_dereference, overflow_the_stack, turn};

/// Does to its process what it is told.
#[derive(Default)]
struct Victim {
    calls: u64,
}

#[skybox::module(isolate = "process")]
impl Victim {
    /// The process, and how often this instance was called.
    pub(crate) async fn count(&mut self) -> skybox::Result<(u32, u64)> {
        self.calls += 1;
        Ok((std::process::id(), self.calls))
    }

    pub(crate) async fn die(&self, how: &str) -> skybox::Result<()> {
        eprintln!("dying by {how}");
        match how {
            "panic" => panic!("as told"),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(0),
            "code" => std::process::exit(7),
            "null" => null_dereference(),
            "stack" => overflow_the_stack(),
            "kill" => kill_self(),
            _ => {}
        }
        Ok(())
    }
}

fn kill_self() {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    // It is not to return before it is dead.
    std::thread::park();
}

/// Wants more than it may have.
#[derive(Default)]
struct Hungry;

#[skybox::module(isolate = "process", memory = "64MiB", cpu = 0.2)]
impl Hungry {
    pub(crate) async fn eat(&self, mib: usize) -> skybox::Result<usize> {
        let mut eaten = Vec::new();
        for _ in 0..mib {
            // Memory counts once it is written.
            eaten.push(std::hint::black_box(vec![1u8; 1 << 20]));
        }
        Ok(eaten.len())
    }

    /// Works for so many milliseconds of a core; says how long that took.
    pub(crate) fn work(&self, work_ms: u64) -> skybox::Result<u64> {
        let (began, used) = (Instant::now(), used_ms());
        while used_ms() < used + work_ms {
            std::hint::black_box((0..1000).sum::<u64>());
        }
        Ok(began.elapsed().as_millis() as u64)
    }
}

/// Never ends, and never awaits.
#[derive(Default)]
struct Endless;

#[skybox::module(isolate = "process", overrun = "200ms")]
impl Endless {
    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    pub(crate) async fn turn(&mut self) -> skybox::Result<()> {
        turn();
        Ok(())
    }

    /// Waits, and leaves the threads to others.
    pub(crate) async fn nap(&self, ms: u64) -> skybox::Result<()> {
        // Sleeps because that is its work: it waits in its cell while that is frozen.
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(())
    }

    pub(crate) fn turn_beside(&self) -> skybox::Result<()> {
        turn();
        Ok(())
    }
}

/// The same on a thread of its own.
#[skybox::task(isolate = "process", deadline = "300ms", cpu = 1)]
fn turn_alone() -> skybox::Result<()> {
    turn();
    Ok(())
}

/// The time on a core that this thread has had.
fn used_ms() -> u64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    used.tv_sec.unsigned_abs() * 1000 + used.tv_nsec.unsigned_abs() / 1_000_000
}

/// Lives in the node itself.
#[derive(Default)]
struct Steady;

#[skybox::module]
impl Steady {
    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    /// What the node and its cells say of a module.
    pub(crate) async fn look(&self, module: &str) -> skybox::Result<String> {
        let status = App::current()?.status_with_cells().await;
        let module = status.modules.into_iter().find(|status| status.module == module);
        Ok(serde_json::to_string(&module)?)
    }

    /// Calls the cell from its own node.
    pub(crate) async fn count(&self) -> skybox::Result<(u32, u64)> {
        App::current()?.get::<Victim>().count().await
    }
}

async fn start() -> RunningNodes {
    let here = ["node-1"];
    let nodes = Nodes::of_this_test(1).pin("victim", &here).pin("steady", &here).pin("hungry", &here);
    let nodes = nodes.pin("endless", &here).pin("turn_alone", &here);
    let nodes = nodes.env("SKYBOX_MODULES__TURN_ALONE__OVERRUN", "200ms");
    nodes.start(|builder| builder).await
}

/// What the node of the cells says of a module.
async fn look(nodes: &RunningNodes, module: &str) -> serde_json::Value {
    let text = nodes.app().get::<Steady>().look(module).await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_lives_in_a_process_of_its_own() {
    let nodes = start().await;
    let (victim, steady) = (nodes.app().get::<Victim>(), nodes.app().get::<Steady>());
    let (pid, first) = victim.count().await.unwrap();
    let node = steady.pid().await.unwrap();
    assert!(pid != node && pid != std::process::id(), "{pid} {node}");
    assert_eq!(first, 1);
    assert_eq!(steady.count().await.unwrap(), (pid, 2));
    assert_eq!(victim.count().await.unwrap(), (pid, 3));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_the_process_ends_the_cell_alone() {
    let nodes = start().await;
    let (victim, steady) = (nodes.app().get::<Victim>(), nodes.app().get::<Steady>());
    let node = steady.pid().await.unwrap();
    let (mut before, _) = victim.count().await.unwrap();
    for (how, said) in [
        ("abort", "called abort; it said last: dying by abort"),
        ("exit", "exit code 0"),
        ("code", "exit code 7"),
        ("null", "SIGSEGV"),
        ("stack", "overflowed its stack"),
        ("kill", "SIGKILL"),
    ] {
        let error = victim.die(how).await.unwrap_err();
        let error = error.call_error().unwrap();
        let CallErrorKind::Lost { why } = error.kind() else { panic!("{how}: {error}") };
        assert!(why.contains(said), "{how}: {why}");
        assert_eq!(error.ran(), Ran::Maybe);
        let (after, calls) = victim.count().await.unwrap();
        assert!(after != before && calls == 1, "{how}");
        assert_eq!(steady.pid().await.unwrap(), node);
        before = after;
    }
    let status = look(&nodes, "victim").await;
    let reasons: Vec<_> = status["endings"].as_array().unwrap().iter().map(|end| &end["reason"]).collect();
    assert_eq!(reasons, ["aborted", "exited", "exited", "signalled", "stack-overflow", "signalled"]);
    assert_eq!(status["instances"][0]["cell"]["pid"], before);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_the_cells_own_matter() {
    let nodes = start().await;
    let victim = nodes.app().get::<Victim>();
    let (pid, _) = victim.count().await.unwrap();
    let error = victim.die("panic").await.unwrap_err();
    assert!(matches!(error.call_error().unwrap().kind(), CallErrorKind::Crashed { .. }), "{error}");
    assert_eq!(victim.count().await.unwrap(), (pid, 1));
    // Its node remembers.
    let status = look(&nodes, "victim").await;
    assert_eq!(status["endings"][0]["reason"], "crashed");
    assert_eq!(status["endings"][0]["message"], "as told");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_gets_no_more_memory_than_it_may_have() {
    let nodes = start().await;
    let hungry = nodes.app().get::<Hungry>();
    assert_eq!(hungry.eat(1).await.unwrap(), 1);
    let error = hungry.eat(200).await.unwrap_err();
    let CallErrorKind::Lost { why } = error.call_error().unwrap().kind() else { panic!("{error}") };
    assert_eq!(why.split(';').next(), Some("its cell wanted more memory than 64 MiB"));
    assert_eq!(hungry.eat(1).await.unwrap(), 1);
    let status = look(&nodes, "hungry").await;
    assert_eq!(status["endings"][0]["reason"], "out-of-memory");
    let cell = &status["instances"][0]["cell"];
    assert_eq!(cell["memory_bytes"], 64 << 20);
    assert!(["cgroup-v1", "cgroup-v2", "rlimit"].contains(&cell["memory_by"].as_str().unwrap()), "{cell}");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_gets_no_more_of_a_core_than_it_may_have() {
    let nodes = start().await;
    let took_ms = nodes.app().get::<Hungry>().work(200).await.unwrap();
    let status = look(&nodes, "hungry").await;
    let cell = &status["instances"][0]["cell"];
    assert_eq!(cell["cpu_milli"], 200);
    // Twenty of each hundred milliseconds: what a busy machine adds makes it longer still.
    if cell["cpu_by"] != "nobody" {
        assert!(took_ms >= 600, "200 ms of work took {took_ms} ms");
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_cell_gets_all_of_a_core_that_it_may_have() {
    let nodes = start().await;
    let hungry = nodes.app().get::<Hungry>();
    hungry.work(1).await.unwrap();
    let cell = look(&nodes, "hungry").await["instances"][0]["cell"].take();
    if cell["cpu_by"] != "nobody" {
        let node = nodes.app().get::<Steady>().pid().await.unwrap();
        let group = cpu_group_of(node, cell["pid"].as_u64().unwrap());
        assert_eq!(cpu_quota_of(&group), (20_000, 100_000), "microseconds in each period");
        // How much of a busy machine it gets is up to that. But where the kernel stops it, it has had all that it may.
        let stopped = async {
            while times_stopped(&group) == 0 {
                hungry.work(50).await.unwrap();
            }
        };
        let stopped = tokio::time::timeout(Duration::from_secs(60), stopped).await;
        stopped.expect("more than it may have is what it asks for");
    }
    nodes.stop().await;
}

/// The group that bounds the cores of a cell of this node.
fn cpu_group_of(node: u32, cell: u64) -> PathBuf {
    let is_in = |group: &PathBuf| {
        let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        processes.lines().any(|pid| pid.parse() == Ok(cell))
    };
    let bounds = |group: &PathBuf| group.join("cpu.max").exists() || group.join("cpu.cfs_quota_us").exists();
    groups_of(node).into_iter().find(|group| is_in(group) && bounds(group)).expect("it has one")
}

/// How many microseconds of a core a group may have in each period of how many, as the kernel has it.
fn cpu_quota_of(group: &Path) -> (u64, u64) {
    let read = |file: &str| std::fs::read_to_string(group.join(file));
    let both = read("cpu.max").or_else(|_| {
        let (quota, period) = (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?);
        std::io::Result::Ok(format!("{quota} {period}"))
    });
    let both = both.unwrap();
    let mut both = both.split_whitespace().map(|number| number.parse().unwrap());
    (both.next().unwrap(), both.next().unwrap())
}

/// In how many periods the kernel has stopped a group, which had used up what it may have.
fn times_stopped(group: &Path) -> u64 {
    let counts = std::fs::read_to_string(group.join("cpu.stat")).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_ends_ends_its_cell() {
    let nodes = start().await;
    let endless = nodes.app().get::<Endless>();
    let soon = || CallOptions::new().deadline(Duration::from_millis(300));
    let mut before = endless.pid().await.unwrap();
    for _ in 0..2 {
        let error = endless.with(soon()).turn().await.unwrap_err();
        let kind = error.call_error().unwrap().kind().clone();
        assert!(matches!(kind, CallErrorKind::Deadline { .. }), "{kind:?}");
        let mut after = before;
        while after == before {
            // A call that waits behind it is lost with the cell.
            after = endless.pid().await.unwrap_or(before);
        }
        before = after;
    }
    let error = endless.with(soon()).turn_beside().await.unwrap_err();
    assert!(matches!(error.call_error().unwrap().kind(), CallErrorKind::Deadline { .. }), "{error}");
    let endings = async |module: &str| {
        let mut endings = look(&nodes, module).await["endings"].take();
        let endings = endings.as_array_mut().map(std::mem::take).unwrap_or_default();
        endings.into_iter().map(|end| end["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let ended = async |module: &str, times: usize| {
        let all = async {
            while endings(module).await.len() < times {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("its cells are killed");
    };
    ended("endless", 3).await;
    assert_eq!(endings("endless").await, ["overran", "overran", "overran"]);
    // One that was answered in time, and whose thread goes on.
    let alone = turn_alone().await.unwrap_err();
    assert!(matches!(alone.call_error().unwrap().kind(), CallErrorKind::Deadline { .. }), "{alone}");
    ended("turn_alone", 1).await;
    assert_eq!(endings("turn_alone").await, ["overran"]);
    nodes.stop().await;
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_all_processes_to_end_does_not_end_the_cells() {
    use rustix::process::Signal;
    let nodes = start().await;
    let victim = nodes.app().get::<Victim>();
    let (pid, _) = victim.count().await.unwrap();
    for one in [Signal::TERM, Signal::INT, Signal::HUP] {
        signal(pid, one);
    }
    // A process that is to end answers a call or two before it does.
    for calls in 2..500 {
        assert_eq!(victim.count().await.unwrap(), (pid, calls));
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_was_frozen_with_its_node_lives_on() {
    use rustix::process::Signal;
    let nodes = start().await;
    let endless = nodes.app().get::<Endless>();
    let (pid, node) = (endless.pid().await.unwrap(), nodes.app().get::<Steady>().pid().await.unwrap());
    let within = |ms| CallOptions::new().deadline(Duration::from_millis(ms));
    let napping = endless.with(within(300));
    let napping = async { napping.nap(60_000).await };
    let freezing = async {
        // It is answered after the nap has begun.
        endless.pid().await.unwrap();
        [node, pid].into_iter().for_each(|pid| signal(pid, Signal::STOP));
        // A signal takes a moment. Then nobody answers until far more has passed than a call may overrun.
        let error = loop {
            if let Err(error) = endless.with(within(1_000)).pid().await {
                break error;
            }
        };
        assert!(matches!(error.call_error().unwrap().kind(), CallErrorKind::Deadline { .. }), "{error}");
        // The node first: it is the one that looks at the clock.
        [node, pid].into_iter().for_each(|pid| signal(pid, Signal::CONT));
    };
    let (napped, ()) = tokio::join!(napping, freezing);
    let error = napped.unwrap_err();
    assert!(matches!(error.call_error().unwrap().kind(), CallErrorKind::Deadline { .. }), "{error}");
    for _ in 0..200 {
        assert_eq!(endless.pid().await.unwrap(), pid, "it has done nothing that it should not");
    }
    nodes.stop().await;
}

/// The groups that nodes have made, by the number of the node's process in their names.
fn groups_of(pid: u32) -> Vec<PathBuf> {
    let mine = format!("skybox-{pid}-");
    let mut found = Vec::new();
    let mut look_in = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = look_in.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let is_mine = entry.file_name().to_string_lossy().starts_with(&mine);
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true if is_mine => found.push(entry.path()),
                true => look_in.push(entry.path()),
                false => {}
            }
        }
    }
    found
}

/// The processes that have this one as their parent, and what state they are in.
fn children_of(pid: u32) -> Vec<String> {
    let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(stat);
    // `number (name) state parent …`.
    let is_child = |stat: &String| {
        let behind = stat.rsplit(')').next().unwrap_or_default();
        behind.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) == Some(pid)
    };
    processes.filter(is_child).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_leave_nothing_behind() {
    let nodes = start().await;
    let (victim, hungry) = (nodes.app().get::<Victim>(), nodes.app().get::<Hungry>());
    let node = nodes.app().get::<Steady>().pid().await.unwrap();
    let open = || std::fs::read_dir(format!("/proc/{node}/fd")).unwrap().count();
    victim.count().await.unwrap();
    hungry.eat(1).await.unwrap();
    let before = (open(), children_of(node).len(), groups_of(node).len());
    for _ in 0..10 {
        victim.die("abort").await.unwrap_err();
        victim.count().await.unwrap();
    }
    hungry.eat(200).await.unwrap_err();
    hungry.eat(1).await.unwrap();
    // A group goes a moment after its last process, and so do the ends of pipes.
    let mut after = (open(), children_of(node).len(), groups_of(node).len());
    let since = Instant::now();
    while after != before && since.elapsed() < Duration::from_secs(30) {
        tokio::task::yield_now().await;
        after = (open(), children_of(node).len(), groups_of(node).len());
    }
    assert_eq!(after, before, "descriptors, children and groups of the node");
    // The kernel ends the cells of a node that is killed.
    let (pid, _) = victim.count().await.unwrap();
    nodes.kill("node-1").await;
    // Whoever inherits what is left of it may take its time.
    let is_gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_none_or(|behind| behind.is_empty() || behind.starts_with(" Z"))
    };
    while !is_gone() && since.elapsed() < Duration::from_secs(60) {
        tokio::task::yield_now().await;
    }
    assert!(is_gone(), "the cell outlives its node");
    nodes.stop().await;
}
