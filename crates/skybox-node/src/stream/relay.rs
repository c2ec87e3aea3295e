//! Streams of calls that only pass through this node: items go on as they came.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use skybox_core::{CallErrorKind, CallId};
use skybox_wire::frame::{PayloadOf, StreamId};

use super::receiving::Inlet;
use super::sending::{Outlet, Passed, Sender};
use super::{Outlets, Streams};
use crate::host::lock;

/// One stream on its way through. Dropped before anybody has asked for an item, its source is dropped too.
struct Relay {
    inlet: Mutex<Option<Inlet>>,
    given: AtomicBool,
}

/// The streams of a payload that has come over one connection, to be sent on over another.
///
/// # Errors
/// `Overloaded`: too many streams are being read over that connection.
pub(crate) fn relayed(
    from: &Arc<Streams>,
    of: PayloadOf,
    call: CallId,
    count: u8,
) -> Result<Outlets, CallErrorKind> {
    let relay = |position| {
        let inlet = from.attach_receiving(StreamId { of, call, position });
        let inlet = inlet.map_err(|what| CallErrorKind::Overloaded { what })?;
        let relay: Arc<dyn Outlet> =
            Arc::new(Relay { inlet: Mutex::new(Some(inlet)), given: AtomicBool::new(false) });
        Ok(relay)
    };
    (0..count).map(relay).collect()
}

impl Relay {
    fn take(&self) -> Option<Inlet> {
        self.given.store(true, Ordering::Release);
        lock(&self.inlet).take()
    }
}

impl Outlet for Relay {
    fn pump(self: Arc<Self>, sender: Sender) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let taken = sender.begun(|| self.take()).await;
            drop(self);
            let Some(mut inlet) = taken else { return };
            loop {
                match poll_fn(|cx| sender.poll_pass(&mut inlet, cx)).await {
                    Passed::Item => {}
                    Passed::End(failed) => return sender.end(failed.as_ref()),
                    // Nobody reads it any more; its source hears of it as the inlet is dropped.
                    Passed::Stop => return,
                }
            }
        })
    }

    fn has_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }
}
