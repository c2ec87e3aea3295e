//! What is to be done once: one node at a time tries, until one succeeds; the others wait.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

/// The turn to run something, or its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Run,
    Done,
    Failed(String),
}

#[derive(Debug)]
enum Progress {
    Running(VecDeque<oneshot::Sender<Turn>>),
    Done,
}

/// Everything that is to be done once.
#[derive(Debug, Default)]
pub(super) struct OnceBook(HashMap<String, Progress>);

impl OnceBook {
    /// Somebody wants it done.
    pub(super) fn ask(&mut self, name: &str, answer: oneshot::Sender<Turn>) {
        match self.0.get_mut(name) {
            Some(Progress::Done) => drop(answer.send(Turn::Done)),
            Some(Progress::Running(waiting)) => waiting.push_back(answer),
            None => {
                if answer.send(Turn::Run).is_ok() {
                    self.0.insert(name.to_owned(), Progress::Running(VecDeque::new()));
                }
            }
        }
    }

    /// A run ended. `None`: the node that ran it died, and the next one tries.
    pub(super) fn ended(&mut self, name: &str, outcome: Option<Result<(), String>>) {
        let Some(Progress::Running(mut waiting)) = self.0.remove(name) else { return };
        match outcome {
            Some(Ok(())) => {
                waiting.into_iter().for_each(|answer| drop(answer.send(Turn::Done)));
                self.0.insert(name.to_owned(), Progress::Done);
            }
            // Every start fails with it; a node that is started again tries again.
            Some(Err(cause)) => {
                waiting.into_iter().for_each(|answer| drop(answer.send(Turn::Failed(cause.clone()))));
            }
            None => {
                while let Some(answer) = waiting.pop_front() {
                    if answer.send(Turn::Run).is_ok() {
                        self.0.insert(name.to_owned(), Progress::Running(waiting));
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(book: &mut OnceBook) -> oneshot::Receiver<Turn> {
        let (answer, turn) = oneshot::channel();
        book.ask("migrate", answer);
        turn
    }

    #[test]
    fn one_runs_and_the_others_wait() {
        let mut book = OnceBook::default();
        let (mut first, mut second) = (ask(&mut book), ask(&mut book));
        assert_eq!(first.try_recv(), Ok(Turn::Run));
        assert!(second.try_recv().is_err());
        book.ended("migrate", Some(Ok(())));
        assert_eq!(second.try_recv(), Ok(Turn::Done));
        assert_eq!(ask(&mut book).try_recv(), Ok(Turn::Done));
    }

    #[test]
    fn a_failure_is_everybodys_and_the_next_start_tries_again() {
        let mut book = OnceBook::default();
        let (_first, mut second) = (ask(&mut book), ask(&mut book));
        book.ended("migrate", Some(Err("no such table".into())));
        assert_eq!(second.try_recv(), Ok(Turn::Failed("no such table".into())));
        assert_eq!(ask(&mut book).try_recv(), Ok(Turn::Run));
    }

    #[test]
    fn when_the_one_that_runs_it_dies_the_next_tries() {
        let mut book = OnceBook::default();
        let (_first, gone, mut third) = (ask(&mut book), ask(&mut book), ask(&mut book));
        drop(gone);
        book.ended("migrate", None);
        assert_eq!(third.try_recv(), Ok(Turn::Run));
    }
}
