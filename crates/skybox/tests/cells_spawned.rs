//! Spawned instances in cells, and what code in a cell does with instances elsewhere.

use std::time::Duration;

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind, Error, Exit, Handle, Monitor, Spawned};

/// One process for all of a node.
struct Sharer {
    name: String,
    calls: u32,
}

#[skybox::module(spawned, isolate = "process:shared", overrun = "200ms")]
impl Sharer {
    fn start(_: &App, name: String) -> skybox::Result<Sharer> {
        match name.as_str() {
            "unlucky" => Err(Error::msg("no luck")),
            "bomb" => {
                eprintln!("tick");
                std::process::abort()
            }
            _ => Ok(Sharer { name, calls: 0 }),
        }
    }

    pub(crate) async fn count(&mut self) -> skybox::Result<(u32, String, u32)> {
        self.calls += 1;
        Ok((std::process::id(), self.name.clone(), self.calls))
    }

    pub(crate) async fn suffer(&self, how: &str) -> skybox::Result<()> {
        suffer(how);
        Ok(())
    }

    async fn stop(self, _: &App) -> skybox::Result<()> {
        if self.name == "sorry" { Err(Error::msg("it is not done")) } else { Ok(()) }
    }
}

/// One process each.
struct Loner;

#[skybox::module(spawned, isolate = "process", overrun = "200ms")]
impl Loner {
    fn start(_: &App, _: ()) -> Loner {
        Loner
    }

    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    /// Never ends, once it has given a sign that it is there.
    pub(crate) async fn turn(&self, sign: &str) -> skybox::Result<()> {
        std::fs::write(sign, "")?;
        loop {
            std::hint::black_box(());
        }
    }

    pub(crate) async fn suffer(&self, how: &str) -> skybox::Result<()> {
        suffer(how);
        Ok(())
    }
}

fn suffer(how: &str) {
    match how {
        "panic" => panic!("as told"),
        "abort" => std::process::abort(),
        _ => {}
    }
}

/// Lives in the node that spawns it.
struct Guest;

#[skybox::module(spawned)]
impl Guest {
    fn start(_: &App, _: ()) -> Guest {
        Guest
    }

    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }
}

/// Lives in the node, or in a cell of it, and spawns.
#[derive(Default)]
struct Maker {
    guests: Vec<Spawned<Guest>>,
    sharers: Vec<Spawned<Sharer>>,
    watched: Vec<Monitor>,
}

#[skybox::module(isolate = "process")]
impl Maker {
    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    /// Where nothing is said, or on that node; kept here.
    pub(crate) async fn guest(&mut self, on: Option<String>) -> skybox::Result<Handle<Guest>> {
        let app = App::current()?;
        let spawning = app.spawn::<Guest>(());
        let guest = match on {
            Some(node) => spawning.on(&node).await?,
            None => spawning.await?,
        };
        let handle = Spawned::handle(&guest);
        self.guests.push(guest);
        Ok(handle)
    }

    pub(crate) async fn sharer(&mut self, name: String) -> skybox::Result<Handle<Sharer>> {
        let sharer = App::current()?.spawn::<Sharer>(name).await?;
        let handle = Spawned::handle(&sharer);
        self.sharers.push(sharer);
        Ok(handle)
    }

    pub(crate) async fn call(&self, guest: Handle<Guest>) -> skybox::Result<u32> {
        guest.pid().await
    }

    pub(crate) async fn stop_it(&self, guest: Handle<Guest>) -> skybox::Result<Exit> {
        Ok(Handle::stop(&guest, Duration::from_secs(1)).await?)
    }

    /// Begins to watch.
    pub(crate) async fn watch(&mut self, guest: Handle<Guest>) -> skybox::Result<()> {
        self.watched.push(Handle::monitor(&guest));
        Ok(())
    }

    /// How what it watches has ended, in turn.
    pub(crate) async fn ends(&mut self) -> skybox::Result<Vec<Exit>> {
        let mut ends = Vec::new();
        for watched in self.watched.drain(..) {
            ends.push(watched.await);
        }
        Ok(ends)
    }

    pub(crate) async fn abort(&self) -> skybox::Result<()> {
        std::process::abort()
    }
}

/// Tells of its node.
#[derive(Default)]
struct Desk;

#[skybox::module]
impl Desk {
    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
    }

    /// The ids of a module's instances, with their processes.
    pub(crate) async fn look(&self, module: &str) -> skybox::Result<Vec<(String, Option<u32>)>> {
        let status = App::current()?.status_with_cells().await;
        let module = status.modules.into_iter().find(|status| status.module == module);
        let instances = module.into_iter().flat_map(|module| module.instances);
        Ok(instances.map(|instance| (instance.instance, instance.cell.map(|cell| cell.pid))).collect())
    }
}

async fn start() -> RunningNodes {
    let here = ["node-1"];
    Nodes::of_this_test(2).pin("maker", &here).pin("desk", &here).start(|builder| builder).await
}

