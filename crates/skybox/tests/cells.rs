//! Modules that live in cells: what ends the process ends that cell alone, and nothing is left behind.

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind, Ran};

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
            "stack" => {
                let deep = std::thread::spawn(|| overflow(1));
                drop(deep.join());
            }
            "kill" => kill_self(),
            _ => {}
        }
        Ok(())
    }
}

/// What no program should do.
fn null_dereference() {
    // SAFETY: none; this is what the cell is for.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }
}

#[expect(unconditional_recursion, reason = "this is what uses up a stack")]
fn overflow(n: u64) -> u64 {
    std::hint::black_box(n + overflow(std::hint::black_box(n)))
}

fn kill_self() {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    // It is not to return before it is dead.
    std::thread::park();
}

/// Lives in the node itself.
#[derive(Default)]
struct Steady;

#[skybox::module]
impl Steady {
    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    /// Calls the cell from its own node.
    pub(crate) async fn count(&self) -> skybox::Result<(u32, u64)> {
        App::current()?.get::<Victim>().count().await
    }
}

async fn start() -> RunningNodes {
    let nodes = Nodes::of_this_test(1).pin("victim", &["node-1"]).pin("steady", &["node-1"]);
    nodes.start(|builder| builder).await
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
    nodes.stop().await;
}
