//! Cells on a machine without control groups: resource limits of the process take their place, and `cpu` is said to be
//! nobody's. The test takes the groups away from itself, in a mount namespace of its own.

use std::process::Command;

use skybox::cloud::testing::Nodes;
use skybox::{App, CallErrorKind};

/// Set in the process that sees no groups, and in its nodes.
const UNGROUPED: &str = "SKYBOX_TEST_UNGROUPED";

/// The one test that is here.
const TEST: &str = "without_groups_the_process_limits_itself";

/// Wants more than it may have.
#[derive(Default)]
struct Hungry;

#[skybox::module(isolate = "process", memory = "256MiB", cpu = 0.2)]
impl Hungry {
    pub(crate) async fn eat(&self, mib: usize) -> skybox::Result<usize> {
        let mut eaten = Vec::new();
        for _ in 0..mib {
            eaten.push(std::hint::black_box(vec![1u8; 1 << 20]));
        }
        Ok(eaten.len())
    }
}

/// Lives in the node itself.
#[derive(Default)]
struct Steady;

#[skybox::module]
impl Steady {
    /// What the node and its cells say of a module.
    pub(crate) async fn look(&self, module: &str) -> skybox::Result<String> {
        let status = App::current()?.status_with_cells().await;
        let module = status.modules.into_iter().find(|status| status.module == module);
        Ok(serde_json::to_string(&module)?)
    }
}

/// Runs this test once more, where nothing is mounted on the place of the groups. Who is not root is so in a user
/// namespace: there the place cannot be emptied, but covered.
fn again_without_groups() {
    let root = rustix::process::geteuid().is_root();
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    if !root {
        unshare.args(["--user", "--map-root-user"]);
    }
    let take = if root {
        "! mountpoint -q /sys/fs/cgroup || umount --recursive /sys/fs/cgroup"
    } else {
        "mount -t tmpfs -o ro none /sys/fs/cgroup"
    };
    let script = format!("{{ {take}; }} && exec \"$0\" --exact {TEST} --nocapture");
    let program = std::env::current_exe().unwrap();
    let run = unshare.args(["sh", "-c", &script]).arg(program).env(UNGROUPED, "1").output();
    let run = run.expect("util-linux has `unshare`");
    let said = String::from_utf8_lossy(&run.stdout);
    let complained = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn without_groups_the_process_limits_itself() {
    if std::env::var_os(UNGROUPED).is_none() {
        return again_without_groups();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(limits());
}

async fn limits() {
    let nodes = Nodes::of_test(TEST, 1).pin("hungry", &["node-1"]).pin("steady", &["node-1"]);
    let nodes = nodes.start(|builder| builder).await;
    let hungry = nodes.app().get::<Hungry>();
    assert_eq!(hungry.eat(1).await.unwrap(), 1);
    let status = nodes.app().get::<Steady>().look("hungry").await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let cell = &status["instances"][0]["cell"];
    assert_eq!(
        (&cell["memory_bytes"], &cell["memory_by"]),
        (&(256 << 20).into(), &"rlimit".into()),
        "{cell}"
    );
    assert_eq!((&cell["cpu_milli"], &cell["cpu_by"]), (&200.into(), &"nobody".into()), "{cell}");
    let error = hungry.eat(500).await.unwrap_err();
    let CallErrorKind::Lost { why } = error.call_error().unwrap().kind() else { panic!("{error}") };
    assert_eq!(why.split(';').next(), Some("its cell wanted more memory than 256 MiB"));
    assert_eq!(hungry.eat(1).await.unwrap(), 1);
    let ended = nodes.app().get::<Steady>().look("hungry").await.unwrap();
    let ended: serde_json::Value = serde_json::from_str(&ended).unwrap();
    assert_eq!(ended["endings"][0]["reason"], "out-of-memory", "{ended}");
    nodes.stop().await;
}