const PATIENCE: Duration = Duration::from_secs(60);

async fn within<V>(what: &str, future: impl Future<Output = V>) -> V {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

async fn sharer(nodes: &RunningNodes, name: &str) -> Result<Spawned<Sharer>, skybox::CallError> {
    within("a spawn", async { nodes.app().spawn::<Sharer>(name.to_owned()).on("node-1").await }).await
}

async fn loner(nodes: &RunningNodes) -> Spawned<Loner> {
    within("a spawn", async { nodes.app().spawn::<Loner>(()).on("node-1").await }).await.unwrap()
}

fn monitor<T: skybox::Spawns>(owned: &Spawned<T>) -> Monitor {
    Handle::monitor(&Spawned::handle(owned))
}

fn kind(error: Error) -> CallErrorKind {
    error.call_error().unwrap_or_else(|| panic!("{error}")).kind().clone()
}

/// Waits until a process has ended.
async fn ended(pid: u32) {
    let gone = async {
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            tokio::task::yield_now().await;
        }
    };
    within("the process ends", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_a_cell_and_what_ends_it() {
    let nodes = start().await;
    let node = nodes.app().get::<Desk>().pid().await.unwrap();
    let (one, two) = (sharer(&nodes, "one").await.unwrap(), sharer(&nodes, "two").await.unwrap());
    let (pid, name, _) = one.count().await.unwrap();
    assert!(pid != node && pid != std::process::id() && name == "one");
    assert_eq!(two.count().await.unwrap(), (pid, "two".to_owned(), 1));
    assert_eq!(two.count().await.unwrap().2, 2);
    // A panic ends one of them.
    let three = sharer(&nodes, "three").await.unwrap();
    let end = monitor(&three);
    assert!(matches!(kind(three.suffer("panic").await.unwrap_err()), CallErrorKind::Crashed { .. }));
    let exit = within("a monitor", end).await;
    assert!(matches!(&exit, Exit::Crashed { message, .. } if message == "as told"), "{exit}");
    assert!(matches!(kind(three.count().await.unwrap_err()), CallErrorKind::Gone));
    assert_eq!(within("who comes late", monitor(&three)).await, exit);
    assert_eq!(one.count().await.unwrap().0, pid);
    // What ends the process ends them all.
    let ends = [monitor(&one), monitor(&two)];
    let CallErrorKind::Lost { why } = kind(one.suffer("abort").await.unwrap_err()) else { panic!() };
    assert!(why.contains("called abort"), "{why}");
    for end in ends {
        assert!(matches!(within("a monitor", end).await, Exit::Aborted { .. }));
    }
    assert!(matches!(kind(two.count().await.unwrap_err()), CallErrorKind::Gone));
    assert!(matches!(within("who comes late", monitor(&two)).await, Exit::Aborted { .. }));
    // The next one finds another cell.
    let four = sharer(&nodes, "four").await.unwrap();
    let (after, _, first) = four.count().await.unwrap();
    assert!(after != pid && first == 1);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_end_one_by_one_in_a_shared_cell() {
    let nodes = start().await;
    let (one, two) = (sharer(&nodes, "one").await.unwrap(), sharer(&nodes, "sorry").await.unwrap());
    let pid = one.count().await.unwrap().0;
    let looked = nodes.app().get::<Desk>().look("sharer").await.unwrap();
    assert_eq!(looked.len(), 2, "{looked:?}");
    assert!(looked.iter().all(|(_, cell)| *cell == Some(pid)), "{looked:?}");
    let (handle, end) = (Spawned::handle(&one), monitor(&one));
    drop(one);
    assert_eq!(within("a monitor", end).await, Exit::Stopped);
    assert!(matches!(kind(handle.count().await.unwrap_err()), CallErrorKind::Gone));
    let exit = Handle::stop(&Spawned::handle(&two), Duration::from_secs(1)).await.unwrap();
    assert!(matches!(&exit, Exit::FailedStop { cause } if cause == "it is not done"), "{exit}");
    let three = sharer(&nodes, "three").await.unwrap();
    let exit = Handle::kill(&Spawned::handle(&three)).await.unwrap();
    assert!(matches!(exit, Exit::Killed { .. }), "{exit}");
    let four = sharer(&nodes, "four").await.unwrap();
    assert_eq!(four.count().await.unwrap().0, pid, "the cell goes on");
    // Kept, it has no owner to end it.
    let four = Spawned::keep(four).await.unwrap();
    assert_eq!(four.count().await.unwrap(), (pid, "four".to_owned(), 2));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_a_cell_of_its_own_ends_with_it_alone() {
    let nodes = start().await;
    let (one, two) = (loner(&nodes).await, loner(&nodes).await);
    let (of_one, of_two) = (one.pid().await.unwrap(), two.pid().await.unwrap());
    assert_ne!(of_one, of_two);
    let end = monitor(&one);
    assert!(matches!(kind(one.suffer("abort").await.unwrap_err()), CallErrorKind::Lost { .. }));
    assert!(matches!(within("a monitor", end).await, Exit::Aborted { .. }));
    assert!(matches!(kind(one.pid().await.unwrap_err()), CallErrorKind::Gone));
    assert_eq!(two.pid().await.unwrap(), of_two);
    // The process ends with its owner.
    drop(two);
    ended(of_two).await;
    // What never waits cannot be killed in a process, and can be with it.
    let three = loner(&nodes).await;
    let (pid, handle) = (three.pid().await.unwrap(), Spawned::handle(&three));
    let sign = std::env::temp_dir().join(format!("skybox-cells-spawned-{pid}"));
    let turning = tokio::spawn({
        let sign = sign.to_string_lossy().into_owned();
        async move { three.turn(&sign).await }
    });
    let turns = async {
        while !sign.exists() {
            tokio::task::yield_now().await;
        }
    };
    within("it turns", turns).await;
    drop(std::fs::remove_file(&sign));
    let exit = within("a kill", Handle::kill(&handle)).await.unwrap();
    assert!(matches!(exit, Exit::Killed { .. }), "{exit}");
    ended(pid).await;
    within("its call ends", turning).await.unwrap().unwrap_err();
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_start_in_a_cell_says_why() {
    let nodes = start().await;
    let before = sharer(&nodes, "before").await.unwrap();
    let error = sharer(&nodes, "unlucky").await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::NotStarted { cause: "no luck".to_owned() });
    assert_eq!(before.count().await.unwrap().2, 1);
    let error = sharer(&nodes, "bomb").await.unwrap_err();
    let cause = "its cell called abort; it said last: tick".to_owned();
    assert_eq!(*error.kind(), CallErrorKind::NotStarted { cause });
    assert_eq!(sharer(&nodes, "after").await.unwrap().count().await.unwrap().2, 1);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_in_a_cell_spawns_where_its_node_is() {
    let nodes = start().await;
    let (maker, desk) = (nodes.app().get::<Maker>(), nodes.app().get::<Desk>());
    let (own, node) = (maker.pid().await.unwrap(), desk.pid().await.unwrap());
    let guest = within("a spawn", maker.guest(None)).await.unwrap();
    assert_eq!(guest.pid().await.unwrap(), node);
    assert_eq!(maker.call(guest.clone()).await.unwrap(), node);
    let sharer = within("a spawn", maker.sharer("made".to_owned())).await.unwrap();
    let (pid, name, _) = sharer.count().await.unwrap();
    assert!(pid != own && pid != node && name == "made");
    let far = within("a spawn", maker.guest(Some("node-2".to_owned()))).await.unwrap();
    let there = far.pid().await.unwrap();
    assert!(there != own && there != node);
    assert_eq!(maker.call(far.clone()).await.unwrap(), there);
    let near = within("a spawn", maker.guest(Some("node-1".to_owned()))).await.unwrap();
    assert_eq!(near.pid().await.unwrap(), node);
    assert_eq!(within("a stop", maker.stop_it(near)).await.unwrap(), Exit::Stopped);
    // They end with the cell that owns them.
    let ends = [Handle::monitor(&guest), Handle::monitor(&far)];
    let shared = Handle::monitor(&sharer);
    maker.abort().await.unwrap_err();
    for end in ends {
        assert_eq!(within("a monitor", end).await, Exit::Stopped);
    }
    assert_eq!(within("a monitor", shared).await, Exit::Stopped);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_in_a_cell_hears_of_ends_elsewhere() {
    let nodes = start().await;
    let (maker, app) = (nodes.app().get::<Maker>(), nodes.app());
    let here = within("a spawn", async { app.spawn::<Guest>(()).await }).await.unwrap();
    let near = within("a spawn", async { app.spawn::<Guest>(()).on("node-1").await }).await.unwrap();
    let far = within("a spawn", async { app.spawn::<Guest>(()).on("node-2").await }).await.unwrap();
    let lost = within("a spawn", async { app.spawn::<Guest>(()).on("node-2").await }).await.unwrap();
    for guest in [&here, &near, &far, &lost] {
        maker.watch(Spawned::handle(guest)).await.unwrap();
    }
    drop(here);
    Handle::kill(&Spawned::handle(&near)).await.unwrap();
    drop(far);
    nodes.kill("node-2").await;
    let ends = within("they are told", maker.ends()).await.unwrap();
    let (far, lost) = (&ends[2], &ends[3]);
    assert_eq!(ends[0], Exit::Stopped);
    assert!(matches!(ends[1], Exit::Killed { .. }), "{}", ends[1]);
    // Its end and that of its node may be one.
    assert!(matches!(far, Exit::Stopped | Exit::NodeLost { .. }), "{far}");
    assert_eq!(*lost, Exit::NodeLost { node: "node-2".to_owned() });
    nodes.stop().await;
}
