//! A stream for those who push.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use skybox_core::{Error, WireError};
use tokio::sync::mpsc;

use super::{Event, Source};

/// The end of [`Stream::channel`](super::Stream::channel) that items go into. The stream ends when every clone of
/// it is dropped; dropped by a panic, the stream breaks off instead, so that nobody takes half of it for the whole.
pub struct StreamSender<T, E = Error> {
    items: mpsc::Sender<Result<T, E>>,
    panicked: Arc<AtomicBool>,
}

/// Nobody reads the stream any more. Holds what could not be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<T>(pub T);

impl<T, E> StreamSender<T, E> {
    /// Sends an item, waiting while the stream is as far ahead of its reader as it may be.
    ///
    /// # Errors
    /// [`Closed`], with the item, when the stream has been dropped: stop producing.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the item is not sent.
    pub async fn send(&self, item: T) -> Result<(), Closed<T>> {
        match self.items.reserve().await {
            Ok(place) => {
                place.send(Ok(item));
                Ok(())
            }
            Err(_) => Err(Closed(item)),
        }
    }

    /// Sends an error as the next item. More items may follow.
    ///
    /// # Errors
    /// [`Closed`], as for [`StreamSender::send`].
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the error is not sent.
    pub async fn send_error(&self, error: E) -> Result<(), Closed<E>> {
        match self.items.reserve().await {
            Ok(place) => {
                place.send(Err(error));
                Ok(())
            }
            Err(_) => Err(Closed(error)),
        }
    }

    /// Resolves when nobody reads the stream any more.
    pub async fn closed(&self) {
        self.items.closed().await;
    }

    /// Whether nobody reads the stream any more.
    pub fn is_closed(&self) -> bool {
        self.items.is_closed()
    }
}

impl<T, E> Clone for StreamSender<T, E> {
    fn clone(&self) -> StreamSender<T, E> {
        StreamSender { items: self.items.clone(), panicked: self.panicked.clone() }
    }
}

impl<T, E> Drop for StreamSender<T, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panicked.store(true, Ordering::Release);
        }
    }
}

/// Both ends.
pub(super) fn channel<T, E>(capacity: usize) -> (StreamSender<T, E>, Pushed<T, E>) {
    let (sender, items) = mpsc::channel(capacity);
    let panicked = Arc::new(AtomicBool::new(false));
    (StreamSender { items: sender, panicked: panicked.clone() }, Pushed { items, panicked })
}

/// What was pushed.
pub(super) struct Pushed<T, E> {
    items: mpsc::Receiver<Result<T, E>>,
    panicked: Arc<AtomicBool>,
}

impl<T: Send, E: WireError + Send> Source<T, E> for Pushed<T, E> {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<T, E>>> {
        self.items.poll_recv(cx).map(|item| match item {
            Some(Ok(item)) => Some(Event::Item(item)),
            Some(Err(error)) => Some(Event::Error(error)),
            // The panic goes on where the stream is read, as that of a task does where it is joined. The hook has
            // told of it already.
            None if self.panicked.load(Ordering::Acquire) => {
                resume_unwind(Box::new("what fed this stream panicked"))
            }
            None => None,
        })
    }
}

impl<T, E> fmt::Debug for StreamSender<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSender").field("closed", &self.is_closed()).finish()
    }
}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the stream any more")
    }
}

impl<T> std::error::Error for Closed<T> {}
