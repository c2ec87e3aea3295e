//! Who connects to the parent, and what for: the first line says.

use std::os::unix::net::UnixStream as StdUnixStream;

use skybox_node::control::{FromNode, FromParent, Opening, line, read_line};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::listeners::hand_over;
use super::state::Event;
use super::{Done, Order};

/// Words that may wait for one node: it is told a few in its life.
const WORDS_MAX: usize = 64;

/// Whoever connects says at once what for; a silent connection is closed after this.
const OPENING_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Where there are no descriptors left, those in use go on: they have so long to end.
const CROWDED_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Takes connections for as long as the parent lives.
pub(super) async fn accept(listener: UnixListener, events: mpsc::Sender<Event>) {
    let take = |stream| {
        let events = events.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &events).await {
                tracing::debug!("a connection to the parent ended: {error}");
            }
        });
    };
    take_each(listener, take).await;
}

/// Takes the connections of this user's processes, for as long as it is awaited.
pub(super) async fn take_each(listener: UnixListener, mut take: impl FnMut(UnixStream)) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_own_user(&stream) => take(stream),
            Ok(_) => {}
            Err(_) => tokio::time::sleep(CROWDED_PAUSE).await,
        }
    }
}

/// Whether this user's process is at the other end.
fn is_own_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let is_own = stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
    if !is_own {
        tracing::warn!("another user tried to reach the parent");
    }
    is_own
}

async fn serve(stream: UnixStream, events: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let by = format!("user {}", skybox_node::user_name(stream.peer_cred()?.uid()));
    let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let mut lines = BufReader::new(stream);
    let opening = tokio::time::timeout(OPENING_WAIT, read_line(&mut lines)).await;
    match opening.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?? {
        Opening::Node(hello) => {
            let (node, incarnation) = (hello.node.clone(), hello.incarnation);
            let (to_node, mut waiting) = mpsc::channel::<FromParent>(WORDS_MAX);
            events.send(Event::Hello { hello, to_node }).await.map_err(gone_event)?;
            let (read, mut write) = lines.into_inner().into_split();
            let mut lines = BufReader::new(read);
            let reading = async {
                loop {
                    let node = node.clone();
                    let event = match read_line(&mut lines).await? {
                        FromNode::Ready => Event::Ready { node, incarnation },
                        FromNode::Report(report) => Event::Report { node, incarnation, report },
                    };
                    events.send(event).await.map_err(gone_event)?;
                }
            };
            let writing = async {
                while let Some(word) = waiting.recv().await {
                    write.write_all(&line(&word)).await?;
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
                    events.send(Event::Order { order, by, reply }).await.map_err(gone_event)?;
                    done.await.map_err(gone)?
                }
            };
            lines.into_inner().write_all(&line(&done)).await
        }
    }
}

fn gone_event<E>(_: mpsc::error::SendError<E>) -> std::io::Error {
    std::io::ErrorKind::BrokenPipe.into()
}
