//! Many rounds of a crash and a restart leave nothing behind; and what fails now and then stays up for the rest.
//!
//! The suite has some rounds. `SKYBOX_TEST_ROUNDS=100000 SKYBOX_TEST_CELL_ROUNDS=1000 cargo nextest run -p skybox --test
//! rounds --no-capture` has as many as it says, and prints what a node has before and after them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{CallErrorKind, Error};

const TASK_ROUNDS: u32 = 2_000;
const CELL_ROUNDS: u32 = 30;
/// An hour of 100 calls a second; the suite has a minute.
const HOUR: u32 = 3_600 * 100;
const MINUTE: u32 = 60 * 100;
/// Rounds after which everything has been made that stays.
const WARM: u32 = 8;
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
    pub(crate) async fn rounds(&self, cells: bool, count: u32) -> skybox::Result<(Holdings, Holdings)> {
        let round = async || {
            let failed = if cells { mortal(true).await } else { fragile(true).await };
            let kind = kind(&failed.expect_err("it ends"));
            let is_right = match kind {
                CallErrorKind::Crashed { .. } => !cells,
                CallErrorKind::Lost { .. } => cells,
                _ => false,
            };
            assert!(is_right, "{kind:?}");
            if cells { mortal(false).await } else { fragile(false).await }
        };
        for _ in 0..WARM {
            round().await?;
        }
        let before = settled(None).await;
        for _ in 0..count {
            round().await?;
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
        let is_settled = expected.map_or(same >= 10, |kept| last.kept == *kept);
        if is_settled || began.elapsed() > Duration::from_secs(30) {
            return last;
        }
        // Sleeps because nobody tells when the kernel has taken back what a process had.
        tokio::time::sleep(Duration::from_millis(20)).await;
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
    nodes.start(|builder| builder).await
}

async fn rounds(cells: bool, count: u32) {
    let nodes = start().await;
    let (before, after) = nodes.app().get::<Driver>().rounds(cells, count).await.unwrap();
    println!("{count} rounds, in cells: {cells}\nbefore {before:?}\nafter  {after:?}");
    assert_eq!(after.kept, before.kept);
    let grown = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(grown <= GROWN_KIB_MAX, "{grown} KiB more after {count} rounds");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_crash_leave_nothing_behind() {
    rounds(false, asked("SKYBOX_TEST_ROUNDS", TASK_ROUNDS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_that_end_leave_nothing_behind() {
    rounds(true, asked("SKYBOX_TEST_CELL_ROUNDS", CELL_ROUNDS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_panics_on_one_input_in_ten_stays_up_for_the_other_nine() {
    let nodes = start().await;
    let count = if std::env::var_os("SKYBOX_TEST_ROUNDS").is_some() { HOUR } else { MINUTE };
    let (answered, crashed) = nodes.app().get::<Driver>().calls(count).await.unwrap();
    assert_eq!((answered, crashed), (count / 10 * 9, count / 10));
    nodes.stop().await;
}
