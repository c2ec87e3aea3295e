//! Many spawned instances that end at once, on the word of another node: what the steady load feels is not that its own
//! process is busy.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use skybox::{App, Handle, Monitor, Spawned, Spawns};
use tokio::sync::Mutex;

use crate::stage::{HERE, Outcome, PATIENCE, Stage, kind_of};
use crate::watched::{Sufferer, another, reason};

/// Many of them share a cell.
pub(crate) struct Sharer;

#[skybox::module(spawned)]
impl Sharer {
    fn start(_: &App, _: ()) -> Sharer {
        Sharer
    }

    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
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

    pub(crate) async fn pid(&self) -> skybox::Result<u32> {
        Ok(std::process::id())
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
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ends {
    Each,
    /// One, and those that share its process.
    First,
}

/// What has become of a crowd.
#[derive(Serialize, Deserialize)]
pub(crate) struct Became {
    /// The kinds of its calls' errors.
    errors: Vec<String>,
    /// How many ended for which reason, as their monitors told.
    exits: BTreeMap<String, usize>,
    /// From the first call that failed until the last monitor had told.
    told_after: Duration,
    /// From the same until another instance answered.
    answers_after: Duration,
}

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
        end_at_once(all, how, ends).await
    }

    pub(crate) async fn end_loners(&self, how: &str) -> skybox::Result<Became> {
        let all = std::mem::take(&mut *self.loners.lock().await);
        end_at_once(all, how, Ends::Each).await
    }
}

/// Makes so many.
async fn spawn<T: Spawns<Key = ()>>(count: usize) -> skybox::Result<Vec<Spawned<T>>> {
    let app = App::current()?;
    let spawning = |_| async { app.spawn::<T>(()).on(HERE).await.map_err(skybox::Error::from) };
    let all: Vec<_> =
        futures_util::stream::iter(0..count).map(spawning).buffer_unordered(AHEAD).collect().await;
    all.into_iter().collect()
}

/// Has something end them at once, and waits until each monitor has told and another instance answers.
async fn end_at_once<T>(all: Vec<Spawned<T>>, how: &str, ends: Ends) -> skybox::Result<Became>
where
    T: Sufferer + Spawns<Key = ()>,
{
    let app = App::current()?;
    let mut monitors: FuturesUnordered<Monitor> = all.iter().map(|one| Handle::monitor(one)).collect();
    let those = if ends == Ends::First { &all[..1] } else { &all[..] };
    let mut calls: FuturesUnordered<_> = those.iter().map(|one| T::suffer(one, how)).collect();
    let mut errors: Vec<String> = Vec::new();
    let mut note = |ended: skybox::Result<()>| {
        let kind = ended.err().map_or("none", |error| kind_of(&error));
        if !errors.iter().any(|known| known == kind) {
            errors.push(kind.to_owned());
        }
    };
    note(calls.next().await.expect("there are some"));
    let failed = Instant::now();
    let ending = async {
        while let Some(ended) = calls.next().await {
            note(ended);
        }
    };
    let telling = async {
        let mut exits = BTreeMap::new();
        while let Some(exit) = monitors.next().await {
            *exits.entry(reason(&exit)).or_default() += 1;
        }
        (exits, failed.elapsed())
    };
    let answering = async {
        another::<T>(&app).await;
        failed.elapsed()
    };
    let ((), (exits, told_after), answers_after) = tokio::join!(ending, telling, answering);
    Ok(Became { errors, exits, told_after, answers_after })
}

/// What comes of the end of a crowd under load, which is written down as so many ends of a module.
async fn under_load(
    stage: &Stage,
    (module, ends): (&str, usize),
    end: impl Future<Output = skybox::Result<Became>>,
) -> Outcome {
    let (node, before) = (stage.node_pid().await, stage.ended(module).await);
    let load = stage.load();
    let began = Instant::now();
    let became = tokio::time::timeout(PATIENCE, end).await.expect("each monitor tells");
    let became = became.expect("the driver answers");
    stage.rest(began).await;
    let felt = load.end().await;
    let node_lives = stage.node_pid().await == node;
    if node_lives {
        assert_eq!(stage.ended(module).await - before, ends, "each end is written down once");
    }
    let exits = became.exits.into_iter().map(|(reason, count)| format!("{count} {reason}"));
    Outcome {
        errors: became.errors,
        told: Some(exits.collect::<Vec<_>>().join(", ")),
        told_after: Some(became.told_after),
        starts: Vec::new(),
        exits: Vec::new(),
        answers_after: Some(became.answers_after),
        felt,
        node_lives,
    }
}

async fn made(making: impl Future<Output = skybox::Result<()>>) {
    tokio::time::timeout(PATIENCE, making).await.expect("they are made in time").expect("each starts");
}

/// Each panics.
pub(crate) async fn panics(stage: &Stage, count: usize) -> Outcome {
    let driver = stage.driver();
    made(driver.share(count)).await;
    under_load(stage, ("sharer", count), driver.end_sharers("panic", Ends::Each)).await
}

/// One of them takes its process down, and the others with it.
pub(crate) async fn falls(stage: &Stage, count: usize) -> Outcome {
    let driver = stage.driver();
    made(driver.share(count)).await;
    under_load(stage, ("sharer", 1), driver.end_sharers("abort", Ends::First)).await
}

/// Each takes down a cell of its own.
pub(crate) async fn alone(stage: &Stage, count: usize) -> Outcome {
    let driver = stage.driver();
    made(driver.stand_alone(count)).await;
    under_load(stage, ("loner", count), driver.end_loners("abort")).await
}

/// What is asserted of each of them: how its calls failed, and what monitors told of all.
#[track_caller]
pub(crate) fn check(outcome: &Outcome, error: &str, told: &str) {
    assert_eq!(outcome.errors, [error]);
    assert_eq!(outcome.told.as_deref(), Some(told));
}

/// Nobody else has felt it.
#[track_caller]
pub(crate) fn is_contained(outcome: &Outcome) {
    assert!(outcome.node_lives);
    assert_eq!(outcome.felt.failures(), 0, "{:?}", outcome.felt.failed);
}
