//! Writing to a connection: by a task of its own, and by the reader for the replies of what it read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, BytesMut};

use super::Conn;
use super::out::Taken;
use crate::host::lock;

/// A batch buffer that grew beyond this is not kept.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Writes what callers append, until the connection is over.
///
/// It yields once before it writes: the caller that rang the bell put this task in front of the worker's queue,
/// and without the yield it would write that one frame alone. With it, callers that were woken together share a
/// write, which is worth up to 3.5 times the throughput and costs nothing when there is only one.
pub(super) async fn write(conn: Arc<Conn>) {
    let mut batch = BytesMut::new();
    loop {
        conn.bell.notified().await;
        tokio::task::yield_now().await;
        loop {
            if conn.is_closed() {
                return;
            }
            match conn.flush(&mut batch) {
                Ok(Flushed::All) => break,
                Ok(Flushed::Full) => {
                    // An error shows at the next write.
                    drop(conn.socket.writable().await);
                }
                Err(error) => {
                    conn.close(&format!("writing to {} failed: {error}", conn.peer.node));
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
    /// The kernel takes no more for the moment; whoever flushes stays responsible.
    Full,
}

impl Conn {
    /// Writes until there is nothing left or the kernel takes no more. Only for whoever has scheduled `out`.
    pub(super) fn flush(&self, batch: &mut BytesMut) -> io::Result<Flushed> {
        loop {
            batch.clear();
            let Some(taken) = lock(&self.out).take(batch) else { return Ok(Flushed::All) };
            while batch.has_remaining() {
                match self.socket.try_write(batch) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        batch.advance(written);
                        if taken == Taken::Ordinary {
                            self.handed_over.fetch_add(written as u64, Ordering::Release);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        lock(&self.out).put_back(taken, std::mem::take(batch));
                        return Ok(Flushed::Full);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if batch.capacity() > KEPT_BYTES_MAX {
                *batch = BytesMut::new();
            }
        }
    }

    /// Writes the replies that were made while a batch of frames was read, unless the writer is about to.
    pub(super) fn flush_replies(&self, batch: &mut BytesMut) {
        {
            let mut out = lock(&self.out);
            if out.is_empty() || !out.schedule() {
                return;
            }
        }
        match self.flush(batch) {
            Ok(Flushed::All) => {}
            // The writer waits until the kernel takes more.
            Ok(Flushed::Full) => self.bell.notify_one(),
            Err(error) => self.close(&format!("writing to {} failed: {error}", self.peer.node)),
        }
    }
}
