//! A node with a victim, and what is done to it.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skybox::cloud::testing::{Nodes, RunningNodes};
use skybox::{App, CallErrorKind, CallOptions, Error, Handle};

use crate::crowd::Driver;
use crate::group::{self, CROWD_MEMORY_MIB, Group, MEMORY_MIB};
use crate::load::{Felt, Load};
use crate::victims::{Pair, Steady, Twin, Victim, WORD_ENV};
use crate::watched::{Sufferer, Watched, another};

/// The longest any wait may take. Generous: it only ends tests that would fail anyway.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// What a call has whose callee is going to be stuck.
pub(crate) const SOON: Duration = Duration::from_millis(300);
/// The node on which everything happens.
pub(crate) const HERE: &str = "node-1";
/// What monitors tell when it is gone.
pub(crate) const NODE_LOST: &str = "node-lost";
/// How long a row's load goes on at least; a run that prints figures asks for more.
const WINDOW: Duration = Duration::from_millis(300);

/// Where the victim lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// In the node itself.
    Task,
    /// In a cell of it.
    Cell,
}

/// What is done to the victim.
#[derive(Clone, Copy)]
pub(crate) enum Deed {
    /// It is told to do it itself.
    Told(&'static str),
    /// The same, by a caller who does not wait for ever.
    Late(&'static str),
    /// So many of its next starts panic, and it is told to panic.
    Starts(u32),
    /// Its process gets a signal, while a call waits.
    Signal(Signal),
    /// Two instances wait for each other.
    Clasp,
}

/// What came of it.
pub(crate) struct Outcome {
    /// The kinds of the errors of the calls that met it.
    pub(crate) errors: Vec<String>,
    /// What monitors of the spawned one have told: all of them the same; `None` if it lived on.
    pub(crate) told: Option<String>,
    /// From the failure of its call until the last of them had told.
    pub(crate) told_after: Option<Duration>,
    /// The kinds of the errors until there was another spawned one.
    pub(crate) starts: Vec<&'static str>,
    /// The reasons of what ended meanwhile, as the node has written them down: of the one that Skybox starts again.
    pub(crate) exits: Vec<String>,
    /// From the failure to the first call that is answered again; `None` if there was no such call in time.
    pub(crate) answers_after: Option<Duration>,
    /// The other module's calls.
    pub(crate) felt: Felt,
    /// The process of the node is the same as before.
    pub(crate) node_lives: bool,
}

pub(crate) struct Stage {
    pub(crate) nodes: RunningNodes,
    pub(crate) group: Group,
    column: Column,
    word: std::path::PathBuf,
}

/// The kind of a call's error.
pub(crate) fn kind_of(error: &Error) -> &'static str {
    match error.call_error().map(skybox::CallError::kind) {
        None => "its own",
        Some(CallErrorKind::Crashed { .. }) => "Crashed",
        Some(CallErrorKind::Lost { .. }) => "Lost",
        Some(CallErrorKind::Deadline { .. }) => "Deadline",
        Some(CallErrorKind::NotStarted { .. }) => "NotStarted",
        Some(CallErrorKind::Unplaced { .. }) => "Unplaced",
        Some(CallErrorKind::Unreachable { .. }) => "Unreachable",
        Some(CallErrorKind::Overloaded { .. }) => "Overloaded",
        Some(CallErrorKind::Cancelled) => "Cancelled",
        Some(CallErrorKind::Moved) => "Moved",
        Some(CallErrorKind::Gone) => "Gone",
        Some(_) => "another",
    }
}

impl Stage {
    /// One node. In a process that is the node, it does not return.
    pub(crate) async fn start(column: Column) -> Stage {
        let one = Nodes::of_this_test(1);
        Stage::start_on(column, one, MEMORY_MIB).await
    }

    /// The same, and a second node that has crowds on the first.
    pub(crate) async fn start_with_driver(column: Column) -> Stage {
        let two = Nodes::of_this_test(2).pin("driver", &["node-2"]);
        Stage::start_on(column, two, CROWD_MEMORY_MIB).await
    }

