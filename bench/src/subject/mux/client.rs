//! The multiplexer's client: a writer task, a reader task, and a slot for each call in flight.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use anyhow::{Result, anyhow, ensure};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{self, FrameReader, Header};

/// Calls that may be in flight: four times what is measured.
const CALLS_MAX: u32 = 4_096;

/// A reply up to this size is copied into memory that its slot keeps, so that small calls do not
/// allocate; a larger one gets memory of its own, which the caller takes.
const KEPT_REPLY_BYTES_MAX: usize = 4 * 1024;

/// One connection; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Locked for each call. Order of locks: outbox, then slot.
    outbox: Mutex<Outbox>,
    /// Indexed by call id. A lock each: the reader fills some while callers empty others.
    slots: Box<[Mutex<Slot>]>,
}

#[derive(Debug)]
struct Outbox {
    /// Frames that the writer has not taken.
    frames: Vec<u8>,
    /// Ids that no call uses; the last freed is used first, since its slot is still in the cache.
    free: Vec<u32>,
    /// The writer, while it waits for the first frame.
    writer: Option<Waker>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Slot {
    state: SlotState,
    reply: Vec<u8>,
}

#[derive(Debug, Default)]
enum SlotState {
    #[default]
    Free,
    Waiting(Waker),
    /// The caller has gone; the id is free once the reply has come.
    Abandoned,
    Answered,
    Closed,
}

impl Connection {
    /// Starts the two tasks of a connection, which end with it.
    pub(super) fn start<R, W>(reader: R, writer: W) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let outbox =
            Outbox { frames: Vec::new(), free: (0..CALLS_MAX).rev().collect(), writer: None, closed: false };
        let slots = (0..CALLS_MAX).map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { outbox: Mutex::new(outbox), slots });
        tokio::spawn(write(Arc::clone(&shared), writer));
        tokio::spawn(read(Arc::clone(&shared), FrameReader::new(reader)));
        Self { shared }
    }

    /// Sends a request and waits for its reply, of which `read` makes the result.
    ///
    /// # Errors
    /// When the connection has ended, [`CALLS_MAX`] calls are in flight, or `read` fails.
    pub(super) async fn call<T>(
        &self,
        method: u8,
        write: impl FnOnce(&mut Vec<u8>),
        read: impl Fn(&mut Vec<u8>) -> Result<T>,
    ) -> Result<T> {
        let mut write = Some(write);
        let mut ticket = None;
        poll_fn(|context| match (&mut ticket, write.take()) {
            (Some(ticket), _) => ready_or_wait(ticket, context, &read),
            (None, Some(write)) => {
                ticket = Some(self.shared.send(method, write, context.waker())?);
                Poll::Pending
            }
            (None, None) => unreachable!("the first poll takes the request and leaves a ticket"),
        })
        .await
    }
}

fn ready_or_wait<T>(
    ticket: &mut Ticket<'_>,
    context: &mut Context<'_>,
    read: impl Fn(&mut Vec<u8>) -> Result<T>,
) -> Poll<Result<T>> {
    let mut slot = ticket.shared.slot(ticket.id);
    match &mut slot.state {
        SlotState::Waiting(waker) => {
            waker.clone_from(context.waker());
            Poll::Pending
        }
        SlotState::Answered => {
            let result = read(&mut slot.reply);
            slot.state = SlotState::Free;
            Poll::Ready(result)
        }
        SlotState::Closed => Poll::Ready(Err(anyhow!("the connection ended"))),
        SlotState::Free | SlotState::Abandoned => unreachable!("a slot is its ticket's until it is dropped"),
    }
}

