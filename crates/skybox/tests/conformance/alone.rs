//! Calls outside of every App, and beside several: what no mode has.

use std::process::Command;

use skybox::cloud::testing::Nodes;
use skybox::{App, CallErrorKind, CallOptions, Handle, Ran, Spawned};

use crate::ledger::Ledger;
use crate::modules::{Climber, Register, Tour, book, lookup, traced, work};
use crate::stage::{LATER, PATIENCE, fails};

/// A small module without needs.
#[derive(Default)]
struct Counter {
    count: u32,
}

#[skybox::module]
impl Counter {
    pub async fn add(&mut self, n: u32) -> skybox::Result<u32> {
        self.count += n;
        Ok(self.count)
    }

    pub async fn fail(&self) -> skybox::Result<()> {
        panic!("boom")
    }
}

#[tokio::test]
async fn a_handle_of_a_value_needs_no_app() {
    let counter = Handle::of(Counter { count: 1 });
    assert_eq!(counter.add(2).await.unwrap(), 3);
    let error = counter.fail().await.unwrap_err();
    assert!(
        matches!(error.call_error().map(|error| error.kind()), Some(CallErrorKind::Crashed { .. })),
        "{error:?}"
    );
    assert_eq!(counter.add(1).await.unwrap(), 4, "a panic leaves the value as it is");
}

#[tokio::test]
async fn between_two_apps_a_task_asks_for_one() {
    let start = || App::builder().aside().provide(Ledger::default()).start();
    let (one, two) = (start().await.unwrap(), start().await.unwrap());
    let error = work(true).await.unwrap_err();
    assert!(error.to_string().contains("several Apps") && error.to_string().contains("app.enter"), "{error}");
    for app in [&one, &two] {
        assert!(app.enter(work(true)).await.is_err(), "made outside, it belongs to none");
        assert!(app.enter(async { work(true).await }).await.is_ok());
    }
    one.shutdown().await;
    two.shutdown().await;
}

#[test]
fn where_there_is_no_node_a_call_is_unplaced() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let nodes = Nodes::of_this_test(0).start(|builder| builder.provide(Ledger::default())).await;
        let error = nodes.app().get::<Counter>().add(1).await.unwrap_err();
        let error = error.call_error().expect("the call itself fails");
        assert_eq!((error.kind().name(), error.ran()), ("unplaced", Ran::No), "{error:?}");
        nodes.stop().await;
    });
}

/// What keeps a link is a task, which the runtime counts.
#[tokio::test]
async fn links_leave_nothing_behind() {
    let app = App::builder().aside().provide(Ledger::default()).start().await.unwrap();
    let climber = async |name: &str| app.spawn::<Climber>(Tour::of(name)).await.unwrap();
    let guide: Spawned<Climber> = climber("guide").await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for round in 0..2_000 {
        let ada: Spawned<Climber> = climber("ada").await;
        match round % 4 {
            0 => Handle::link(&guide, &ada).await.unwrap(),
            // Said again, it is one.
            1 => {
                Handle::link(&guide, &ada).await.unwrap();
                Handle::link(&ada, &guide).await.unwrap();
            }
            2 => {
                drop(Handle::link_trapping(&guide, &ada).await.unwrap());
                fails(ada.fall().await, "crashed", Ran::Yes);
            }
            _ => {
                Handle::link(&guide, &ada).await.unwrap();
                Handle::unlink(&guide, &ada).await.unwrap();
                assert!(Handle::kill(&ada).await.is_ok());
            }
        }
    }
    let gone = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, gone).await;
    assert!(waited.is_ok(), "{} tasks were there, and {} are left", before, tasks());
    assert_eq!(guide.name().await.unwrap(), "guide");
    app.shutdown().await;
}

/// Nobody is waited for who cannot come any more.
#[test]
fn a_handle_that_outlives_the_app_of_several_nodes_finds_its_instance_gone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let nodes = Nodes::of_this_test(1).start(|builder| builder.provide(Ledger::default())).await;
        let (counter, register) = (nodes.app().get::<Counter>(), nodes.app().at::<Register>("ada"));
        assert_eq!((counter.add(1).await.unwrap(), register.name().await.unwrap()), (1, "ada".to_owned()));
        nodes.stop().await;
        let brief = CallOptions::new().deadline(LATER);
        for outcome in [counter.with(brief).add(1).await.map(drop), register.with(brief).enter(1).await] {
            fails(outcome, "gone", Ran::No);
        }
    });
}

/// In a process of its own, where no other test has an App.
#[test]
fn without_an_app_a_task_is_a_plain_function() {
    const ALONE: &str = "SKYBOX_CONFORMANCE_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = std::thread::current().name().filter(|name| *name != "main").map(str::to_owned);
        let name = name.unwrap_or_else(|| "alone::without_an_app_a_task_is_a_plain_function".to_owned());
        let test = std::env::current_exe().expect("a test's own binary is known");
        let output = Command::new(test)
            .args([name.as_str(), "--exact"])
            .env(ALONE, "1")
            .output()
            .expect("it starts again");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime on this thread");
    runtime.block_on(async {
        let names = ["ada".to_owned()];
        assert_eq!(lookup(&names, 0).await.unwrap(), "ada");
        assert_eq!(book("four").await.unwrap(), 4);
        assert_eq!(traced().await.unwrap(), None);
    });
    let panicked = std::panic::catch_unwind(|| runtime.block_on(work(false)));
    assert!(panicked.is_err(), "it panics as any function does");
}
