//! Cells of keyed modules, and cells that do not start.

use std::time::Duration;

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind};
use skybox_node::{Restarted, Right};

/// One process for each key.
struct Own {
    key: String,
    count: u64,
}

#[skybox::module(keyed, isolate = "process", idle = "50ms")]
impl Own {
    fn start(_: &App, key: &str) -> skybox::Result<Own> {
        Ok(Own { key: key.to_owned(), count: 0 })
    }

    pub(crate) async fn add(&mut self) -> skybox::Result<(u32, u64)> {
        self.count += 1;
        Ok((std::process::id(), self.count))
    }

    pub(crate) async fn abort(&self) -> skybox::Result<()> {
        eprintln!("{} goes", self.key);
        std::process::abort()
    }
}

/// One process for all keys of a node.
struct Together {
    count: u64,
}

#[skybox::module(keyed, isolate = "process:shared", idle = "1h")]
impl Together {
    fn start(_: &App, key: &u32) -> skybox::Result<Together> {
        if *key == 13 { Err(skybox::Error::msg("unlucky")) } else { Ok(Together { count: 0 }) }
    }

    pub(crate) async fn add(&mut self) -> skybox::Result<(u32, u64)> {
        self.count += 1;
        Ok((std::process::id(), self.count))
    }

    /// As [`add`](Together::add), to another key.
    pub(crate) async fn add_at(&self, other: u32) -> skybox::Result<(u32, u64)> {
        App::current()?.at::<Together>(&other).add().await
    }

    pub(crate) async fn abort(&self) -> skybox::Result<()> {
        std::process::abort()
    }
}

/// One process for each key, which calls others.
struct Paired {
    count: u64,
}

#[skybox::module(keyed, isolate = "process", idle = "1h")]
impl Paired {
    fn start(_: &App, _: &str) -> Paired {
        Paired { count: 0 }
    }

    pub(crate) async fn add(&mut self) -> skybox::Result<(u32, u64)> {
        self.count += 1;
        Ok((std::process::id(), self.count))
    }

    pub(crate) async fn add_at(&self, other: &str) -> skybox::Result<(u32, u64)> {
        App::current()?.at::<Paired>(other).add().await
    }
}

/// Does not start.
struct Stillborn;

#[skybox::module(isolate = "process", max_restarts = 1)]
impl Stillborn {
    fn start(_: &App) -> skybox::Result<Stillborn> {
        Err(skybox::Error::msg("no colour"))
    }

    pub(crate) async fn call(&self) -> skybox::Result<()> {
        Ok(())
    }
}

/// Takes its cell down whenever it starts.
struct Bomb;

#[skybox::module(isolate = "process", max_restarts = 1)]
impl Bomb {
    fn start(_: &App) -> skybox::Result<Bomb> {
        eprintln!("tick");
        std::process::abort()
    }

    pub(crate) async fn call(&self) -> skybox::Result<()> {
        Ok(())
    }
}

/// Its cells end before they come to `start()`.
#[derive(Default)]
struct Unmain;

#[skybox::module(isolate = "process", max_restarts = 1)]
impl Unmain {
    pub(crate) async fn call(&self) -> skybox::Result<()> {
        Ok(())
    }
}

/// Its first cell does not come to the end of its start.
struct Hanging;

#[skybox::module(isolate = "process")]
impl Hanging {
    async fn start(_: &App) -> skybox::Result<Hanging> {
        if std::env::var("SKYBOX_CELL")?.contains("/hanging.1\"") {
            std::future::pending::<()>().await;
        }
        Ok(Hanging)
    }

    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }
}

