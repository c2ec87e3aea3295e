//! Names of instances that live in cells.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind, Error, Exit, Handle, NameError, Result, Spawned, Spawns};

/// What names itself does so like this, in its `start`.
async fn named<T: Spawns>(app: &App, name: &str) -> Result<()> {
    app.register(name, &app.this::<T>()?).await?;
    match name {
        "unlucky" => Err(Error::msg("no luck")),
        "bomb" => std::process::abort(),
        _ => Ok(()),
    }
}

/// One process for all of a node.
struct Sharer;

#[skybox::module(spawned, isolate = "process:shared")]
impl Sharer {
    async fn start(app: &App, name: String) -> Result<Sharer> {
        named::<Sharer>(app, &name).await?;
        Ok(Sharer)
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        Ok(std::process::id())
    }

    /// What another instance of that name answers.
    pub(crate) async fn pid_of(&self, name: &str) -> Result<Option<u32>> {
        match App::current()?.whereis::<Sharer>(name).await? {
            Some(found) => Ok(Some(found.pid().await?)),
            None => Ok(None),
        }
    }

    /// Has itself called so too.
    pub(crate) async fn be_called(&self, name: &str) -> Result<()> {
        let app = App::current()?;
        Ok(app.register(name, &app.this::<Sharer>()?).await?)
    }

    pub(crate) async fn suffer(&self, how: &str) -> Result<()> {
        suffer(how)
    }
}

/// One process each.
struct Loner;

#[skybox::module(spawned, isolate = "process")]
impl Loner {
    async fn start(app: &App, name: String) -> Result<Loner> {
        named::<Loner>(app, &name).await?;
        Ok(Loner)
    }

    pub(crate) async fn suffer(&self, how: &str) -> Result<()> {
        suffer(how)
    }
}

/// Takes its time to start and to stop, each until it may go on: a file says so, since it is in another process.
async fn start_slowly<T: Spawns>(app: &App, name: &str) -> Result<()> {
    app.register(name, &app.this::<T>()?).await?;
    std::fs::write(gate(name, "process"), std::process::id().to_string())?;
    // It holds its thread, so that nobody can drop it; what else was to run on that goes on.
    tokio::task::block_in_place(|| {
        while !gate(name, "start").exists() {
            // Sleeps because it is there to hold its thread.
            std::thread::sleep(POLL);
        }
    });
    Ok(())
}

async fn stop_slowly(name: &str) {
    while !gate(name, "stop").exists() {
        // Sleeps because a file tells nobody that it is there.
        tokio::time::sleep(POLL).await;
    }
}

const POLL: Duration = Duration::from_millis(5);

fn gate(name: &str, of: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name} {of}"))
}

/// In the process of all of a node.
struct SlowSharer(String);

#[skybox::module(spawned, isolate = "process:shared")]
impl SlowSharer {
    async fn start(app: &App, name: String) -> Result<SlowSharer> {
        start_slowly::<SlowSharer>(app, &name).await?;
        Ok(SlowSharer(name))
    }

    pub(crate) async fn name(&self) -> Result<String> {
        Ok(self.0.clone())
    }

    async fn stop(self, _app: &App) {
        stop_slowly(&self.0).await;
    }
}

/// In a process of its own.
struct SlowLoner(String);

#[skybox::module(spawned, isolate = "process")]
impl SlowLoner {
    async fn start(app: &App, name: String) -> Result<SlowLoner> {
        start_slowly::<SlowLoner>(app, &name).await?;
        Ok(SlowLoner(name))
    }

    pub(crate) async fn name(&self) -> Result<String> {
        Ok(self.0.clone())
    }

    async fn stop(self, _app: &App) {
        stop_slowly(&self.0).await;
    }
}

fn suffer(how: &str) -> Result<()> {
    match how {
        "panic" => panic!("as told"),
        "end" => Ok(App::current()?.end_this()?),
        _ => std::process::abort(),
    }
}

async fn start() -> RunningNodes {
    Nodes::of_this_test(2).start(|builder| builder).await
}

const PATIENCE: Duration = Duration::from_secs(60);

