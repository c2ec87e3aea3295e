//! What a node asks its parent over the connection that both have for its life, and the answers that come there.
//!
//! Not a connection each, as a turn for `once` has: names are asked for more often, what one node asks is to be done in
//! that order, and an instance that ends has to say so in a process that has no descriptor left.
//!
//! A parent that hangs holds nobody for long: who asks waits for [`NAME_WAIT`] at most, and so many wait at most as there
//! are [places](NAME_ASKERS_MAX). Ends have a way of their own ([`Ends`]), which no lookup is in front of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skybox_core::InstanceId;
use skybox_plan::names::{ENDED_MAX, NODE_NAMES_MAX, NameAnswer, NameAsk};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{ControlError, FromNode, NAME_ASKS_MAX};
use crate::host::lock;

/// How long whoever asks waits. The parent answers within a millisecond, or hangs.
pub(super) const NAME_WAIT: Duration = Duration::from_secs(5);
/// Those of one node who wait for an answer, or for room to ask: beyond, asking is refused.
pub(super) const NAME_ASKERS_MAX: usize = 16 * 1024;

/// What was asked and not answered yet.
#[derive(Debug)]
pub(super) struct Asking {
    waiting: Mutex<Waiting>,
    /// Places for those who wait.
    places: Semaphore,
    /// Room for as many as the parent keeps answers of.
    room: Arc<Semaphore>,
    /// How long they wait.
    wait: Duration,
}

/// An instance that has ended, and who waits until its names are free.
type Ended = (InstanceId, oneshot::Sender<()>);

/// Where ends are given, to be told: kept by the link to the parent, whose end is that of [`Ends`].
pub(super) struct Ending(mpsc::Sender<Ended>);

/// The ends that are still to be told. Their message is one at a time, and tells of all that have gathered.
pub(super) struct Ends(mpsc::Receiver<Ended>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// Who waits, by the number of what was asked. Kept until it is answered, also if nobody waits any more.
    answers: HashMap<u64, Waiter>,
    /// The parent is gone: nothing is answered any more.
    over: bool,
}

/// Who waits; with the room that it takes, but for the one message of ends.
type Waiter = (oneshot::Sender<NameAnswer>, Option<OwnedSemaphorePermit>);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The parent is gone, and all names with it.
    Gone,
    /// Too many wait for one.
    Crowded,
    /// It has not come in time. Whether the question has left, so that the parent may do what it says.
    Late { asked: bool },
}

impl NoAnswer {
    pub(super) fn error(self, gone: impl FnOnce() -> ControlError) -> ControlError {
        match self {
            NoAnswer::Gone => gone(),
            NoAnswer::Crowded => ControlError::Crowded { max: NAME_ASKERS_MAX },
            NoAnswer::Late { asked } => ControlError::Late { wait: NAME_WAIT, asked },
        }
    }
}

impl Asking {
    pub(super) fn new() -> Asking {
        Asking::with_wait(NAME_WAIT)
    }

