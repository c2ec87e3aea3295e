//! Links of spawned instances in cells, and those that code in cells makes.

use std::time::Duration;

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind, CallOptions, Error, Exit, Handle, Monitor, Result, Spawned, Spawns};

/// One process each.
struct Diver;

#[skybox::module(spawned, isolate = "process")]
impl Diver {
    /// Linked to who is on deck, if somebody is.
    async fn start(app: &App, deck: Option<Handle<Sailor>>) -> Result<Diver> {
        if let Some(deck) = deck {
            Handle::link(&app.this::<Diver>()?, &deck).await?;
        }
        Ok(Diver)
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }

    pub(crate) async fn drown(&self) -> Result<()> {
        panic!("glug")
    }

    /// Never ends, once it has given a sign that it is there.
    pub(crate) async fn turn(&self, sign: &str) -> Result<()> {
        std::fs::write(sign, "")?;
        loop {
            std::hint::black_box(());
        }
    }

    /// Traps, from its cell, the end of one that may be elsewhere.
    pub(crate) async fn watch_over(&self, sailor: Handle<Sailor>) -> Result<Exit> {
        let this = App::current()?.this::<Diver>()?;
        Ok(Handle::link_trapping(&this, &sailor).await?.await)
    }

    pub(crate) async fn let_go(&self, sailor: Handle<Sailor>) -> Result<()> {
        Ok(Handle::unlink(&sailor, &App::current()?.this::<Diver>()?).await?)
    }
}

/// One process for all of a node.
struct Rower;

#[skybox::module(spawned, isolate = "process:shared")]
impl Rower {
    fn start(_: &App, _: ()) -> Rower {
        Rower
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }

    pub(crate) async fn abort(&self) -> Result<()> {
        std::process::abort()
    }
}

/// Lives in the node.
struct Sailor;

#[skybox::module(spawned)]
impl Sailor {
    fn start(_: &App, _: ()) -> Sailor {
        Sailor
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }

    pub(crate) async fn slip(&self) -> Result<()> {
        panic!("splash")
    }
}