async fn within<V>(what: &str, future: impl Future<Output = V>) -> V {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

async fn spawn<T: Spawns<Key = String>>(app: &App, name: &str) -> Result<Spawned<T>, skybox::CallError> {
    within("a spawn", app.spawn::<T>(name.to_owned()).on("node-1").into_future()).await
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            // Sleeps because a name tells nobody that it is taken or free.
            tokio::time::sleep(POLL).await;
        }
    };
    within(what, waiting).await;
}

async fn is_free<T: Spawns>(app: &App, name: &str) -> bool {
    app.whereis::<T>(name).await.unwrap().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_in_a_shared_cell_have_names_and_find_each_other() {
    let nodes = start().await;
    let app = nodes.app();
    let (one, two) = (spawn::<Sharer>(app, "one").await.unwrap(), spawn::<Sharer>(app, "two").await.unwrap());
    let pid = one.pid().await.unwrap();
    assert_ne!(pid, std::process::id());
    let found = app.whereis::<Sharer>("two").await.unwrap().expect("it has named itself");
    assert_eq!(found.pid().await.unwrap(), pid);
    assert_eq!(one.pid_of("two").await.unwrap(), Some(pid));
    assert_eq!(one.pid_of("three").await.unwrap(), None);
    // One that is elsewhere is found from the cell too, and one in the cell named from elsewhere.
    let away = app.spawn::<Sharer>("away".to_owned()).on("node-2").await.unwrap();
    assert_eq!(one.pid_of("away").await.unwrap(), Some(away.pid().await.unwrap()));
    app.register("also one", &one).await.unwrap();
    assert_eq!(away.pid_of("also one").await.unwrap(), Some(pid));
    let refused = two.be_called("one").await.unwrap_err().to_string();
    assert!(refused.contains("SKY-511") && refused.contains("sharer on node-1"), "{refused}");
    // Each end frees the names of one of them.
    for how in ["panic", "end", "stop", "kill"] {
        let three = spawn::<Sharer>(app, "three").await.unwrap();
        three.be_called("drei").await.unwrap();
        match how {
            "stop" => drop(Handle::stop(&three, PATIENCE).await.unwrap()),
            "kill" => drop(Handle::kill(&three).await.unwrap()),
            how => {
                let end = Handle::monitor(&three);
                drop(three.suffer(how).await);
                within("a monitor", end).await;
            }
        }
        assert!(is_free::<Sharer>(app, "three").await && is_free::<Sharer>(app, "drei").await, "{how}");
    }
    assert_eq!(one.pid_of("two").await.unwrap(), Some(pid));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_a_shared_cell_frees_the_names_of_all_in_it() {
    let nodes = start().await;
    let app = nodes.app();
    let mut row = Vec::new();
    for n in 0..20 {
        row.push(spawn::<Sharer>(app, &format!("sharer {n}")).await.unwrap());
    }
    let ends: Vec<_> = row.iter().map(|one| Handle::monitor(one)).collect();
    assert!(row[0].suffer("abort").await.is_err());
    for (n, end) in ends.into_iter().enumerate() {
        let exit = within("a monitor", end).await;
        assert!(matches!(exit, Exit::Aborted { .. }), "{exit}");
        assert!(is_free::<Sharer>(app, &format!("sharer {n}")).await, "{n}");
        assert!(matches!(Handle::monitor(&row[n]).await, Exit::Aborted { .. }));
    }
    // Stopped the moment its cell ends, one tells how that was, and its name is free.
    let (first, last) =
        (spawn::<Sharer>(app, "first").await.unwrap(), spawn::<Sharer>(app, "last").await.unwrap());
    assert!(first.suffer("abort").await.is_err());
    let exit = within("a stop", Handle::stop(&last, PATIENCE)).await.unwrap();
    assert!(matches!(exit, Exit::Aborted { .. }), "{exit}");
    assert!(is_free::<Sharer>(app, "last").await);
    let next = spawn::<Sharer>(app, "sharer 7").await.unwrap();
    assert_eq!(next.pid_of("sharer 7").await.unwrap(), Some(next.pid().await.unwrap()));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_a_cell_of_its_own_takes_its_name_along() {
    let nodes = start().await;
    let app = nodes.app();
    for how in ["panic", "abort", "end", "stop", "kill", "drop"] {
        let loner = spawn::<Loner>(app, "hermit").await.unwrap_or_else(|error| panic!("{how}: {error}"));
        let end = Handle::monitor(&loner);
        match how {
            "stop" => drop(Handle::stop(&loner, PATIENCE).await.unwrap()),
            "kill" => drop(Handle::kill(&loner).await.unwrap()),
            "drop" => drop(loner),
            how => drop(loner.suffer(how).await),
        }
        within("a monitor", end).await;
        assert!(is_free::<Loner>(app, "hermit").await, "{how}");
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_in_a_cell_leaves_no_name_behind() {
    let nodes = start().await;
    let app = nodes.app();
    for (name, cause) in [("unlucky", "no luck"), ("bomb", "its cell called abort")] {
        // Each but the first would fail otherwise: its name would be taken.
        for _ in 0..2 {
            let shared = spawn::<Sharer>(app, name).await.unwrap_err();
            let alone = spawn::<Loner>(app, name).await.unwrap_err();
            for error in [shared, alone] {
                let CallErrorKind::NotStarted { cause: why } = error.kind() else {
                    panic!("{name}: {error}")
                };
                assert!(why.starts_with(cause), "{name}: {why}");
            }
        }
        assert!(!app.unregister(name).await.unwrap(), "{name}");
    }
    nodes.stop().await;
}

/// Spawns one, and leaves while it is in its `start`, which has named it so. The handle names one that takes no calls.
async fn dropped_in_its_start<T: Spawns<Key = String>>(
    app: &App,
    name: &str,
    call: impl AsyncFn(&Handle<T>) -> Result<String>,
) -> Handle<T> {
    let has_named_itself = async || !is_free::<T>(app, name).await && gate(name, "process").exists();
    tokio::select! {
        spawned = app.spawn::<T>(name.to_owned()).on("node-1") => panic!("its gate is shut: {spawned:?}"),
        () = until("a name", has_named_itself) => {}
    }
    let found = app.whereis::<T>(name).await.unwrap().expect("it is in its start");
    // The call waits for its start, until its node knows that nobody wants it.
    let refused = within("a refusal", call(&found)).await.unwrap_err().to_string();
    assert!(["has ended", "no answer", "unreachable"].iter().any(|why| refused.contains(why)), "{refused}");
    found
}

fn shut(name: &str, gates: &[&str]) {
    gates.iter().for_each(|of| std::fs::remove_file(gate(name, of)).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawn_that_is_dropped_keeps_its_name_as_long_as_its_cell_runs_it() {
    let nodes = start().await;
    let app = nodes.app();
    let name = format!("slow sharer {}", std::process::id());
    let other = spawn::<Sharer>(app, "other").await.unwrap();
    let found = dropped_in_its_start(app, &name, async |slow: &Handle<SlowSharer>| slow.name().await).await;
    let taken = async |when: &str| {
        for round in 0..20 {
            let refused = app.register(&name, &other).await;
            assert!(matches!(refused, Err(NameError::Taken { .. })), "{when}, {round}: {refused:?}");
        }
    };
    taken("it starts").await;
    let end = Handle::monitor(&found);
    std::fs::write(gate(&name, "start"), "").unwrap();
    taken("it stops").await;
    std::fs::write(gate(&name, "stop"), "").unwrap();
    within("a monitor", end).await;
    app.register(&name, &other).await.unwrap();
    shut(&name, &["process", "start", "stop"]);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawn_that_is_dropped_keeps_its_name_until_its_own_cell_has_ended() {
    let nodes = start().await;
    let app = nodes.app();
    let name = format!("slow loner {}", std::process::id());
    dropped_in_its_start(app, &name, async |slow: &Handle<SlowLoner>| slow.name().await).await;
    let process = std::fs::read_to_string(gate(&name, "process")).unwrap();
    // Its start would go on for ever.
    until("a free name", async || is_free::<SlowLoner>(app, &name).await).await;
    assert!(!Path::new(&format!("/proc/{process}")).exists(), "its cell has ended before");
    shut(&name, &["process"]);
    nodes.stop().await;
}