    async fn start_on(column: Column, nodes: Nodes, memory_mib: u64) -> Stage {
        group::enter();
        let group = Group::new(memory_mib);
        let word = std::env::temp_dir().join(format!("skybox-kill-matrix-{}", std::process::id()));
        let here = [HERE];
        let nodes = nodes.pin("victim", &here).pin("steady", &here).pin("pair", &here);
        // Ten thousand traces of panics would be what is measured.
        let nodes = nodes.env(WORD_ENV, &word.to_string_lossy()).env("RUST_BACKTRACE", "0");
        let settings: &[(&str, &str)] = match column {
            Column::Task => &[],
            Column::Cell => &[
                ("VICTIM__ISOLATE", "process"),
                ("VICTIM__CPU", "0.5"),
                ("VICTIM__MEMORY", "64MiB"),
                ("VICTIM__OVERRUN", "200ms"),
                // A row's crash does not slow down the restart after the next one's.
                ("VICTIM__WITHIN", "250ms"),
                ("TWIN__ISOLATE", "process"),
                ("TWIN__CPU", "0.5"),
                ("TWIN__MEMORY", "64MiB"),
                ("TWIN__OVERRUN", "200ms"),
                ("SHARER__ISOLATE", "process:shared"),
                ("SHARER__CPU", "0.5"),
                ("LONER__ISOLATE", "process"),
                ("LONER__CPU", "0.5"),
                ("PAIR__ISOLATE", "process:shared"),
                ("PAIR__CPU", "0.5"),
            ],
        };
        let set =
            |nodes: Nodes, (key, value): &(&str, &str)| nodes.env(&format!("SKYBOX_MODULES__{key}"), value);
        let nodes = settings.iter().fold(nodes, set);
        let nodes = group.of(nodes).start(|builder| builder).await;
        // In the test alone: a node never comes here.
        std::fs::create_dir_all(&word).expect("the directory of temporary files can be written");
        nodes.app().get::<Victim>().pid().await.expect("the victim starts");
        Stage { nodes, group, column, word }
    }

    fn app(&self) -> &App {
        self.nodes.app()
    }

    pub(crate) fn driver(&self) -> Handle<Driver> {
        self.app().get::<Driver>()
    }

    pub(crate) fn load(&self) -> Load {
        Load::begin(self.app().get::<Steady>())
    }

    /// How long the load of a row goes on at least.
    pub(crate) fn window() -> Duration {
        let asked = std::env::var("SKYBOX_TEST_WINDOW_MS").ok().and_then(|text| text.parse().ok());
        asked.map_or(WINDOW, Duration::from_millis)
    }

    /// Ends the node for good; gives the kinds of the errors of the call that does it, and of one that comes after.
    pub(crate) async fn end(&self) -> Vec<String> {
        let watched = Watched::spawn(self.app()).await;
        let mut errors = self.act(&watched.twin, Deed::Told("exit(0)")).await;
        assert_eq!(watched.told().await, NODE_LOST);
        let late = self.app().get::<Steady>().with(CallOptions::new().deadline(SOON)).add(1, 1).await;
        errors.extend(late.err().iter().map(|error| kind_of(error).to_owned()));
        errors
    }

    /// Does it under load: to a spawned one first, which ends of it or does not; then, unless the node has gone with that,
    /// to the one that is started again. Waits until both have been replaced.
    pub(crate) async fn suffer(&self, deed: Deed, ends: bool) -> Outcome {
        let node = self.node_pid().await;
        let (ended, twins) = (self.ended("victim").await, self.ended("twin").await);
        let watched = Watched::spawn(self.app()).await;
        let load = self.load();
        let began = Instant::now();
        let mut errors = match deed {
            Deed::Clasp => watched.clasp(self.app()).await,
            deed => self.act(&watched.twin, deed).await,
        };
        let failed = Instant::now();
        if self.column == Column::Task && matches!(deed, Deed::Late(_)) {
            // Nothing else would end it.
            self.kill(node, Signal::KILL);
        }
        let telling = async {
            if ends {
                (Some(watched.told().await), Some(failed.elapsed()))
            } else {
                self.make_good(&watched.twin, deed).await;
                watched.lives().await;
                (None, None)
            }
        };
        let ((told, told_after), mut answers_after) = tokio::join!(telling, self.answers_after(failed, deed));
        let mut starts = Vec::new();
        if told.as_deref() != Some(NODE_LOST) {
            starts = another::<Twin>(self.app()).await;
            assert_eq!(self.ended("twin").await - twins, usize::from(ends), "each end is written down once");
            let victim = self.app().get::<Victim>();
            errors.extend(match deed {
                Deed::Clasp => self.clasp().await,
                deed => self.act(&victim, deed).await,
            });
            answers_after = self.answers_after(Instant::now(), deed).await;
            self.make_good(&victim, deed).await;
        }
        errors.dedup();
        self.rest(began).await;
        let felt = load.end().await;
        let node_lives = self.node_pid().await == node;
        let exits = self.exits(ended).await;
        Outcome { errors, told, told_after, starts, exits, answers_after, felt, node_lives }
    }

