//! Writing to a connection: by a task of its own, and by the reader for the replies of what it read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Conn;
use super::batch::Batch;
use super::out::UNSENT;
use crate::host::lock;

/// How long the reader may take to read what is left of a connection that nothing can be written to any more.
const READ_OUT_WAIT: Duration = Duration::from_secs(1);
/// Batches that whoever is no writer writes before it goes on; what is left is the writer's.
const INLINE_BATCHES_MAX: usize = 4;
/// Batches in a row after which the writer lets other tasks run.
const TURN_BATCHES: usize = 8;

/// Writes what callers append, until the connection is over.
///
/// It yields once before **each** write of calls or replies: the caller that rang the bell put this task in front of the
/// worker's queue, and without the yield it would write that one frame alone; and while it wrote, callers appended a few
/// more. With it, callers that were woken together share a write, which is worth up to 3.5 times the throughput.
///
/// Where there is nothing to gather it does not yield, for that is not cheap: a worker that has nothing else to do looks
/// for work elsewhere, asks the kernel for events, and wakes another worker before it comes back.
pub(super) async fn write(conn: Arc<Conn>) {
    // Over the bells as well: another worker may ring each time just before this one would wait.
    let mut turn = 0;
    loop {
        conn.bell.notified().await;
        loop {
            turn += 1;
            if lock(&conn.out).gathers() || turn > TURN_BATCHES {
                turn = 0;
                tokio::task::yield_now().await;
            }
            if conn.is_closed() {
                return;
            }
            match conn.write_batch() {
                Ok(Flushed::All) => break,
                Ok(Flushed::Batch) => {}
                Ok(Flushed::Full) => {
                    // An error shows at the next write.
                    drop(conn.socket.writable().await);
                }
                Err(error) => {
                    let why = format!("writing to {} failed: {error}", conn.peer.node);
                    // What the peer has said before it went counts: the reader reads that, and closes at its end.
                    conn.take_no_more();
                    if tokio::time::timeout(READ_OUT_WAIT, conn.wait_closed()).await.is_ok() {
                        return;
                    }
                    conn.close(&conn.why_broken(why).await);
                    return;
                }
            }
        }
    }
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Everything is written, and the writer must be told of what comes next.
    All,
    /// One batch is written; more may have gathered meanwhile.
    Batch,
    /// The kernel takes no more for the moment.
    Full,
}

impl Conn {
    /// Writes one batch, as far as the kernel takes it. Only for whoever has scheduled `out`, and who stays
    /// responsible until all is written.
    fn write_batch(&self) -> io::Result<Flushed> {
        let batch = &mut *lock(&self.writing);
        if !lock(&self.out).take(batch) {
            return Ok(Flushed::All);
        }
        // Before the kernel has it: if the connection breaks meanwhile, the peer may have it too.
        self.hand_over(batch, true);
        while !batch.is_empty() {
            let error = match batch.with_slices(|slices| self.socket.try_write(slices)) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    batch.advance(written);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.hand_over(batch, false);
            lock(&self.out).put_back(std::mem::take(batch));
            let is_full = error.kind() == io::ErrorKind::WouldBlock;
            return if is_full { Ok(Flushed::Full) } else { Err(error) };
        }
        Ok(Flushed::Batch)
    }

    /// Notes how far requests have left this process: with all of a batch, or with what was written of it.
    fn hand_over(&self, batch: &Batch, all: bool) {
        let reached = if all { batch.end() } else { batch.reached() };
        self.handed_over.store(reached, Ordering::Release);
        let mut ends = batch.ends().peekable();
        if ends.peek().is_some() {
            let mut pending = lock(&self.pending);
            for call in ends {
                pending.sent(call, if all { 0 } else { UNSENT });
            }
        }
    }

    /// Writes what waits, unless the writer is about to: the replies that were made while a batch of frames was read, or
    /// the call of a caller that is alone. Waking the writer for one call, and its yield, take longer than the call.
    pub(super) fn write_inline(&self) {
        {
            let mut out = lock(&self.out);
            if out.is_empty() || !out.schedule() {
                return;
            }
        }
        for _ in 0..INLINE_BATCHES_MAX {
            match self.write_batch() {
                Ok(Flushed::All) => return,
                Ok(Flushed::Batch) => {}
                // The writer waits until the kernel takes more. It meets an error again, and closes the connection:
                // a caller must not, in the middle of whatever it holds.
                Ok(Flushed::Full) | Err(_) => break,
            }
        }
        self.bell.notify_one();
    }
}
