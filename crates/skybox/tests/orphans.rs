//! A node that was stopped for so long that others took it for lost, and then goes on: it ends what they have let go.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use skybox::cloud::testing::Nodes;
use skybox::{App, CallErrorKind, ChildSpec, Error, Exit, Handle, Result, Spawned, Supervisor};

/// What is waited for takes little more than the 40 s after which a stopped node counts as lost; beyond, it hangs.
const PATIENCE: Duration = Duration::from_secs(180);
const STOPPED: &str = "node-2";

/// Lives with its node.
struct Guest;

#[skybox::module(spawned)]
impl Guest {
    fn start(_: &App, _: ()) -> Guest {
        Guest
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }
}

/// Lives in a process beside it.
struct Lodger;

#[skybox::module(spawned, isolate = "process:shared")]
impl Lodger {
    fn start(_: &App, _: ()) -> Lodger {
        Lodger
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }
}

/// Owns a guest elsewhere, of whose end it does not ask.
#[derive(Default)]
struct Agent {
    guest: Mutex<Option<Spawned<Guest>>>,
}

#[skybox::module]
impl Agent {
    pub(crate) async fn place(&self, node: &str) -> Result<Handle<Guest>> {
        let guest = App::current()?.spawn::<Guest>(()).on(node).await?;
        let handle = Spawned::handle(&guest);
        *self.guest.lock().expect("nobody panics with it") = Some(guest);
        Ok(handle)
    }
}

async fn within<V>(what: &str, future: impl Future<Output = V>) -> V {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

fn signal(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(process, signal).expect("it is a child of this process");
}

/// Calls until the instance has ended, as its callers see it.
async fn is_gone(mut call: impl AsyncFnMut() -> Result<u32>) {
    let gone =
        |error: &Error| matches!(error.call_error().map(|error| error.kind()), Some(CallErrorKind::Gone));
    let calling = async {
        while !call().await.is_err_and(|error| gone(&error)) {
            tokio::task::yield_now().await;
        }
    };
    within("the end of what was let go", calling).await;
}

fn ends_in_doubt(exit: &Exit) -> bool {
    matches!(exit, Exit::Killed { by } if by.contains(&format!("which had taken {STOPPED} for lost")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_taken_for_lost_ends_what_others_let_go() {
    let nodes = Nodes::of_this_test(3).pin("agent", &["node-3"]).start(|builder| builder).await;
    let app = nodes.app();
    let guest = app.spawn::<Guest>(()).on(STOPPED).await.unwrap();
    let lodger = app.spawn::<Lodger>(()).on(STOPPED).await.unwrap();
    let dropped = app.spawn::<Guest>(()).on(STOPPED).await.unwrap();
    let kept = Spawned::keep(app.spawn::<Guest>(()).on(STOPPED).await.unwrap()).await.unwrap();
    let neighbour = Spawned::keep(app.spawn::<Lodger>(()).on(STOPPED).await.unwrap()).await.unwrap();
    let of_another = app.get::<Agent>().place(STOPPED).await.unwrap();
    let started = AtomicU32::new(0);
    let mut children = Supervisor::one_for_one();
    let child = children.add(ChildSpec::new("guest", move |app: App| {
        let node = if started.fetch_add(1, Ordering::Relaxed) == 0 { STOPPED } else { "node-3" };
        async move { app.spawn::<Guest>(()).on(node).await }
    }));
    let _children = children.start(app).await.unwrap();
    let first = child.get().await.unwrap();

    let pid = guest.pid().await.unwrap();
    assert_eq!(first.pid().await.unwrap(), pid, "they are in the same node");
    let in_cell = lodger.pid().await.unwrap();
    assert_ne!(in_cell, pid);
    assert_eq!(neighbour.pid().await.unwrap(), in_cell, "they share a cell");
    let ends = [&*guest, &kept, &of_another, &first].map(Handle::monitor);
    let in_cells = [&*lodger, &neighbour].map(Handle::monitor);
    signal(pid, Signal::STOP);
    for end in ends.into_iter().chain(in_cells) {
        let exit = within("the loss of a node", end).await;
        assert!(matches!(&exit, Exit::NodeLost { node } if node == STOPPED), "{exit:?}");
    }
    // Nobody here has waited for the end of this one.
    let handle_of_dropped = Spawned::handle(&dropped);
    drop(dropped);
    let second = within("another child", async {
        loop {
            let second = child.get().await.unwrap();
            if second.pid().await.is_ok_and(|second| second != pid) {
                return second;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;

    signal(pid, Signal::CONT);
    is_gone(async || guest.pid().await).await;
    is_gone(async || lodger.pid().await).await;
    // Asked in another order than before: what was asked then is not taken for it.
    for end in [Handle::monitor(&lodger), Handle::monitor(&first), Handle::monitor(&guest)] {
        let exit = within("an end that is told", end).await;
        assert!(ends_in_doubt(&exit), "{exit:?}");
    }
    let exit = within("the end of one that was dropped", Handle::monitor(&handle_of_dropped)).await;
    assert!(ends_in_doubt(&exit) || exit == Exit::Stopped, "{exit:?}");
    // What this node does not own lives: in the same processes as before.
    assert_eq!(kept.pid().await.unwrap(), pid);
    assert_eq!(of_another.pid().await.unwrap(), pid);
    assert_eq!(neighbour.pid().await.unwrap(), in_cell);
    assert!(second.pid().await.is_ok(), "and so does what has taken the place of another");
    // What is made there from now on is as safe as ever.
    let next = app.spawn::<Guest>(()).on(STOPPED).await.unwrap();
    assert_eq!(next.pid().await.unwrap(), pid);
    nodes.stop().await;
}
