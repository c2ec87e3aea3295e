//! Many rounds of a crash and a restart leave nothing behind; and what fails now and then stays up for the rest.
//!
//! The suite has some rounds. `SKYBOX_TEST_ROUNDS=100000 SKYBOX_TEST_CELL_ROUNDS=1000 cargo nextest run -p skybox --test
//! rounds --no-capture` has as many as it says, and prints what a node has before and after them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind, Error, Exit, Handle, Spawned};

const TASK_ROUNDS: u32 = 2_000;
const CELL_ROUNDS: u32 = 30;
/// An hour of 100 calls a second; the suite has a minute.
const HOUR: u32 = 3_600 * 100;
const MINUTE: u32 = 60 * 100;
/// Keys that are awake at once, each of which crashes in its turn.
const KEYS: u32 = 4;
/// Rounds after which everything has been made that stays.
const WARM: u32 = 8;
/// How often it is looked what a process has, and how often that is to be the same: a second, in which those who look
/// after a cell notice its end.
const LOOK: Duration = Duration::from_millis(20);
const SAME_LOOKS: u32 = 50;
/// How much larger a process may have become: an allocator keeps what it had at once. A hundred bytes of each of 100,000
/// rounds would be more.
const GROWN_KIB_MAX: u64 = 8 * 1024;

/// Panics where it is told to.
#[skybox::task]
async fn fragile(panics: bool) -> skybox::Result<u32> {
    assert!(!panics, "as told");
    Ok(std::process::id())
}

/// Ends its process.
#[skybox::task(isolate = "process", memory = "64MiB", cpu = 1, within = "1ms")]
async fn mortal(dies: bool) -> skybox::Result<u32> {
    if dies {
        std::process::abort();
    }
    Ok(std::process::id())
}

/// A key of it is started anew by the call after its crash.
struct Frail;

#[skybox::module(keyed, within = "1ms")]
impl Frail {
    fn start(_: &App, _: &str) -> Frail {
        Frail
    }

    pub(crate) async fn suffer(&mut self, ends: bool) -> skybox::Result<u32> {
        assert!(!ends, "as told");
        Ok(std::process::id())
    }
}

/// The same, and it takes its process along, in which its other keys are.
struct Brittle;

#[skybox::module(keyed, isolate = "process:shared", within = "1ms")]
impl Brittle {
    fn start(_: &App, _: &str) -> Brittle {
        Brittle
    }

    pub(crate) async fn suffer(&mut self, ends: bool) -> skybox::Result<u32> {
        if ends {
            std::process::abort();
        }
        Ok(std::process::id())
    }
}

/// Nobody starts it anew: code spawns another one.
struct Mayfly;

#[skybox::module(spawned)]
impl Mayfly {
    fn start(_: &App, _: ()) -> Mayfly {
        Mayfly
    }

    pub(crate) async fn suffer(&mut self) -> skybox::Result<u32> {
        panic!("as told")
    }
}

/// The same, in a process of its own.
struct Moth;

#[skybox::module(spawned, isolate = "process")]
impl Moth {
    fn start(_: &App, _: ()) -> Moth {
        Moth
    }

    pub(crate) async fn suffer(&mut self) -> skybox::Result<u32> {
        std::process::abort()
    }
}

/// What crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Subject {
    Task,
    TaskInCell,
    Key,
    KeyInSharedCell,
    Spawned,
    SpawnedInCell,
}

impl Subject {
    fn is_in_cell(self) -> bool {
        matches!(self, Subject::TaskInCell | Subject::KeyInSharedCell | Subject::SpawnedInCell)
    }

    /// Ends one, and has the next one answer.
    async fn round(self, number: u32) -> skybox::Result<()> {
        let app = App::current()?;
        let key = format!("key {}", number % KEYS);
        let ended = match self {
            Subject::Task => fragile(true).await,
            Subject::TaskInCell => mortal(true).await,
            Subject::Key => app.at::<Frail>(&key).suffer(true).await,
            Subject::KeyInSharedCell => app.at::<Brittle>(&key).suffer(true).await,
            Subject::Spawned => {
                let one = app.spawn::<Mayfly>(()).await?;
                let monitor = Handle::monitor(&Spawned::handle(&one));
                let ended = one.suffer().await;
                let exit = monitor.await;
                assert!(matches!(exit, Exit::Crashed { .. }), "{exit}");
                ended
            }
            Subject::SpawnedInCell => {
                let one = app.spawn::<Moth>(()).await?;
                let monitor = Handle::monitor(&Spawned::handle(&one));
                let ended = one.suffer().await;
                let exit = monitor.await;
                assert!(matches!(exit, Exit::Aborted { .. }), "{exit}");
                ended
            }
        };
        let kind = kind(&ended.expect_err("it ends"));
        let is_right = match kind {
            CallErrorKind::Crashed { .. } => !self.is_in_cell(),
            CallErrorKind::Lost { .. } => self.is_in_cell(),
            _ => false,
        };
        assert!(is_right, "{self:?}: {kind:?}");
        match self {
            Subject::Task => drop(fragile(false).await?),
            Subject::TaskInCell => drop(mortal(false).await?),
            Subject::Key => drop(app.at::<Frail>(&key).suffer(false).await?),
            Subject::KeyInSharedCell => drop(app.at::<Brittle>(&key).suffer(false).await?),
            Subject::Spawned | Subject::SpawnedInCell => {}
        }
        Ok(())
    }
}

