//! The task of a supervisor: it starts its children, waits for their ends, and does what is decided.

use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Instant;

use skybox_core::Exit;
use skybox_plan::supervise::{ChildEnd, Decision, Supervision};
use tokio::sync::{mpsc, oneshot, watch};

use super::child::{AnySpec, Running};
use crate::app::{App, AppInner};
use crate::thread::{self, Me};

/// How a supervisor came to its end. Nothing is left of its children then.
#[derive(Clone, Debug)]
pub(super) enum Over {
    /// It was to.
    Stopped,
    GaveUp(String),
}

struct Member {
    spec: Box<dyn AnySpec>,
    runs: Option<Box<dyn Running>>,
    /// Counts its lives: what is told of an earlier one is no news.
    life: u64,
}

/// A child has ended: its place, its life, and how.
type Ended = (usize, u64, Exit);

pub(super) struct Tree {
    /// The App does not live for the sake of a supervisor that lives in it.
    app: Weak<AppInner>,
    supervision: Supervision,
    members: Vec<Member>,
    /// The instance whose code has started the supervisor, if that was one's.
    owner: Option<Me>,
    /// Where that was.
    place: &'static Location<'static>,
    tell: mpsc::Sender<Ended>,
    told: mpsc::Receiver<Ended>,
    born: Instant,
}

/// Why there is nothing more to do.
enum Done {
    /// The supervisor was dropped, or its node leaves.
    Unwanted,
    GaveUp(String),
}

impl Tree {
    pub(super) fn new(
        app: &App,
        supervision: Supervision,
        specs: Vec<Box<dyn AnySpec>>,
        place: &'static Location<'static>,
    ) -> Tree {
        let owner = thread::me().filter(|me| me.app == app.inner().id);
        // Each life tells once.
        let (tell, told) = mpsc::channel(specs.len().max(1));
        let members = specs.into_iter().map(|spec| Member { spec, runs: None, life: 0 }).collect();
        Tree {
            app: Arc::downgrade(app.inner()),
            supervision,
            members,
            owner,
            place,
            tell,
            told,
            born: Instant::now(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut stop: oneshot::Receiver<()>,
        begun: oneshot::Sender<Result<(), String>>,
        over: watch::Sender<Option<Over>>,
    ) {
        let done = tokio::select! {
            biased;
            _ = &mut stop => Done::Unwanted,
            done = self.live(begun) => done,
        };
        self.stop_all().await;
        let why = match &done {
            Done::Unwanted => "its supervisor has been stopped".to_owned(),
            Done::GaveUp(why) => why.clone(),
        };
        for member in &self.members {
            member.spec.is_over(why.clone());
        }
        let Done::GaveUp(why) = done else {
            over.send_replace(Some(Over::Stopped));
            return;
        };
        over.send_replace(Some(Over::GaveUp(why.clone())));
        tracing::error!("{why}");
        tokio::select! {
            biased;
            // The supervisor was dropped, as when its instance has ended meanwhile.
            _ = &mut stop => {}
            () = crash(&self.app, self.owner, &why, self.place) => {}
        }
    }

    /// Dropped at any await, it leaves those that run in `members`.
    async fn live(&mut self, begun: oneshot::Sender<Result<(), String>>) -> Done {
        for place in 0..self.members.len() {
            if let Err(why) = self.start(place).await {
                let why = format!("its child `{}` does not start: {why}", self.members[place].spec.name());
                self.stop_all().await;
                // Whoever started it may have gone.
                drop(begun.send(Err(why.clone())));
                return Done::Unwanted;
            }
        }
        drop(begun.send(Ok(())));
        loop {
            // The other end is kept beside.
            let Some((place, life, exit)) = self.told.recv().await else { return Done::Unwanted };
            if self.members[place].life != life || self.members[place].runs.take().is_none() {
                continue;
            }
            let end = match exit {
                Exit::Normal | Exit::Stopped | Exit::FailedStop { .. } => ChildEnd::Normal,
                _ => ChildEnd::Abnormal,
            };
            if let Err(done) = self.follow(place, end, exit.to_string()).await {
                return done;
            }
        }
    }

    /// Does what is decided when a child has ended, until its siblings run again that are to.
    async fn follow(&mut self, mut place: usize, mut end: ChildEnd, mut cause: String) -> Result<(), Done> {
        loop {
            if !self.goes_on() {
                return Err(Done::Unwanted);
            }
            let name = self.members[place].spec.name().to_owned();
            let (stop, pause, start) = match self.supervision.ended(place, end, self.born.elapsed()) {
                Decision::Leave => {
                    self.members[place].spec.is_over(format!("`{name}` is not started again: {cause}"));
                    return Ok(());
                }
                Decision::GiveUp => {
                    return Err(Done::GaveUp(format!(
                        "its supervisor gave up: its children end too often, `{name}` the last time: {cause}"
                    )));
                }
                Decision::Restart { stop, pause, start } => (stop, pause, start),
            };
            tracing::warn!(child = name, "ended, and is started again: {cause}");
            for place in &start {
                self.members[*place].spec.starts();
            }
            for place in stop {
                self.stop(place).await;
                if !start.contains(&place) {
                    let why = format!("it was stopped with its sibling `{name}`, and is never started again");
                    self.members[place].spec.is_over(why);
                }
            }
            tokio::time::sleep(self.jittered(pause)).await;
            let mut failed = None;
            for place in start {
                if let Err(why) = self.start(place).await {
                    failed = Some((place, why));
                    break;
                }
            }
            match failed {
                None => return Ok(()),
                Some((failed, why)) => {
                    (place, end, cause) = (failed, ChildEnd::NotStarted, format!("it does not start: {why}"));
                }
            }
        }
    }

    async fn start(&mut self, place: usize) -> Result<(), String> {
        let member = &mut self.members[place];
        let app = self.app.upgrade().ok_or("the App has gone")?;
        let started = member.spec.start(&App::from_inner(app)).await;
        let runs = started.map_err(|error| error.to_string())?;
        member.life += 1;
        let (monitor, tell, life) = (runs.monitor(), self.tell.clone(), member.life);
        tokio::spawn(async move {
            let exit = monitor.await;
            // Nobody may be left to hear it.
            drop(tell.send((place, life, exit)).await);
        });
        member.runs = Some(runs);
        self.supervision.started(place);
        Ok(())
    }

    async fn stop(&mut self, place: usize) {
        let runs = self.members[place].runs.take();
        self.supervision.stopped(place);
        if let Some(runs) = runs {
            runs.stop().await;
        }
    }

    /// From last to first.
    async fn stop_all(&mut self) {
        for place in (0..self.members.len()).rev() {
            self.stop(place).await;
        }
    }

    /// Whether the App may still start something.
    fn goes_on(&self) -> bool {
        self.app.upgrade().is_some_and(|app| !app.is_closing())
    }

    fn jittered(&self, pause: std::time::Duration) -> std::time::Duration {
        let share = self.app.upgrade().map_or(0.5, |app| app.random.unit());
        pause.mul_f64(0.75 + share / 2.0)
    }
}

/// Has an instance crash, once it has started.
async fn crash(app: &Weak<AppInner>, owner: Option<Me>, why: &str, place: &Location<'_>) {
    let Some(owner) = owner else { return };
    let host = || app.upgrade().map(|app| app.hosts[usize::from(owner.module)].clone());
    while let Some(host) = host() {
        let mut changes = host.core().changes();
        if host.crash(owner.instance, why, &place.to_string()) {
            return;
        }
        drop(host);
        // An error means that the host has gone.
        if changes.changed().await.is_err() {
            return;
        }
    }
}