async fn start(nodes: &[&str]) -> RunningNodes {
    if std::env::var("SKYBOX_CELL").is_ok_and(|cell| cell.contains("unmain")) {
        std::process::exit(3);
    }
    let nodes_ = Nodes::of_this_test(nodes.len() as u32);
    let modules = ["own", "together", "paired", "stillborn", "bomb", "unmain"];
    modules
        .iter()
        .fold(nodes_, |nodes_, module| nodes_.pin(module, &nodes[..1]))
        .start(|builder| builder)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_a_cell_and_only_its_own_ends() {
    let nodes = start(&["node-1"]).await;
    let (ada, bob) = (nodes.app().at::<Own>("ada"), nodes.app().at::<Own>("bob"));
    let (of_ada, one) = ada.add().await.unwrap();
    let (of_bob, _) = bob.add().await.unwrap();
    assert!(of_ada != of_bob && one == 1);
    let error = ada.abort().await.unwrap_err();
    let CallErrorKind::Lost { why } = error.call_error().unwrap().kind() else { panic!("{error}") };
    assert!(why.contains("ada goes"), "{why}");
    let (successor, first) = ada.add().await.unwrap();
    assert!(successor != of_ada && first == 1);
    // Nobody calls: they go to sleep, and their processes end.
    let lives = |pid: u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let asleep = async {
        while lives(successor) || lives(of_bob) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), asleep).await.expect("they go to sleep");
    assert_eq!(bob.add().await.unwrap().1, 1, "its memory went with it");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_share_a_cell_and_its_end() {
    let nodes = start(&["node-1"]).await;
    let at = |key: u32| nodes.app().at::<Together>(&key);
    let (pid, _) = at(1).add().await.unwrap();
    assert_eq!(at(2).add().await.unwrap(), (pid, 1));
    assert_eq!(at(1).add().await.unwrap(), (pid, 2));
    let error = at(13).add().await.unwrap_err();
    let CallErrorKind::NotStarted { cause } = error.call_error().unwrap().kind() else { panic!("{error}") };
    assert_eq!(cause, "unlucky");
    at(1).abort().await.unwrap_err();
    let (successor, first) = at(2).add().await.unwrap();
    assert!(successor != pid && first == 1);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_leave_a_shared_cell_one_by_one() {
    let nodes = start(&["node-1", "node-2"]).await;
    let at = |key: u32| nodes.app().at::<Together>(&key);
    let mut before = Vec::new();
    for key in 0..32 {
        if key != 13 {
            before.push((key, at(key).add().await.unwrap().0));
        }
    }
    nodes.move_to("together", &["node-1", "node-2"]).await;
    let (mut stayed, mut moved) = (0, 0);
    for (key, pid) in before {
        let (after, count) = at(key).add().await.unwrap();
        match after == pid {
            true => stayed += u32::from(count == 2),
            false => moved += u32::from(count == 1),
        }
    }
    assert!(stayed > 0 && moved > 0 && stayed + moved == 31, "{stayed} stayed and {moved} moved");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_calls_another_finds_the_only_one() {
    let nodes = start(&["node-1"]).await;
    let (ada, bob) = (nodes.app().at::<Paired>("ada"), nodes.app().at::<Paired>("bob"));
    let (of_bob, one) = bob.add().await.unwrap();
    assert_eq!((one, ada.add_at("bob").await.unwrap()), (1, (of_bob, 2)));
    let (of_eve, one) = ada.add_at("eve").await.unwrap();
    let eve = nodes.app().at::<Paired>("eve");
    assert_eq!((one, eve.add().await.unwrap()), (1, (of_eve, 2)), "also if it was asleep");
    assert_ne!(of_bob, of_eve);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_shared_cells_call_those_of_other_nodes() {
    let nodes = start(&["node-1", "node-2"]).await;
    let at = |key: u32| nodes.app().at::<Together>(&key);
    nodes.move_to("together", &["node-1", "node-2"]).await;
    let mut processes = std::collections::BTreeSet::new();
    for key in (1..32).filter(|key| *key != 13) {
        let (process, one) = at(0).add_at(key).await.unwrap();
        assert_eq!((one, at(key).add().await.unwrap()), (1, (process, 2)), "key {key} has one instance");
        processes.insert(process);
    }
    assert_eq!(processes.len(), 2, "each node has some of them");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_hangs_is_restarted() {
    // Operators come over TLS here.
    let nodes = Nodes::of_this_test(1).tls().pin("hanging", &["node-1"]);
    let nodes = nodes.env("SKYBOX_MODULES__HANGING__START_WAIT", "1h").start(|builder| builder).await;
    let hanging = nodes.app().get::<Hanging>();
    let operator = nodes.operator("node-1", Right::Admin).await;
    let restarting = async {
        let restarted = operator.restart("hanging", None).await.unwrap();
        assert!(matches!(restarted, Restarted::Started { .. }), "{restarted:?}");
    };
    let both = async { tokio::join!(hanging.pid(), restarting) };
    let (pid, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("the next one starts");
    assert_eq!(hanging.pid().await.unwrap(), pid.unwrap());
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_start_in_a_cell_says_why() {
    let nodes = start(&["node-1"]).await;
    let cause_of = |error: skybox::Error| match error.call_error().unwrap().kind() {
        CallErrorKind::NotStarted { cause } => cause.clone(),
        _ => panic!("{error}"),
    };
    let cause = cause_of(nodes.app().get::<Stillborn>().call().await.unwrap_err());
    assert_eq!(cause, "no colour");
    let cause = cause_of(nodes.app().get::<Bomb>().call().await.unwrap_err());
    assert_eq!(cause, "its cell called abort; it said last: tick");
    let cause = cause_of(nodes.app().get::<Unmain>().call().await.unwrap_err());
    assert_eq!(cause, "its cell ended itself with exit code 3");
    nodes.stop().await;
}