/// What a node has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holdings {
    resident_kib: u64,
    kept: Kept,
}

/// What is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    descriptors: usize,
    tasks: usize,
    children: usize,
    groups: usize,
}

/// Does the rounds, in the node that the crashes are in.
#[derive(Default)]
struct Driver;

#[skybox::module]
impl Driver {
    /// What the node has before and after so many rounds.
    pub(crate) async fn rounds(&self, of: Subject, count: u32) -> skybox::Result<(Holdings, Holdings)> {
        for number in 0..WARM {
            of.round(number).await?;
        }
        let before = settled(None).await;
        for number in 0..count {
            of.round(number).await?;
        }
        Ok((before.clone(), settled(Some(&before.kept)).await))
    }

    /// So many calls, one in ten of which panics; how many were answered, and how many crashed.
    pub(crate) async fn calls(&self, count: u32) -> skybox::Result<(u32, u32)> {
        let (mut answered, mut crashed) = (0, 0);
        for number in 1..=count {
            match fragile(number % 10 == 0).await {
                Ok(_) => answered += 1,
                Err(error) if matches!(kind(&error), CallErrorKind::Crashed { .. }) => crashed += 1,
                Err(error) => return Err(error),
            }
        }
        Ok((answered, crashed))
    }
}

fn kind(error: &Error) -> CallErrorKind {
    error.call_error().unwrap_or_else(|| panic!("{error}")).kind().clone()
}

/// What this process has, once that is as expected, or without an expectation the same for a while: groups and descriptors
/// go a moment after the process that had them.
async fn settled(expected: Option<&Kept>) -> Holdings {
    let began = Instant::now();
    let (mut last, mut same) = (holdings(), 0);
    loop {
        let is_settled = expected.map_or(same >= SAME_LOOKS, |kept| last.kept == *kept);
        if is_settled || began.elapsed() > Duration::from_secs(30) {
            return last;
        }
        // Sleeps because nobody tells when the kernel has taken back what a process had.
        tokio::time::sleep(LOOK).await;
        let now = holdings();
        same = if now.kept == last.kept { same + 1 } else { 0 };
        last = now;
    }
}

fn holdings() -> Holdings {
    let own = std::process::id();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident_kib = resident.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    Holdings {
        resident_kib,
        kept: Kept {
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            children: children_of(own),
            groups: groups_of(own),
        },
    }
}

/// The processes that have this one as their parent, those that nobody has waited for among them.
fn children_of(pid: u32) -> usize {
    let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(stat);
    // `number (name) state parent …`.
    let parent = |stat: &String| {
        let behind = stat.rsplit(')').next().unwrap_or_default();
        behind.split_whitespace().nth(1).and_then(|parent| parent.parse().ok())
    };
    processes.filter(|stat| parent(stat) == Some(pid)).count()
}

/// The control groups that a node has made.
fn groups_of(pid: u32) -> usize {
    let mine = format!("skybox-{pid}-");
    let (mut count, mut look_in) = (0, vec![std::path::PathBuf::from("/sys/fs/cgroup")]);
    while let Some(directory) = look_in.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match entry.file_name().to_string_lossy().starts_with(&mine) {
                true => count += 1,
                false => look_in.push(entry.path()),
            }
        }
    }
    count
}

fn asked(variable: &str, usual: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn start() -> RunningNodes {
    if std::env::var_os("SKYBOX_PARENT").is_some() {
        // A line for each panic would be all that is measured.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let here = ["node-1"];
    let nodes = Nodes::of_this_test(1).pin("driver", &here).pin("fragile", &here).pin("mortal", &here);
    let nodes = nodes.pin("frail", &here).pin("brittle", &here);
    nodes.start(|builder| builder).await
}

async fn rounds(of: Subject) {
    let nodes = start().await;
    let count = match of.is_in_cell() {
        true => asked("SKYBOX_TEST_CELL_ROUNDS", CELL_ROUNDS),
        false => asked("SKYBOX_TEST_ROUNDS", TASK_ROUNDS),
    };
    let (before, after) = nodes.app().get::<Driver>().rounds(of, count).await.unwrap();
    println!("{count} rounds, {of:?}\nbefore {before:?}\nafter  {after:?}");
    assert_eq!(after.kept, before.kept);
    let grown = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(grown <= GROWN_KIB_MAX, "{grown} KiB more after {count} rounds");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_crash_leave_nothing_behind() {
    rounds(Subject::Task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_that_end_leave_nothing_behind() {
    rounds(Subject::TaskInCell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_crash_leave_nothing_behind() {
    rounds(Subject::Key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_of_several_keys_leave_nothing_behind() {
    rounds(Subject::KeyInSharedCell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spawned_instances_that_crash_leave_nothing_behind() {
    rounds(Subject::Spawned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_of_spawned_instances_leave_nothing_behind() {
    rounds(Subject::SpawnedInCell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_panics_on_one_input_in_ten_stays_up_for_the_other_nine() {
    let nodes = start().await;
    let count = if std::env::var_os("SKYBOX_TEST_ROUNDS").is_some() { HOUR } else { MINUTE };
    let (answered, crashed) = nodes.app().get::<Driver>().calls(count).await.unwrap();
    assert_eq!((answered, crashed), (count / 10 * 9, count / 10));
    nodes.stop().await;
}
