//! ractor: actors with a supervisor that is told of their ends.

use anyhow::{Context, Result, bail, ensure};
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::watch;

use super::measure::{Actors, Counter};

pub(super) const NAME: &str = "ractor";

pub(super) enum Message {
    Add(u64, RpcReplyPort<u64>),
    Crash(RpcReplyPort<u64>),
}

struct Adder;

impl Actor for Adder {
    type Msg = Message;
    type State = Counter;
    type Arguments = u64;

    async fn pre_start(&self, _: ActorRef<Message>, count: u64) -> Result<Counter, ActorProcessingErr> {
        Ok(Counter::begin(count))
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        counter: &mut Counter,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Add(n, answer) => answer.send(counter.add(n))?,
            Message::Crash(answer) => answer.send(counter.crash())?,
        }
        Ok(())
    }
}

/// Keeps one counter alive, and says which it is.
struct Supervisor(watch::Sender<Option<ActorRef<Message>>>);

impl Actor for Supervisor {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        let (child, _) = Actor::spawn_linked(None, Adder, 0, myself.get_cell()).await?;
        self.0.send_replace(Some(child));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event {
            let (child, _) = Actor::spawn_linked(None, Adder, 0, myself.get_cell()).await?;
            self.0.send_replace(Some(child));
        }
        Ok(())
    }
}

pub(super) struct Ractor {
    victim: watch::Receiver<Option<ActorRef<Message>>>,
    _supervisor: ActorRef<()>,
}

async fn ask(
    one: &ActorRef<Message>,
    message: impl FnOnce(RpcReplyPort<u64>) -> Message,
) -> Result<CallResult<u64>> {
    one.call(message, None).await.map_err(|error| anyhow::anyhow!("{error}"))
}

impl Actors for Ractor {
    type One = ActorRef<Message>;

    async fn begin() -> Result<Self> {
        let (sender, victim) = watch::channel(None);
        let (supervisor, _) = Actor::spawn(None, Supervisor(sender), ()).await?;
        Ok(Ractor { victim, _supervisor: supervisor })
    }

    async fn spawn(&self, count: u64) -> Result<Self::One> {
        Ok(Actor::spawn(None, Adder, count).await?.0)
    }

    async fn add(one: &Self::One, n: u64) -> Result<u64> {
        match ask(one, |answer| Message::Add(n, answer)).await? {
            CallResult::Success(sum) => Ok(sum),
            CallResult::Timeout => bail!("timed out"),
            CallResult::SenderError => bail!("it has ended"),
        }
    }

    async fn crash_and_add(&mut self, n: u64) -> Result<u64> {
        let victim = self.victim.borrow_and_update().clone().context("the supervisor has one")?;
        let crashed = ask(&victim, Message::Crash).await?;
        ensure!(matches!(crashed, CallResult::SenderError), "a crash is no answer");
        self.victim.changed().await?;
        let next = self.victim.borrow().clone().context("the supervisor has one")?;
        Self::add(&next, n).await
    }

    async fn stop(ones: Vec<Self::One>) -> Result<()> {
        for one in &ones {
            one.stop(None);
        }
        Ok(())
    }
}
