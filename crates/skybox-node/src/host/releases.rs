//! What a plan takes from a node is gone only when what earlier plans took is gone as well.
//!
//! A key that is handed over is out of the table at once, while its last call or its `stop` goes on. The plan that
//! follows finds nothing more to take; if it were told as released, the key would start elsewhere beside its old instance.

use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

/// Hand-overs of one module, in the order of the plans.
#[derive(Debug, Default)]
pub(super) struct Releases {
    /// Resolves when the newest has ended, and with it all that came before.
    newest: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Releases {
    /// Resolves when `gone` has, and all that was given before it.
    pub(super) fn after_those_before<F: Future>(&self, gone: F) -> impl Future<Output = ()> + use<F> {
        let (ended, newest) = oneshot::channel::<()>();
        let before = self.newest.lock().unwrap_or_else(PoisonError::into_inner).replace(newest);
        async move {
            gone.await;
            if let Some(before) = before {
                // One that was dropped was so with its whole node.
                drop(before.await);
            }
            drop(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_later_plan_waits_for_an_earlier_one() {
        let mut context = Context::from_waker(Waker::noop());
        let releases = Releases::default();
        let (end, goes_on) = oneshot::channel::<()>();
        let mut first = pin!(releases.after_those_before(goes_on));
        let mut second = pin!(releases.after_those_before(ready(())));
        let mut third = Box::pin(releases.after_those_before(ready(())));
        assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(third.as_mut().poll(&mut context), Poll::Pending);
        drop(end);
        assert_eq!(third.as_mut().poll(&mut context), Poll::Pending, "the first one has not seen it yet");
        assert_eq!(first.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(third.as_mut().poll(&mut context), Poll::Ready(()));
    }
}
