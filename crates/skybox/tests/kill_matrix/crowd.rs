//! Many spawned instances that end at once.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use skybox::{App, Exit, Handle, Monitor, Spawned, Spawns};

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

/// Makes so many.
async fn spawn<T: Spawns<Key = ()>>(app: &App, count: usize) -> Vec<Spawned<T>> {
    let spawning = |_| async { app.spawn::<T>(()).on("node-1").await.expect("it starts") };
    let all = futures_util::stream::iter(0..count).map(spawning).buffer_unordered(AHEAD).collect();
    tokio::time::timeout(PATIENCE, all).await.expect("they are made")
}

/// Makes so many, has something end them at once under load, and waits until each monitor has told.
async fn end_at_once<T, F>(stage: &Stage, count: usize, end: impl Fn(Handle<T>) -> F) -> Outcome
where
    T: Spawns<Key = ()>,
    F: Future<Output = Vec<&'static str>>,
{
    let app = stage.nodes.app();
    let all = spawn::<T>(app, count).await;
    let monitors: Vec<Monitor> = all.iter().map(|one| Handle::monitor(&Spawned::handle(one))).collect();
    let load = stage.load();
    let began = Instant::now();
    let ending = join_all(all.iter().map(|one| end(Spawned::handle(one))));
    let mut errors: Vec<_> = tokio::time::timeout(PATIENCE, ending).await.expect("its calls end").concat();
    errors.sort_unstable();
    errors.dedup();
    let mut exits = BTreeMap::<String, usize>::new();
    let mut telling: FuturesUnordered<_> = monitors.into_iter().collect();
    let told = async {
        while let Some(exit) = telling.next().await {
            *exits.entry(reason(&exit)).or_default() += 1;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("each monitor tells");
    let answers_after = Some(began.elapsed());
    stage.rest(began).await;
    Outcome {
        errors: errors.into_iter().map(str::to_owned).collect(),
        exits: exits.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect(),
        answers_after,
        felt: load.end().await,
        node_lives: true,
    }
}

fn reason(exit: &Exit) -> String {
    let json = serde_json::to_value(exit).expect("it is data");
    json["reason"].as_str().unwrap_or_default().to_owned()
}

/// Each panics.
pub(crate) async fn panics(stage: &Stage, count: usize) -> Outcome {
    let panic = |one: Handle<Sharer>| async move { kinds(one.suffer("panic").await) };
    end_at_once(stage, count, panic).await
}

/// One of them takes its cell down, and the others with it.
pub(crate) async fn falls(stage: &Stage, count: usize) -> Outcome {
    let first = std::sync::atomic::AtomicBool::new(true);
    let abort = |one: Handle<Sharer>| {
        let first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
        async move { if first { kinds(one.suffer("abort").await) } else { Vec::new() } }
    };
    end_at_once(stage, count, abort).await
}

/// Each takes down a cell of its own.
pub(crate) async fn alone(stage: &Stage, count: usize) -> Outcome {
    let abort = |one: Handle<Loner>| async move { kinds(one.suffer("abort").await) };
    end_at_once(stage, count, abort).await
}

fn kinds(ended: skybox::Result<()>) -> Vec<&'static str> {
    ended.err().iter().map(kind_of).collect()
}

/// What is asserted of each of them.
pub(crate) fn check(outcome: &Outcome, error: &str, exit: String) {
    assert_eq!(outcome.errors, [error]);
    assert_eq!(outcome.exits, [exit]);
    assert_eq!(outcome.felt.failures(), 0, "{:?}", outcome.felt.failed);
}