    fn with_wait(wait: Duration) -> Asking {
        let room = Arc::new(Semaphore::new(NAME_ASKS_MAX));
        let places = Semaphore::new(NAME_ASKERS_MAX);
        Asking { waiting: Mutex::default(), places, room, wait }
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(
        &self,
        parent: &mpsc::Sender<FromNode>,
        ask: NameAsk,
    ) -> Result<NameAnswer, NoAnswer> {
        let _place = self.places.try_acquire().map_err(|_| NoAnswer::Crowded)?;
        let until = Instant::now() + self.wait;
        let asking = async {
            let room = self.room.clone().acquire_owned().await.ok()?;
            self.send(parent, ask, Some(room)).await
        };
        let asked = timeout_at(until, asking).await.map_err(|_| NoAnswer::Late { asked: false })?;
        let answer = timeout_at(until, asked.ok_or(NoAnswer::Gone)?).await;
        answer.map_err(|_| NoAnswer::Late { asked: true })?.map_err(|_| NoAnswer::Gone)
    }

    /// Sends a question; `None` if the parent is gone.
    ///
    /// # Cancel safety
    /// Dropped, nothing was asked.
    async fn send(
        &self,
        parent: &mpsc::Sender<FromNode>,
        ask: NameAsk,
        room: Option<OwnedSemaphorePermit>,
    ) -> Option<oneshot::Receiver<NameAnswer>> {
        // Before it has a number.
        let place = parent.reserve().await.ok()?;
        let (sender, answer) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        if waiting.over {
            return None;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.answers.insert(number, (sender, room));
        place.send(FromNode::Name { number, ask });
        Some(answer)
    }

    /// The parent has answered.
    pub(super) fn answered(&self, number: u64, answer: NameAnswer) {
        let waiting = lock(&self.waiting).answers.remove(&number);
        if let Some((sender, _)) = waiting {
            // Whoever has asked may have left.
            drop(sender.send(answer));
        }
    }

    /// The parent is gone.
    pub(super) fn end(&self) {
        let answers = {
            let mut waiting = lock(&self.waiting);
            waiting.over = true;
            std::mem::take(&mut waiting.answers)
        };
        drop(answers);
    }
}

impl Ending {
    pub(super) fn new() -> (Ending, Ends) {
        // An instance ends once, and says so if it had a name.
        let (ends, waiting) = mpsc::channel(NODE_NAMES_MAX);
        (Ending(ends), Ends(waiting))
    }

    /// Tells that nothing is left of an instance, and waits until its names are free; `None` if the parent is gone, and
    /// they with it. Nobody is told twice: it is told also if nobody waits any more.
    pub(super) async fn ended(&self, instance: InstanceId) -> Option<()> {
        let (free, is_free) = oneshot::channel();
        self.0.send((instance, free)).await.ok()?;
        is_free.await.ok()
    }
}

impl Ends {
    /// Tells the parent of ends, in as few messages as it takes: while one is on its way, the next one gathers.
    pub(super) async fn tell(mut self, asking: Arc<Asking>, parent: mpsc::Sender<FromNode>) {
        let mut ended = Vec::new();
        while self.0.recv_many(&mut ended, ENDED_MAX).await > 0 {
            let instances = ended.iter().map(|(instance, _)| *instance).collect();
            let Some(told) = asking.send(&parent, NameAsk::Ended { instances }, None).await else { return };
            // However long it takes: who waits has a limit of its own.
            if told.await.is_err() {
                return;
            }
            for (_, free) in ended.drain(..) {
                // Whoever has waited may have left.
                let _ = free.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::Incarnation;
    use tokio::task::JoinSet;

    use super::*;

    fn lookup() -> NameAsk {
        NameAsk::Whereis { name: "lobby".to_owned() }
    }

    fn instance(count: u64) -> InstanceId {
        InstanceId { node: Incarnation(1), count }
    }

    async fn next(parent: &mut mpsc::Receiver<FromNode>) -> (u64, NameAsk) {
        match parent.recv().await {
            Some(FromNode::Name { number, ask }) => (number, ask),
            other => panic!("{other:?}"),
        }
    }

    /// Long enough for all to have asked before the first one gives up.
    const SHORT: Duration = Duration::from_secs(3);

    #[tokio::test]
    async fn who_asks_a_parent_that_hangs_is_told_in_time_whether_it_was_asked() {
        let asking = Arc::new(Asking::with_wait(SHORT));
        let (says, mut parent) = mpsc::channel(2 * NAME_ASKS_MAX);
        let mut asks = JoinSet::new();
        for _ in 0..NAME_ASKERS_MAX + 1 {
            let (asking, says) = (asking.clone(), says.clone());
            asks.spawn(async move { asking.ask(&says, lookup()).await });
        }
        let answers = asks.join_all().await;
        let count = |why| answers.iter().filter(|answer| **answer == Err(why)).count();
        assert_eq!(count(NoAnswer::Crowded), 1);
        assert_eq!(count(NoAnswer::Late { asked: true }), NAME_ASKS_MAX);
        assert_eq!(count(NoAnswer::Late { asked: false }), NAME_ASKERS_MAX - NAME_ASKS_MAX);
        // What it was asked it answers when it goes on, and others are answered then.
        for _ in 0..NAME_ASKS_MAX {
            let (number, _) = next(&mut parent).await;
            asking.answered(number, NameAnswer::Done);
        }
        assert!(parent.try_recv().is_err(), "what was late has not been asked");
        let answering = async {
            let (number, ask) = next(&mut parent).await;
            assert_eq!(ask, lookup());
            asking.answered(number, NameAnswer::Holder(None));
        };
        let (answer, ()) = tokio::join!(asking.ask(&says, lookup()), answering);
        assert_eq!(answer, Ok(NameAnswer::Holder(None)));
    }

    #[tokio::test]
    async fn ends_do_not_wait_behind_lookups_and_gather_while_one_message_is_on_its_way() {
        let asking = Arc::new(Asking::new());
        let (ending, ends) = Ending::new();
        let ending = Arc::new(ending);
        let (says, mut parent) = mpsc::channel(4 * NAME_ASKS_MAX);
        let telling = tokio::spawn(ends.tell(asking.clone(), says.clone()));
        let mut lookups = JoinSet::new();
        for _ in 0..2 * NAME_ASKS_MAX {
            let (asking, says) = (asking.clone(), says.clone());
            lookups.spawn(async move { asking.ask(&says, lookup()).await });
        }
        for _ in 0..NAME_ASKS_MAX {
            assert_eq!(next(&mut parent).await.1, lookup());
        }
        // Not one of them is answered.
        let mut all_end = JoinSet::new();
        let count = 2 * ENDED_MAX;
        for n in 0..count {
            let ending = ending.clone();
            all_end.spawn(async move { ending.ended(instance(n as u64)).await });
        }
        let mut told = Vec::new();
        while told.iter().sum::<usize>() < count {
            let (number, ask) = next(&mut parent).await;
            let NameAsk::Ended { instances } = ask else { panic!("no lookup has room: {ask:?}") };
            assert!(parent.try_recv().is_err(), "one message at a time");
            told.push(instances.len());
            asking.answered(number, NameAnswer::Done);
        }
        assert!(told.len() <= 3 && told.iter().all(|count| *count <= ENDED_MAX), "{told:?}");
        assert_eq!(all_end.join_all().await, vec![Some(()); count]);
        // With the link to the parent goes who tells, and so the node's side of the connection.
        drop((ending, says));
        telling.await.unwrap();
    }
}