    /// The rest of a row's time.
    pub(crate) async fn rest(&self, began: Instant) {
        // Sleeps because a load is so many calls a second for so many seconds.
        tokio::time::sleep(Stage::window().saturating_sub(began.elapsed())).await;
    }

    /// Does to one instance what can be done to one.
    async fn act<T: Sufferer>(&self, victim: &Handle<T>, deed: Deed) -> Vec<String> {
        let outcome = match deed {
            Deed::Told(how) => T::suffer(victim, how).await,
            Deed::Late(how) => T::suffer(&victim.with(CallOptions::new().deadline(SOON)), how).await,
            Deed::Starts(count) => {
                std::fs::write(self.word.join("panics-left"), count.to_string()).expect("it can be written");
                T::suffer(victim, "panic").await
            }
            Deed::Signal(signal) => self.signal(victim, signal).await,
            Deed::Clasp => unreachable!("it takes two"),
        };
        outcome.err().iter().map(|error| kind_of(error).to_owned()).collect()
    }

    async fn signal<T: Sufferer>(&self, victim: &Handle<T>, signal: Signal) -> skybox::Result<()> {
        let waits = if signal == Signal::STOP {
            victim.with(CallOptions::new().deadline(SOON))
        } else {
            victim.clone()
        };
        let signalling = async {
            // It is sent after the call that waits, and so it is answered after that has come.
            let pid = T::pid(victim).await.expect("it lives");
            self.kill(pid, signal);
            pid
        };
        let both = async { tokio::join!(T::suffer(&waits, "waiting"), signalling) };
        let (outcome, pid) = tokio::time::timeout(PATIENCE, both).await.expect("the call ends");
        if signal == Signal::STOP && self.column == Column::Task {
            self.kill(pid, Signal::CONT);
        }
        outcome
    }

    fn kill(&self, pid: u32, signal: Signal) {
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process has a number");
        kill_process(pid, signal).expect("it is this user's");
    }

    async fn clasp(&self) -> Vec<String> {
        let at = |key| self.app().at::<Pair>(key);
        let (one, other) = (at("one"), at("other"));
        let (one, other) = tokio::join!(one.clasp("other"), other.clasp("one"));
        let errors = [one, other].map(|ended| ended.expect("each says what became of its call"));
        errors.into_iter().flatten().collect()
    }

    /// From then until the one that is started again answers, or has answered no call in time.
    async fn answers_after(&self, failed: Instant, deed: Deed) -> Option<Duration> {
        let answers = async || match deed {
            Deed::Clasp => self.app().at::<Pair>("one").touch().await.is_ok(),
            _ => self.app().get::<Victim>().pid().await.is_ok(),
        };
        let answered = async {
            while !answers().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.ok().map(|()| failed.elapsed())
    }

    async fn make_good<T: Sufferer>(&self, victim: &Handle<T>, deed: Deed) {
        if let Deed::Told("descriptors used up") = deed {
            T::suffer(victim, "descriptors given back").await.expect("it can be called as before");
        }
    }

    /// The process of the node.
    pub(crate) async fn node_pid(&self) -> u32 {
        // A node that has died is started again.
        let steady = self.app().get::<Steady>();
        let asking = async {
            loop {
                if let Ok(pid) = steady.pid().await {
                    return pid;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("the node is there")
    }

    /// How many instances of a module have ended on the node otherwise than in order, in all, or have failed to start.
    pub(crate) async fn ended(&self, module: &str) -> usize {
        self.look(module).await["ended"].as_u64().unwrap_or_default() as usize
    }

    /// Why those have ended that came after so many.
    async fn exits(&self, before: usize) -> Vec<String> {
        let since = self.ended("victim").await.saturating_sub(before);
        let status = self.look("victim").await;
        let endings = status["endings"].as_array().cloned().unwrap_or_default();
        let recent = &endings[endings.len().saturating_sub(since)..];
        recent.iter().map(|end| end["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What the node says of a module.
    pub(crate) async fn look(&self, module: &str) -> Value {
        let text = self.app().get::<Steady>().look(module).await.expect("the node answers");
        serde_json::from_str(&text).expect("it is JSON")
    }

    pub(crate) async fn stop(self) {
        drop(std::fs::remove_dir_all(&self.word));
        self.nodes.stop().await;
        drop(self.group);
    }
}
