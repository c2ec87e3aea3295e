//! A call whose streams may go on when it has returned.

use std::fmt;
use std::sync::Arc;

use skybox_core::{Callee, WireError};

use super::layer::{Layer, Maker};
use super::{Passing, Stream};
use crate::call::Returned;
use crate::host::{Exclusive, Instance, InstanceCore, Shared};
use crate::thread;

/// An instance that something of a call still needs.
pub(crate) trait InFlight: Send + Sync {
    /// The part of it that does not know its type.
    fn core(&self) -> &InstanceCore;
}

impl<T: Send> InFlight for Instance<T> {
    fn core(&self) -> &InstanceCore {
        self
    }
}

/// A call's hold on its instance, by which its streams keep it.
pub trait Holds {
    /// The streams of the call to `callee`.
    #[doc(hidden)]
    fn live(&self, callee: Callee) -> Live;
}

impl<T: Send + 'static> Holds for Shared<T> {
    fn live(&self, callee: Callee) -> Live {
        Live { callee, instance: self.keep() }
    }
}

impl<T: Send + 'static> Holds for Exclusive<T> {
    fn live(&self, callee: Callee) -> Live {
        Live { callee, instance: self.keep() }
    }
}

/// The streams of one call, at its callee.
pub struct Live {
    callee: Callee,
    instance: Arc<dyn InFlight>,
}

impl Live {
    /// An argument as the method takes it.
    pub fn argument<T: 'static, E: WireError + 'static>(&self, passing: Passing<T, E>) -> Stream<T, E> {
        let (in_flight, callee) = (Some(self.instance.clone()), self.callee);
        let begins = thread::current(|frame| frame.and_then(thread::CallFrame::liftable));
        Stream { in_flight, callee, begins, ..passing.into_stream() }
    }

    /// What the method returned, as its caller gets it.
    pub fn result<T, E, R>(&self, result: R) -> R
    where
        T: 'static,
        E: WireError + 'static,
        R: Returned<Ok = Stream<T, E>>,
    {
        R::from_result(result.into_result().map(|stream| {
            let layer = Layer::new(stream, Maker::Instance(self.instance.clone()));
            let stream = Stream::from_source(layer, self.callee);
            Stream { in_flight: Some(self.instance.clone()), ..stream }
        }))
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({})", self.callee)
    }
}
