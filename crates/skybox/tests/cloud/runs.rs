//! When which keyed instance has run where: all processes of a test write it to one file, by one clock.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};

/// Names the file in the processes of nodes.
pub const RUNS: &str = "SKYBOX_TEST_RUNS";

/// The file of this test.
pub fn file() -> PathBuf {
    std::env::temp_dir().join(format!("skybox-cloud-runs-{}", std::process::id()))
}

/// Now, in microseconds; the same clock in every process, and it goes on while one is stopped.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

/// A name for an instance that no other one has.
pub fn instance(node: &str) -> String {
    format!("{node}:{}", now_us())
}

/// A call of this instance runs.
pub fn note(instance: &str, user: &str) {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = std::env::var_os(RUNS)?;
        Some(OpenOptions::new().create(true).append(true).open(path).expect("the test's directory is there"))
    });
    if let Some(mut file) = file.as_ref() {
        // One write of a short line to the end is not torn.
        file.write_all(format!("{} {instance} {user}\n", now_us()).as_bytes()).expect("there is room");
    }
}

/// What has run so far: when and which instance, by key.
pub fn all() -> BTreeMap<String, Vec<(u64, String)>> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let mut runs = BTreeMap::<_, Vec<_>>::new();
    for line in text.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let [at, instance, user] = fields[..] else { panic!("no run: {line}") };
        runs.entry(user.to_owned()).or_default().push((at.parse().expect("a time"), instance.to_owned()));
    }
    runs.values_mut().for_each(|runs| runs.sort());
    runs
}

/// Checks that no instance of a key has run once another one had; says how often a key has passed from node to node.
pub fn each_key_has_one_instance_after_the_other() -> usize {
    let mut moved = 0;
    for (user, runs) in all() {
        let mut instances: Vec<_> = runs.iter().map(|(_, instance)| instance.as_str()).collect();
        instances.dedup();
        let mut distinct = instances.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), instances.len(), "{user} ran in turns in {instances:?}: {runs:?}");
        let mut nodes: Vec<_> = instances.iter().map(|instance| node_of(instance)).collect();
        nodes.dedup();
        moved += nodes.len() - 1;
    }
    moved
}

/// The node of an instance.
pub fn node_of(instance: &str) -> &str {
    instance.split_once(':').map_or(instance, |(node, _)| node)
}