/// What is linked to a sailor in a `start` that goes on until there is a file of this name.
async fn train<T: Spawns>(app: &App, (sailor, until): (Handle<Sailor>, String)) -> Result<()> {
    Handle::link(&app.this::<T>()?, &sailor).await?;
    std::fs::write(format!("{until}-began"), "")?;
    while !std::path::Path::new(&until).exists() {
        // Sleeps because files tell nobody that they have come; each look is a condition.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Takes its time to start, in a process of its own.
struct Apprentice;

#[skybox::module(spawned, isolate = "process")]
impl Apprentice {
    async fn start(app: &App, with: (Handle<Sailor>, String)) -> Result<Apprentice> {
        train::<Apprentice>(app, with).await?;
        Ok(Apprentice)
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }
}

/// The same, in one process for all of a node.
struct Cadet;

#[skybox::module(spawned, isolate = "process:shared")]
impl Cadet {
    async fn start(app: &App, with: (Handle<Sailor>, String)) -> Result<Cadet> {
        train::<Cadet>(app, with).await?;
        Ok(Cadet)
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

async fn within<V>(what: &str, future: impl Future<Output = V>) -> V {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

async fn start() -> RunningNodes {
    Nodes::of_this_test(2).start(|builder| builder).await
}

async fn on<T: Spawns>(
    nodes: &RunningNodes,
    node: &str,
    with: <skybox::KeyOf<T> as ToOwned>::Owned,
) -> Spawned<T> {
    within("a spawn", async { nodes.app().spawn::<T>(with).on(node).await }).await.unwrap()
}

async fn told(end: Monitor) -> Exit {
    within("an end is told", end).await
}

/// How the one ended whose end came first.
#[track_caller]
fn cause(exit: Exit) -> Exit {
    let Exit::Linked { cause, .. } = exit else { panic!("it ended by itself: {exit}") };
    *cause
}

fn kind(error: Error) -> CallErrorKind {
    error.call_error().unwrap_or_else(|| panic!("{error}")).kind().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_is_killed_takes_those_along_that_it_is_linked_to() {
    let nodes = start().await;
    let diver = on::<Diver>(&nodes, "node-1", None).await;
    let (near, far) = (on::<Sailor>(&nodes, "node-1", ()).await, on::<Sailor>(&nodes, "node-2", ()).await);
    let rower = on::<Rower>(&nodes, "node-2", ()).await;
    for sailor in [&near, &far] {
        within("a link", Handle::link(&diver, sailor)).await.unwrap();
    }
    within("a link", Handle::link(&rower, &diver)).await.unwrap();
    let rowers = rower.pid().await.unwrap();
    let ends = [Handle::monitor(&near), Handle::monitor(&far), Handle::monitor(&rower)];
    let pid = i32::try_from(diver.pid().await.unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    for end in ends {
        let cause = cause(told(end).await);
        assert!(matches!(&cause, Exit::Signalled { signal, .. } if signal == "SIGKILL"), "{cause}");
    }
    // The cell that the last one shared goes on.
    assert_eq!(on::<Rower>(&nodes, "node-2", ()).await.pid().await.unwrap(), rowers);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_a_shared_cell_goes_over_the_links_of_each() {
    let nodes = start().await;
    let (one, two) = (on::<Rower>(&nodes, "node-1", ()).await, on::<Rower>(&nodes, "node-1", ()).await);
    let (ada, bob) = (on::<Sailor>(&nodes, "node-2", ()).await, on::<Sailor>(&nodes, "node-1", ()).await);
    within("a link", Handle::link(&one, &ada)).await.unwrap();
    within("a link", Handle::link(&bob, &two)).await.unwrap();
    let ends = [Handle::monitor(&ada), Handle::monitor(&bob)];
    assert!(matches!(kind(two.abort().await.unwrap_err()), CallErrorKind::Lost { .. }));
    for end in ends {
        assert!(matches!(cause(told(end).await), Exit::Aborted { .. }));
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_in_a_cell_goes_with_those_that_it_is_linked_to() {
    let nodes = start().await;
    let sailor = on::<Sailor>(&nodes, "node-2", ()).await;
    // By its own code, in its `start`.
    let diver = on::<Diver>(&nodes, "node-1", Some(Spawned::handle(&sailor))).await;
    // What never waits cannot be killed in a process, and can be with it.
    let busy = on::<Diver>(&nodes, "node-1", Some(Spawned::handle(&sailor))).await;
    let rower = on::<Rower>(&nodes, "node-1", ()).await;
    within("a link", Handle::link(&rower, &sailor)).await.unwrap();
    let ends = [Handle::monitor(&diver), Handle::monitor(&rower), Handle::monitor(&busy)];
    let sign = std::env::temp_dir().join(format!("skybox-cells-links-{}", busy.pid().await.unwrap()));
    let turning = tokio::spawn({
        let sign = sign.to_string_lossy().into_owned();
        async move { busy.turn(&sign).await }
    });
    let turns = async {
        while !sign.exists() {
            tokio::task::yield_now().await;
        }
    };
    within("it turns", turns).await;
    drop(std::fs::remove_file(&sign));
    assert!(matches!(kind(sailor.slip().await.unwrap_err()), CallErrorKind::Crashed { .. }));
    for end in ends {
        let cause = cause(told(end).await);
        assert!(matches!(&cause, Exit::Crashed { message, .. } if message == "splash"), "{cause}");
    }
    within("its call ends", turning).await.unwrap().unwrap_err();
    assert!(matches!(kind(diver.pid().await.unwrap_err()), CallErrorKind::Gone));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_in_a_cell_traps_links_and_takes_them_back() {
    let nodes = start().await;
    let diver = on::<Diver>(&nodes, "node-1", None).await;
    let (ada, bob) = (on::<Sailor>(&nodes, "node-1", ()).await, on::<Sailor>(&nodes, "node-2", ()).await);
    for sailor in [&ada, &bob] {
        // Until it is trapped, which the diver does after this link is made, its end would be the diver's.
        within("a link", Handle::link(&diver, sailor)).await.unwrap();
        let slips = async {
            // He hears of it, whether it comes before he listens or later.
            sailor.slip().await.unwrap_err()
        };
        within("it is taken back", diver.let_go(Spawned::handle(sailor))).await.unwrap();
        let (exit, _) = tokio::join!(within("a trap", diver.watch_over(Spawned::handle(sailor))), slips);
        let exit = exit.unwrap();
        assert!(matches!(&exit, Exit::Crashed { message, .. } if message == "splash"), "{exit}");
    }
    // The other way, what is trapped goes along.
    let cy = on::<Sailor>(&nodes, "node-2", ()).await;
    let end = Handle::monitor(&cy);
    let trapping = within("a link", Handle::link_trapping(&diver, &cy)).await.unwrap();
    assert!(matches!(kind(diver.drown().await.unwrap_err()), CallErrorKind::Crashed { .. }));
    let exit = told(end).await;
    assert_eq!(told(trapping).await, exit);
    assert!(matches!(cause(exit), Exit::Crashed { message, .. } if message == "glug"));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_order_in_a_cell_ends_no_other_and_a_kill_does() {
    let nodes = start().await;
    let sailor = on::<Sailor>(&nodes, "node-2", ()).await;
    // Dropped, it has come to its end in order, and the sailor lives.
    drop(on::<Diver>(&nodes, "node-1", Some(Spawned::handle(&sailor))).await);
    let diver = on::<Diver>(&nodes, "node-1", Some(Spawned::handle(&sailor))).await;
    let end = Handle::monitor(&sailor);
    assert!(sailor.pid().await.is_ok());
    let exit = within("a kill", Handle::kill(&diver)).await.unwrap();
    assert_eq!(cause(told(end).await), exit);
    nodes.stop().await;
}

/// Has one fall that is in its `start`, for longer than a cell has for a kill.
async fn falls_when_it_has_started<T: Spawns<Key = (Handle<Sailor>, String)>>(
    nodes: &RunningNodes,
    name: &str,
) {
    let until = std::env::temp_dir().join(format!("skybox-cells-links-{name}-{}", std::process::id()));
    let until = until.to_string_lossy().into_owned();
    let began = std::path::PathBuf::from(format!("{until}-began"));
    let sailor = on::<Sailor>(nodes, "node-2", ()).await;
    let with = (Spawned::handle(&sailor), until.clone());
    let falling = async {
        while !began.exists() {
            tokio::task::yield_now().await;
        }
        let end = Handle::monitor(&sailor);
        assert!(matches!(kind(sailor.slip().await.unwrap_err()), CallErrorKind::Crashed { .. }));
        told(end).await;
        // Sleeps because what is tried is that nothing comes of the two seconds.
        tokio::time::sleep(Duration::from_secs(3)).await;
        std::fs::write(&until, "").unwrap();
    };
    let spawning = async { nodes.app().spawn::<T>(with).on("node-1").await };
    let (started, ()) = within(name, async { tokio::join!(spawning, falling) }).await;
    drop((std::fs::remove_file(&began), std::fs::remove_file(&until)));
    let started = started.unwrap_or_else(|error| panic!("{name}: its start was in order: {error}"));
    let cause = cause(told(Handle::monitor(&started)).await);
    assert!(matches!(&cause, Exit::Crashed { message, .. } if message == "splash"), "{name}: {cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_a_cell_that_takes_its_time_to_start_is_killed_then() {
    let nodes = start().await;
    falls_when_it_has_started::<Apprentice>(&nodes, "apprentice").await;
    falls_when_it_has_started::<Cadet>(&nodes, "cadet").await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_has_begun_is_not_taken_back() {
    let nodes = start().await;
    let sailor = on::<Sailor>(&nodes, "node-2", ()).await;
    let diver = on::<Diver>(&nodes, "node-1", Some(Spawned::handle(&sailor))).await;
    let sign = std::env::temp_dir().join(format!("skybox-cells-links-begun-{}", diver.pid().await.unwrap()));
    let (handle, path) = (Spawned::handle(&diver), sign.to_string_lossy().into_owned());
    let turning = tokio::spawn(async move { handle.turn(&path).await });
    let end = Handle::monitor(&diver);
    let begins = async {
        while !sign.exists() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(kind(sailor.slip().await.unwrap_err()), CallErrorKind::Crashed { .. }));
        // It takes no calls any more: its kill has begun, which takes two seconds, since it never waits.
        let soon = || diver.with(CallOptions::new().deadline(Duration::from_millis(100)));
        while !matches!(soon().pid().await.map_err(kind), Err(CallErrorKind::Gone)) {}
    };
    within("its kill begins", begins).await;
    drop(std::fs::remove_file(&sign));
    within("too late", Handle::unlink(&diver, &sailor)).await.unwrap();
    assert!(matches!(cause(told(end).await), Exit::Crashed { message, .. } if message == "splash"));
    within("its call ends", turning).await.unwrap().unwrap_err();
    nodes.stop().await;
}
