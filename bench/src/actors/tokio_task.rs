//! What one writes by hand: a task with a channel, and a channel for each answer.

use anyhow::{Context, Result, ensure};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::measure::{Actors, Counter};

pub(super) const NAME: &str = "tokio-task";

/// Messages that may wait.
const INBOX_LEN: usize = 32;

enum Message {
    Add(u64, oneshot::Sender<u64>),
    Crash(oneshot::Sender<u64>),
}

/// A running task, ended by dropping its sender.
pub(super) struct Task {
    inbox: mpsc::Sender<Message>,
    task: JoinHandle<()>,
}

impl Task {
    fn spawn(count: u64) -> Task {
        let (inbox, messages) = mpsc::channel(INBOX_LEN);
        Task { inbox, task: tokio::spawn(run(count, messages)) }
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<u64>) -> Message) -> Result<u64> {
        let (sender, answer) = oneshot::channel();
        self.inbox.send(message(sender)).await.ok().context("it has ended")?;
        answer.await.context("it has crashed")
    }
}

async fn run(count: u64, mut messages: mpsc::Receiver<Message>) {
    let mut counter = Counter::begin(count);
    while let Some(message) = messages.recv().await {
        let (sum, answer) = match message {
            Message::Add(n, answer) => (counter.add(n), answer),
            Message::Crash(answer) => (counter.crash(), answer),
        };
        // Whoever asked may not wait any more.
        let _ = answer.send(sum);
    }
}

pub(super) struct Tasks {
    victim: Task,
}

impl Actors for Tasks {
    type One = Task;

    async fn begin() -> Result<Self> {
        Ok(Tasks { victim: Task::spawn(0) })
    }

    async fn spawn(&self, count: u64) -> Result<Task> {
        Ok(Task::spawn(count))
    }

    async fn add(one: &Task, n: u64) -> Result<u64> {
        one.ask(|answer| Message::Add(n, answer)).await
    }

    /// Its owner waits for the end of the task, and spawns another one.
    async fn crash_and_add(&mut self, n: u64) -> Result<u64> {
        ensure!(self.victim.ask(Message::Crash).await.is_err(), "a crash is no answer");
        let ended = (&mut self.victim.task).await;
        ensure!(ended.is_err_and(|error| error.is_panic()), "it ends with a panic");
        self.victim = Task::spawn(0);
        Self::add(&self.victim, n).await
    }

    async fn stop(ones: Vec<Task>) -> Result<()> {
        drop(ones);
        Ok(())
    }
}
