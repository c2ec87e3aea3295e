//! What a node asks its parent over the connection that both have for its life, and the answers that come there.
//!
//! Not a connection each, as a turn for `once` has: names are asked for more often, what one node asks is to be done in
//! that order, and an instance that ends has to say so in a process that has no descriptor left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use skybox_plan::names::{NameAnswer, NameAsk};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{FromNode, NAME_ASKS_MAX};
use crate::host::lock;

/// What was asked and not answered yet.
#[derive(Debug)]
pub(super) struct Asking {
    waiting: Mutex<Waiting>,
    /// Room for as many as the parent keeps answers of.
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// Who waits, by the number of what was asked. Kept until it is answered, also if nobody waits any more.
    answers: HashMap<u64, (oneshot::Sender<NameAnswer>, OwnedSemaphorePermit)>,
    /// The parent is gone: nothing is answered any more.
    over: bool,
}

impl Asking {
    pub(super) fn new() -> Asking {
        Asking { waiting: Mutex::default(), room: Arc::new(Semaphore::new(NAME_ASKS_MAX)) }
    }

    /// Asks, and waits for the answer; `None` if the parent is gone.
    pub(super) async fn ask(&self, parent: &mpsc::Sender<FromNode>, ask: NameAsk) -> Option<NameAnswer> {
        let permit = self.room.clone().acquire_owned().await.ok()?;
        // Before it has a number: dropped here, nothing was asked.
        let place = parent.reserve().await.ok()?;
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.over {
                return None;
            }
            let number = waiting.next;
            waiting.next += 1;
            waiting.answers.insert(number, (sender, permit));
            place.send(FromNode::Name { number, ask });
        }
        answer.await.ok()
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