impl Shared {
    /// Takes an id and queues the request, in one step under the lock.
    fn send(&self, method: u8, write: impl FnOnce(&mut Vec<u8>), waker: &Waker) -> Result<Ticket<'_>> {
        let mut outbox = self.outbox();
        ensure!(!outbox.closed, "the connection has ended");
        let id = outbox.free.pop().ok_or_else(|| anyhow!("{CALLS_MAX} calls are in flight"))?;
        self.slot(id).state = SlotState::Waiting(waker.clone());
        frame::append(&mut outbox.frames, Header { id, method }, write);
        let writer = outbox.writer.take();
        drop(outbox);
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(Ticket { shared: self, id })
    }

    /// Gives a reply to its caller.
    fn answer(&self, id: u32, payload: &[u8]) -> Result<()> {
        ensure!(id < CALLS_MAX, "a reply to the call {id}, which was never made");
        let mut slot = self.slot(id);
        match std::mem::take(&mut slot.state) {
            SlotState::Waiting(caller) => {
                if payload.len() > KEPT_REPLY_BYTES_MAX {
                    slot.reply = payload.to_vec();
                } else {
                    slot.reply.clear();
                    slot.reply.extend_from_slice(payload);
                }
                slot.state = SlotState::Answered;
                drop(slot);
                caller.wake();
            }
            SlotState::Abandoned => {
                drop(slot);
                self.outbox().free.push(id);
            }
            other => {
                slot.state = other;
                return Err(anyhow!("a reply to the call {id}, which waits for none"));
            }
        }
        Ok(())
    }

    /// Ends every call that waits, and all that come.
    fn close(&self) {
        let mut outbox = self.outbox();
        outbox.closed = true;
        let writer = outbox.writer.take();
        drop(outbox);
        if let Some(writer) = writer {
            writer.wake();
        }
        for id in 0..CALLS_MAX {
            let mut slot = self.slot(id);
            if let SlotState::Waiting(caller) = &slot.state {
                let caller = caller.clone();
                slot.state = SlotState::Closed;
                drop(slot);
                caller.wake();
            }
        }
    }

    /// Waits until frames are queued; `false` when the connection has ended.
    async fn frames(&self) -> bool {
        poll_fn(|context| {
            let mut outbox = self.outbox();
            if outbox.closed || !outbox.frames.is_empty() {
                return Poll::Ready(!outbox.closed);
            }
            outbox.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: u32) -> MutexGuard<'_, Slot> {
        self.slots[id as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's right to its slot.
struct Ticket<'a> {
    shared: &'a Shared,
    id: u32,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut slot = self.shared.slot(self.id);
        if let SlotState::Waiting(_) = slot.state {
            slot.state = SlotState::Abandoned;
            return;
        }
        slot.state = SlotState::Free;
        drop(slot);
        self.shared.outbox().free.push(self.id);
    }
}

async fn write(shared: Arc<Shared>, mut writer: impl AsyncWrite + Unpin) {
    let mut frames = Vec::new();
    while shared.frames().await {
        // Whoever was woken together with this task queues its request before the write.
        tokio::task::yield_now().await;
        std::mem::swap(&mut frames, &mut shared.outbox().frames);
        // A socket has nothing to flush; TLS may still hold what a full socket did not take.
        if let Err(error) = write_and_flush(&mut writer, &frames).await {
            eprintln!("the multiplexer cannot write: {error}");
            return shared.close();
        }
        frames.clear();
    }
}

async fn write_and_flush(writer: &mut (impl AsyncWrite + Unpin), frames: &[u8]) -> std::io::Result<()> {
    writer.write_all(frames).await?;
    writer.flush().await
}

async fn read(shared: Arc<Shared>, mut replies: FrameReader<impl AsyncRead + Unpin>) {
    if let Err(error) = pass_on(&shared, &mut replies).await {
        eprintln!("the multiplexer cannot read: {error:#}");
    }
    shared.close();
}

async fn pass_on(shared: &Shared, replies: &mut FrameReader<impl AsyncRead + Unpin>) -> Result<()> {
    while replies.fill().await? {
        while let Some((header, payload)) = replies.next()? {
            shared.answer(header.id, payload)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::server;
    use super::*;
    use crate::subject::Client;
    use crate::work::{BLOB_BYTES, Echo, blob};

    /// Smaller than a blob, so that frames arrive in pieces.
    const PIPE_BYTES: usize = 1_000;

    fn connection() -> Connection {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let (reader, writer) = tokio::io::split(server);
        tokio::spawn(server::serve(reader, writer));
        let (reader, writer) = tokio::io::split(client);
        Connection::start(reader, writer)
    }

    #[tokio::test]
    async fn each_caller_gets_its_own_reply() {
        let connection = connection();
        let callers: Vec<_> = (0..100)
            .map(|number: usize| {
                let connection = connection.clone();
                tokio::spawn(async move {
                    let id = number as u64;
                    connection.echo(Echo::sample(id)).await.unwrap().check(id).unwrap();
                    assert_eq!(
                        connection.blob(blob(number, BLOB_BYTES)).await.unwrap(),
                        blob(number, BLOB_BYTES)
                    );
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(connection.shared.outbox().free.len(), CALLS_MAX as usize);
    }

    #[tokio::test]
    async fn an_abandoned_call_gives_its_id_back_once_it_is_answered() {
        let connection = connection();
        let mut abandoned = Box::pin(connection.echo(Echo::sample(1)));
        assert!(futures::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        assert_eq!(connection.shared.outbox().free.len(), CALLS_MAX as usize - 1);
        // Replies come in order: once this call is answered, the abandoned one was.
        connection.echo(Echo::sample(2)).await.unwrap().check(2).unwrap();
        assert_eq!(connection.shared.outbox().free.len(), CALLS_MAX as usize);
    }

    #[tokio::test]
    async fn the_end_of_a_connection_fails_the_calls_that_wait_and_those_that_come() {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let (reader, writer) = tokio::io::split(client);
        let connection = Connection::start(reader, writer);
        let mut waiting = Box::pin(connection.echo(Echo::sample(1)));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(server);
        assert!(waiting.await.is_err());
        assert!(connection.echo(Echo::sample(2)).await.is_err());
    }
}
