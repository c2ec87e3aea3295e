//! The task of a supervisor: it starts its children, waits for their ends, and does what is decided.

use std::panic::Location;
use std::sync::{Arc, Weak};

use skybox_core::Exit;
use skybox_plan::supervise::{ChildEnd, Decision, Supervision};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::child::{AnySpec, Boxed, Running, Starting};
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
    spec: Arc<dyn AnySpec>,
    /// Goes on making what is to run. Kept here, so that whoever stops all of them stops that as well.
    starting: Option<Starting>,
    runs: Option<Box<dyn Running>>,
    /// Goes on stopping what has run. Kept here, so that whoever stops all of them waits for it.
    stopping: Option<Boxed<'static, ()>>,
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
    /// Who is to be started, from first to last, and when.
    due: Vec<(Instant, Vec<usize>)>,
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
    /// One of the children did not start the first time.
    NotStarted(String),
    GaveUp(String),
}

impl Tree {
    pub(super) fn new(
        app: &App,
        supervision: Supervision,
        specs: Vec<Arc<dyn AnySpec>>,
        place: &'static Location<'static>,
    ) -> Tree {
        let owner = thread::me().filter(|me| me.app == app.inner().id);
        // Each life tells once.
        let (tell, told) = mpsc::channel(specs.len().max(1));
        let member = |spec| Member { spec, starting: None, runs: None, stopping: None, life: 0 };
        Tree {
            app: Arc::downgrade(app.inner()),
            supervision,
            members: specs.into_iter().map(member).collect(),
            due: Vec::new(),
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
        let mut begun = Some(begun);
        let done = tokio::select! {
            biased;
            _ = &mut stop => Done::Unwanted,
            done = self.live(&mut begun) => done,
        };
        let why = match &done {
            Done::Unwanted => "its supervisor has been stopped",
            Done::NotStarted(why) | Done::GaveUp(why) => why,
        };
        for member in &self.members {
            member.spec.is_over(why.to_owned());
        }
        self.stop_all().await;
        match done {
            Done::Unwanted => drop(over.send_replace(Some(Over::Stopped))),
            // Whoever started it may have gone.
            Done::NotStarted(why) => drop(begun.map(|begun| begun.send(Err(why)))),
            Done::GaveUp(why) => {
                over.send_replace(Some(Over::GaveUp(why.clone())));
                tracing::error!("{why}");
                tokio::select! {
                    biased;
                    // The supervisor was dropped, as when its instance has ended meanwhile.
                    _ = &mut stop => {}
                    () = crash(&self.app, self.owner, &why, self.place) => {}
                }
            }
        }
    }

    /// Dropped at any await, it leaves in `members` what has yet to be stopped.
    async fn live(&mut self, begun: &mut Option<oneshot::Sender<Result<(), String>>>) -> Done {
        for place in 0..self.members.len() {
            if let Err(why) = self.start(place).await {
                return Done::NotStarted(format!(
                    "its child `{}` does not start: {why}",
                    self.members[place].spec.name()
                ));
            }
        }
        drop(begun.take().map(|begun| begun.send(Ok(()))));
        loop {
            let next = self.due.iter().map(|(at, _)| *at).min();
            let done = tokio::select! {
                biased;
                // The other end is kept beside.
                Some((place, life, exit)) = self.told.recv() => self.ended(place, life, &exit).await,
                () = until(next) => self.start_due(next).await,
            };
            if let Err(done) = done {
                return done;
            }
        }
    }

    async fn ended(&mut self, place: usize, life: u64, exit: &Exit) -> Result<(), Done> {
        if self.members[place].life != life || self.members[place].runs.take().is_none() {
            return Ok(());
        }
        // One rule for links and for supervisors, as in OTP: a last word that fails is no end in order.
        let end = if exit.takes_along() { ChildEnd::Abnormal } else { ChildEnd::Normal };
        self.follow(place, end, &exit.to_string()).await
    }

    /// Does what is decided when a child has ended: stops who is to be stopped, and notes who is to be started, and when.
    async fn follow(&mut self, place: usize, end: ChildEnd, cause: &str) -> Result<(), Done> {
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
        // Who waits already is among those that are to wait now, or is concerned by neither.
        self.due.retain(|(_, waiting)| !waiting.iter().any(|place| start.contains(place)));
        let pause = self.app.upgrade().map_or(pause, |app| app.jittered(pause));
        self.due.push((Instant::now() + pause, start));
        Ok(())
    }

    /// Starts those whose pause is over: one after the other, until one of them fails.
    async fn start_due(&mut self, at: Option<Instant>) -> Result<(), Done> {
        let Some(index) = self.due.iter().position(|(due, _)| Some(*due) == at) else { return Ok(()) };
        for place in self.due.swap_remove(index).1 {
            if let Err(why) = self.start(place).await {
                let cause = format!("it does not start: {why}");
                return self.follow(place, ChildEnd::NotStarted, &cause).await;
            }
        }
        Ok(())
    }

    async fn start(&mut self, place: usize) -> Result<(), String> {
        let member = &mut self.members[place];
        let app = self.app.upgrade().ok_or("the App has gone")?;
        let starting = member.starting.insert(member.spec.clone().start(App::from_inner(app)));
        let started = starting.await;
        member.starting = None;
        let runs = started?;
        member.life += 1;
        let (monitor, tell, life) = (runs.monitor(), self.tell.clone(), member.life);
        let (app, child) = (self.app.clone(), runs.id());
        if let (Some(app), Some(child)) = (app.upgrade(), child) {
            app.lives.begin(child, life - 1);
        }
        tokio::spawn(async move {
            let exit = monitor.await;
            if let (Some(app), Some(child)) = (app.upgrade(), child) {
                app.lives.end(child);
            }
            // Nobody may be left to hear it.
            drop(tell.send((place, life, exit)).await);
        });
        member.runs = Some(runs);
        self.supervision.started(place);
        Ok(())
    }

    async fn stop(&mut self, place: usize) {
        self.supervision.stopped(place);
        let member = &mut self.members[place];
        if let Some(starting) = member.starting.take() {
            // Dropped half made, nobody would know when nothing is left of it.
            let made = tokio::time::timeout(member.spec.stop_wait(), starting).await;
            member.runs = made.ok().and_then(Result::ok);
        }
        if let Some(runs) = member.runs.take() {
            member.stopping = Some(runs.stop());
        }
        if let Some(stopping) = &mut member.stopping {
            stopping.await;
            member.stopping = None;
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
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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
