//! Many spawned instances that end at once, on the word of another node: what the steady load feels is not that its own
//! process is busy.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use skybox::{App, Exit, Handle, Monitor, Spawned, Spawns};
use tokio::sync::Mutex;

use crate::stage::{Outcome, PATIENCE, Stage, kind_of};

/// Many of them share a cell.
pub(crate) struct Sharer;

#[skybox::module(spawned)]
impl Sharer {
    fn start(_: &App, _: ()) -> Sharer {
        Sharer
    }

    pub(crate) async fn suffer(&self, how: &str) -> skybox::Result<()> {
        suffer(how)
    }
}

/// Each has a cell of its own.
pub(crate) struct Loner;

#[skybox::module(spawned)]
impl Loner {
    fn start(_: &App, _: ()) -> Loner {
        Loner
    }

    pub(crate) async fn suffer(&self, how: &str) -> skybox::Result<()> {
        suffer(how)
    }
}

fn suffer(how: &str) -> skybox::Result<()> {
    match how {
        "panic" => panic!("as told"),
        "abort" => std::process::abort(),
        how => Err(skybox::Error::msg(format!("nobody suffers `{how}`"))),
    }
}

/// Spawns under way at once.
const AHEAD: usize = 64;

/// What of a crowd ends.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Ends {
    Each,
    /// One, and those that share its cell.
    First,
}

/// What has become of a crowd: the kinds of its calls' errors, and how many ended for which reason.
type Became = (Vec<String>, BTreeMap<String, usize>);

/// Has crowds on the first node, from the second.
#[derive(Default)]
pub(crate) struct Driver {
    sharers: Mutex<Vec<Spawned<Sharer>>>,
    loners: Mutex<Vec<Spawned<Loner>>>,
}

#[skybox::module]
impl Driver {
    pub(crate) async fn share(&self, count: usize) -> skybox::Result<()> {
        *self.sharers.lock().await = spawn(count).await?;
        Ok(())
    }

    pub(crate) async fn stand_alone(&self, count: usize) -> skybox::Result<()> {
        *self.loners.lock().await = spawn(count).await?;
        Ok(())
    }

    pub(crate) async fn end_sharers(&self, how: &str, ends: Ends) -> skybox::Result<Became> {
        let all = std::mem::take(&mut *self.sharers.lock().await);
        Ok(end_at_once(all, ends, |one| async move { one.suffer(how).await }).await)
    }

    pub(crate) async fn end_loners(&self, how: &str) -> skybox::Result<Became> {
        let all = std::mem::take(&mut *self.loners.lock().await);
        Ok(end_at_once(all, Ends::Each, |one| async move { one.suffer(how).await }).await)
    }
}

/// Makes so many.
async fn spawn<T: Spawns<Key = ()>>(count: usize) -> skybox::Result<Vec<Spawned<T>>> {
    let app = App::current()?;
    let spawning = |_| async { app.spawn::<T>(()).on("node-1").await.map_err(skybox::Error::from) };
    let all: Vec<_> =
        futures_util::stream::iter(0..count).map(spawning).buffer_unordered(AHEAD).collect().await;
    all.into_iter().collect()
}

/// Has something end them at once, and waits until each monitor has told.
async fn end_at_once<T, F>(all: Vec<Spawned<T>>, ends: Ends, suffer: impl Fn(Handle<T>) -> F) -> Became
where
    T: Spawns<Key = ()>,
    F: Future<Output = skybox::Result<()>>,
{
    let mut telling: FuturesUnordered<Monitor> =
        all.iter().map(|one| Handle::monitor(&Spawned::handle(one))).collect();
    let those = if ends == Ends::First { &all[..1] } else { &all[..] };
    let ended = join_all(those.iter().map(|one| suffer(Spawned::handle(one)))).await;
    let mut errors: Vec<_> = ended.iter().filter_map(|ended| ended.as_ref().err().map(kind_of)).collect();
    errors.sort_unstable();
    errors.dedup();
    let mut exits = BTreeMap::new();
    while let Some(exit) = telling.next().await {
        *exits.entry(reason(&exit)).or_default() += 1;
    }
    (errors.into_iter().map(str::to_owned).collect(), exits)
}

fn reason(exit: &Exit) -> String {
    let json = serde_json::to_value(exit).expect("it is data");
    json["reason"].as_str().unwrap_or_default().to_owned()
}

/// What comes of a crowd's end under load.
async fn under_load(stage: &Stage, end: impl Future<Output = skybox::Result<Became>>) -> Outcome {
    let load = stage.load();
    let began = Instant::now();
    let ended = tokio::time::timeout(PATIENCE, end).await.expect("each monitor tells");
    let (errors, exits) = ended.expect("the driver answers");
    let answers_after = Some(began.elapsed());
    stage.rest(began).await;
    let exits = exits.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    Outcome { errors, exits, answers_after, felt: load.end().await, node_lives: true }
}

async fn made(making: impl Future<Output = skybox::Result<()>>) {
    tokio::time::timeout(PATIENCE, making).await.expect("they are made in time").expect("each starts");
}

/// Each panics.
pub(crate) async fn panics(stage: &Stage, count: usize) -> Outcome {
    let driver = stage.driver();
    made(driver.share(count)).await;
    under_load(stage, driver.end_sharers("panic", Ends::Each)).await
}

/// One of them takes its cell down, and the others with it.
pub(crate) async fn falls(stage: &Stage, count: usize) -> Outcome {
    let driver = stage.driver();
    made(driver.share(count)).await;
    under_load(stage, driver.end_sharers("abort", Ends::First)).await
}

/// Each takes down a cell of its own.
pub(crate) async fn alone(stage: &Stage, count: usize) -> Outcome {
    let driver = stage.driver();
    made(driver.stand_alone(count)).await;
    under_load(stage, driver.end_loners("abort")).await
}

/// What is asserted of each of them.
pub(crate) fn check(outcome: &Outcome, error: &str, exit: String) {
    assert_eq!(outcome.errors, [error]);
    assert_eq!(outcome.exits, [exit]);
    assert_eq!(outcome.felt.failures(), 0, "{:?}", outcome.felt.failed);
}
