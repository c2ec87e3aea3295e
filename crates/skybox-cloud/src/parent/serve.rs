//! Who connects to the parent, and what for: the first line says.

use std::os::unix::net::UnixStream as StdUnixStream;

use skybox_node::control::{FromNode, FromParent, NAME_ANSWERS_MAX, Opening, line, read_line};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::listeners::hand_over;
use super::once::Turn;
use super::state::Event;
use super::{Done, Order};

/// Plans that may wait for one node. It reads them as fast as they come, or it is dying.
const PLANS_MAX: usize = 1024;

/// Whoever connects says at once what for; a silent connection is closed after this.
const OPENING_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Takes connections for as long as the parent lives.
pub(super) async fn accept(listener: UnixListener, events: mpsc::Sender<Event>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: those in use go on; give them a moment to end.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let own = rustix::process::geteuid().as_raw();
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
            tracing::warn!("another user tried to reach the parent");
            continue;
        }
        let events = events.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &events).await {
                tracing::debug!("a connection to the parent ended: {error}");
            }
        });
    }
}

async fn serve(stream: UnixStream, events: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let mut lines = BufReader::new(stream);
    let opening = tokio::time::timeout(OPENING_WAIT, read_line(&mut lines)).await;
    match opening.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?? {
        Opening::Node(hello) => {
            let (node, incarnation) = (hello.node.clone(), hello.incarnation);
            // Plans and the answers to questions about names share this channel and the connection. Neither can hold the
            // other up for long, so they have no ways of their own:
            // - A node has at most `NAME_ANSWERS_MAX` questions that are not answered. Before a plan stand so many short
            //   answers at most, and they do not take its room. One that asks more fills its own channel alone.
            // - Questions of all nodes pass one queue of events, as reports do. Each costs a look into a table, makes no
            //   plan anew, and a node waits for answers before it asks further: a report waits for as many looks as there are
            //   nodes times `NAME_ANSWERS_MAX`, which takes less time than making a plan.
            // - A plan goes whole and may be long, but only the newest of those that wait is written.
            let (to_node, mut waiting) = mpsc::channel::<FromParent>(PLANS_MAX + NAME_ANSWERS_MAX);
            events.send(Event::Hello { hello, to_node }).await.map_err(gone_event)?;
            let (read, mut write) = lines.into_inner().into_split();
            let mut lines = BufReader::new(read);
            let reading = async {
                loop {
                    let node = node.clone();
                    let event = match read_line(&mut lines).await? {
                        FromNode::Report(report) => Event::Report { node, incarnation, report },
                        FromNode::Name { number, ask } => Event::Name { node, incarnation, number, ask },
                        // Said where the turn was asked for.
                        FromNode::OnceEnded(_) => continue,
                    };
                    events.send(event).await.map_err(gone_event)?;
                }
            };
            let writing = async {
                let mut messages = Vec::new();
                while waiting.recv_many(&mut messages, PLANS_MAX).await > 0 {
                    for message in newest(messages.drain(..)) {
                        write.write_all(&line(&message)).await?;
                    }
                }
                Ok::<_, std::io::Error>(())
            };
            let outcome: std::io::Result<()> = tokio::select! {
                outcome = reading => outcome,
                outcome = writing => outcome,
            };
            events.send(Event::Gone { node, incarnation }).await.map_err(gone_event)?;
            outcome
        }
        Opening::Once { name, .. } => once(lines, name, events).await,
        Opening::Listener { node, name, address } => {
            let (reply, answer) = oneshot::channel();
            events.send(Event::Listener { node, name, address, reply }).await.map_err(gone_event)?;
            let mut stream = lines.into_inner();
            match answer.await.map_err(gone)? {
                Ok(Some(listener)) => {
                    let stream: StdUnixStream = stream.into_std()?;
                    stream.set_nonblocking(false)?;
                    hand_over(&stream, &listener)
                }
                Ok(None) => stream.write_all(&line(&FromParent::NotServed)).await,
                Err(why) => stream.write_all(&line(&FromParent::Refused(why))).await,
            }
        }
        Opening::Operate(order) => {
            let done = match serde_json::from_value::<Order>(order) {
                Err(error) => Done::Refused(error.to_string()),
                Ok(order) => {
                    let (reply, done) = oneshot::channel();
                    events.send(Event::Order { order, reply }).await.map_err(gone_event)?;
                    done.await.map_err(gone)?
                }
            };
            lines.into_inner().write_all(&line(&done)).await
        }
    }
}

/// Leaves out plans that are followed by another: a plan is whole, and says all that those before it said.
fn newest(messages: impl DoubleEndedIterator<Item = FromParent>) -> impl Iterator<Item = FromParent> {
    let mut seen = false;
    let mut kept: Vec<_> = messages
        .rev()
        .filter(|message| !matches!(message, FromParent::Plan(_)) || !std::mem::replace(&mut seen, true))
        .collect();
    kept.reverse();
    kept.into_iter()
}

fn gone_event<E>(_: mpsc::error::SendError<E>) -> std::io::Error {
    std::io::ErrorKind::BrokenPipe.into()
}

async fn once(
    mut lines: BufReader<UnixStream>,
    name: String,
    events: &mpsc::Sender<Event>,
) -> std::io::Result<()> {
    let (reply, turn) = oneshot::channel();
    events.send(Event::OnceAsked { name: name.clone(), reply }).await.map_err(gone_event)?;
    let turn = turn.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
    let answer = match &turn {
        Turn::Run => FromParent::OnceRun,
        Turn::Done => FromParent::OnceDone,
        Turn::Failed(why) => FromParent::OnceFailed(why.clone()),
    };
    let written = lines.get_mut().write_all(&line(&answer)).await;
    if turn == Turn::Run {
        // A node that dies while it runs it ends the connection: the next one tries.
        let outcome = match written {
            Ok(()) => read_line::<FromNode>(&mut lines).await.ok(),
            Err(_) => None,
        };
        let outcome = outcome.and_then(|said| match said {
            FromNode::OnceEnded(outcome) => Some(outcome),
            FromNode::Report(_) | FromNode::Name { .. } => None,
        });
        events.send(Event::OnceEnded { name, outcome }).await.map_err(gone_event)?;
    }
    Ok(())
}
