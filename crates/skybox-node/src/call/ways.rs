//! What generated code calls a method by: its [`Call`], which knows how arguments and result cross.
//!
//! How a result crosses depends on what its error can do. The three types here are one inside the other, and each
//! has the same methods under other conditions; method lookup goes from the outer one inwards and takes the first
//! whose conditions hold:
//! 1. [`Call`]: the error is a `WireError`;
//! 2. [`SerdeCall`]: the error is data;
//! 3. [`NoCall`]: something in the signature cannot cross. It asks for nothing, so that the mistake is one error,
//!    that of the check at the type itself ([`check_argument`](crate::rt::check_argument),
//!    [`check_return`](crate::rt::check_return)), and not one for every use.

use std::fmt;
use std::future::{Future, Pending, pending};
use std::ops::Deref;

use serde::Serialize;
use skybox_core::{CallError, ModuleDescriptor, WireError};

use super::crossing::{ByImage, BySerde, Crosses, ResultValue, Returned};
use super::own::OwnArguments;
use super::{Incoming, Serving, Target, TaskCall};
use crate::host::{Exclusive, Shared};
use crate::module::{Method, Module, Task};
use crate::stream::{Holds, Live, Passing, Stream};

/// A method, as it is called and served: its arguments as owned types, and its result.
pub struct Call<O, R>(SerdeCall<O, R>);

/// The second choice: the error is data.
pub struct SerdeCall<O, R>(NoCall<O, R>);

/// The last choice, for what [`check_argument`](crate::rt::check_argument) or
/// [`check_return`](crate::rt::check_return) refuses.
pub struct NoCall<O, R>(Method<O, R>);

impl<O, R> Call<O, R> {
    /// The `index`-th method of `module`.
    pub const fn new(module: &'static ModuleDescriptor, index: u16) -> Call<O, R> {
        Call(SerdeCall(NoCall(Method::new(module, index))))
    }

    #[inline]
    fn method(&self) -> &Method<O, R> {
        &self.0.0.0
    }
}

impl<O, R> NoCall<O, R> {
    /// A stream as an argument of this call, which is being made.
    pub fn passing<T: 'static, E: WireError + 'static>(&'static self, stream: Stream<T, E>) -> Passing<T, E> {
        Passing::argument(stream, self.0.callee())
    }

    /// The streams of this call, which runs on that instance.
    pub fn live(&'static self, held: &impl Holds) -> Live {
        held.live(self.0.callee())
    }
}

impl<O, R> SerdeCall<O, R> {
    #[inline]
    fn method(&self) -> &Method<O, R> {
        &self.0.0
    }
}

impl<O, R> Deref for Call<O, R> {
    type Target = SerdeCall<O, R>;

    #[inline]
    fn deref(&self) -> &SerdeCall<O, R> {
        &self.0
    }
}

impl<O, R> Deref for SerdeCall<O, R> {
    type Target = NoCall<O, R>;

    #[inline]
    fn deref(&self) -> &NoCall<O, R> {
        &self.0
    }
}

/// A task's result, its instance held until there is one: arguments are evaluated from left to right.
#[inline]
fn held<G, R>(_instance: G, result: R) -> R {
    result
}

/// The ways of a call, with the given [`Crossing`](super::Crossing).
macro_rules! ways {
    ($wire:ident) => {
        /// Calls a `&self` method; see [`Target::shared`].
        #[inline]
        pub fn shared<'c, T, A, F, Fut>(
            &'static self,
            target: &'c Target<T>,
            arguments: A,
            run: F,
        ) -> impl Future<Output = R> + Send + 'c
        where
            T: Module + Sync,
            A: Serialize + Send + Sync + 'c,
            F: FnOnce(Shared<T>, A) -> Fut + Send + 'c,
            Fut: Future<Output = R> + Send + 'c,
        {
            target.shared(self.method(), $wire::NEW, arguments, run)
        }

        /// Calls a `&self` method that may leave its caller; see [`Target::detached`].
        #[inline]
        pub fn detached<'c, T, A, How, F, Fut>(
            &'static self,
            target: &'c Target<T>,
            arguments: A,
            run: F,
        ) -> impl Future<Output = R> + Send + 'c
        where
            T: Module + Sync,
            A: OwnArguments<O, How> + Serialize + Send + Sync + 'c,
            F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            target.detached(self.method(), $wire::NEW, arguments, |arguments| arguments.own(), run)
        }

        /// Calls a `&mut self` method; see [`Target::exclusive`].
        #[inline]
        pub fn exclusive<'c, T, A, How, F, Fut>(
            &'static self,
            target: &'c Target<T>,
            arguments: A,
            run: F,
        ) -> impl Future<Output = R> + Send + 'c
        where
            T: Module,
            A: OwnArguments<O, How> + Serialize + Send + Sync + 'c,
            F: FnOnce(Exclusive<T>, O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            target.exclusive(self.method(), $wire::NEW, arguments, |arguments| arguments.own(), run)
        }

        /// Calls an async task; see [`TaskCall::shared`].
        pub fn shared_task<'c, T, A, F, Fut>(
            &'static self,
            _task: T,
            arguments: A,
            run: F,
        ) -> impl Future<Output = R> + Send + 'c
        where
            T: Task,
            A: Serialize + Send + Sync + 'c,
            F: FnOnce(A) -> Fut + Send + 'c,
            Fut: Future<Output = R> + Send + 'c,
        {
            TaskCall::<T>::current().shared(
                self.method(),
                $wire::NEW,
                arguments,
                |this, arguments| async move { held(this, run(arguments).await) },
            )
        }

        /// Calls an async task that may leave its caller; see [`TaskCall::detached`].
        pub fn detached_task<'c, T, A, How, F, Fut>(
            &'static self,
            _task: T,
            arguments: A,
            run: F,
        ) -> impl Future<Output = R> + Send + 'c
        where
            T: Task,
            A: OwnArguments<O, How> + Serialize + Send + Sync + 'c,
            F: FnOnce(O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            let own = |arguments: A| arguments.own();
            TaskCall::<T>::current().detached(
                self.method(),
                $wire::NEW,
                arguments,
                own,
                |this, arguments| async move { held(this, run(arguments).await) },
            )
        }

        /// Calls a task that is not async; see [`TaskCall::detached`].
        pub fn sync_task<'c, T, A, How, F>(
            &'static self,
            _task: T,
            arguments: A,
            run: F,
        ) -> impl Future<Output = R> + Send + 'c
        where
            T: Task,
            A: OwnArguments<O, How> + Serialize + Send + Sync + 'c,
            F: FnOnce(O) -> R + Send + 'static,
        {
            let own = |arguments: A| arguments.own();
            TaskCall::<T>::current().detached(
                self.method(),
                $wire::NEW,
                arguments,
                own,
                |this, arguments| async move { held(this, run(arguments)) },
            )
        }

        /// Calls a task with streams; see [`TaskCall::detached`].
        pub fn streaming_task<'c, T, A, How, F, Fut>(
            &'static self,
            _task: T,
            arguments: A,
            run: F,
        ) -> impl Future<Output = R> + Send + 'c
        where
            T: Task,
            A: OwnArguments<O, How> + Serialize + Send + Sync + 'c,
            F: FnOnce(Live, O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            let own = |arguments: A| arguments.own();
            TaskCall::<T>::current().detached(
                self.method(),
                $wire::NEW,
                arguments,
                own,
                move |this, arguments| async move {
                    let live = self.live(&this);
                    held(this, run(live, arguments).await)
                },
            )
        }

        /// Runs a call of a task with streams, from elsewhere.
        pub fn serve_streaming_task<T, F, Fut>(&'static self, call: Incoming<T>, run: F) -> Serving
        where
            T: Task,
            F: FnOnce(Live, O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            call.detached(self.method(), $wire::NEW, move |this, arguments| async move {
                let live = self.live(&this);
                held(this, run(live, arguments).await)
            })
        }

        /// Runs a call of an async task that came from elsewhere.
        pub fn serve_shared_task<T, F, Fut>(&'static self, call: Incoming<T>, run: F) -> Serving
        where
            T: Task,
            F: FnOnce(O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            call.shared(self.method(), $wire::NEW, |this, arguments| async move {
                held(this, run(arguments).await)
            })
        }

        /// Runs a call of an async task that may leave its caller, from elsewhere.
        pub fn serve_detached_task<T, F, Fut>(&'static self, call: Incoming<T>, run: F) -> Serving
        where
            T: Task,
            F: FnOnce(O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            call.detached(self.method(), $wire::NEW, |this, arguments| async move {
                held(this, run(arguments).await)
            })
        }

        /// Runs a call of a task that is not async, from elsewhere.
        pub fn serve_sync_task<T, F>(&'static self, call: Incoming<T>, run: F) -> Serving
        where
            T: Task,
            F: FnOnce(O) -> R + Send + 'static,
        {
            call.detached(
                self.method(),
                $wire::NEW,
                |this, arguments| async move { held(this, run(arguments)) },
            )
        }

        /// Runs a call of a `&self` method that came from elsewhere.
        pub fn serve_shared<T, F, Fut>(&'static self, call: Incoming<T>, run: F) -> Serving
        where
            T: Module + Sync,
            F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            call.shared(self.method(), $wire::NEW, run)
        }

        /// Runs a call of a detached method that came from elsewhere.
        pub fn serve_detached<T, F, Fut>(&'static self, call: Incoming<T>, run: F) -> Serving
        where
            T: Module + Sync,
            F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            call.detached(self.method(), $wire::NEW, run)
        }

        /// Runs a call of a `&mut self` method that came from elsewhere.
        pub fn serve_exclusive<T, F, Fut>(&'static self, call: Incoming<T>, run: F) -> Serving
        where
            T: Module,
            F: FnOnce(Exclusive<T>, O) -> Fut + Send + 'static,
            Fut: Future<Output = R> + Send + 'static,
        {
            call.exclusive(self.method(), $wire::NEW, run)
        }
    };
}

impl<O, R> Call<O, R>
where
    O: Crosses + 'static,
    R: Returned<Ok: ResultValue, Err: WireError> + Send + 'static,
{
    ways!(ByImage);
}

impl<O, R> SerdeCall<O, R>
where
    O: Crosses + 'static,
    R: Returned<Ok: ResultValue, Err: Crosses + From<CallError>> + Send + 'static,
{
    ways!(BySerde);
}

const REFUSED: &str = "a program with such a method does not compile";

impl<O, R> NoCall<O, R> {
    /// In place of `Call::shared`.
    pub fn shared<T: Module, A, Fut>(
        &'static self,
        _: &Target<T>,
        _: A,
        _: impl FnOnce(Shared<T>, A) -> Fut,
    ) -> Pending<R> {
        pending()
    }

    /// In place of `Call::detached`.
    pub fn detached<T: Module, A, Fut>(
        &'static self,
        _: &Target<T>,
        _: A,
        _: impl FnOnce(Shared<T>, O) -> Fut,
    ) -> Pending<R> {
        pending()
    }

    /// In place of `Call::exclusive`.
    pub fn exclusive<T: Module, A, Fut>(
        &'static self,
        _: &Target<T>,
        _: A,
        _: impl FnOnce(Exclusive<T>, O) -> Fut,
    ) -> Pending<R> {
        pending()
    }

    /// In place of `Call::shared_task`.
    pub fn shared_task<T: Task, A, Fut>(&'static self, _: T, _: A, _: impl FnOnce(A) -> Fut) -> Pending<R> {
        pending()
    }

    /// In place of `Call::detached_task`.
    pub fn detached_task<T: Task, A, Fut>(&'static self, _: T, _: A, _: impl FnOnce(O) -> Fut) -> Pending<R> {
        pending()
    }

    /// In place of `Call::sync_task`.
    pub fn sync_task<T: Task, A>(&'static self, _: T, _: A, _: impl FnOnce(O) -> R) -> Pending<R> {
        pending()
    }

    /// In place of `Call::streaming_task`.
    pub fn streaming_task<T: Task, A, Fut>(
        &'static self,
        _: T,
        _: A,
        _: impl FnOnce(Live, O) -> Fut,
    ) -> Pending<R> {
        pending()
    }

    /// In place of `Call::serve_streaming_task`.
    pub fn serve_streaming_task<T: Task, Fut>(
        &self,
        _: Incoming<T>,
        _: impl FnOnce(Live, O) -> Fut,
    ) -> Serving {
        unreachable!("{REFUSED}")
    }

    /// In place of `Call::serve_shared_task`.
    pub fn serve_shared_task<T: Task, Fut>(&self, _: Incoming<T>, _: impl FnOnce(O) -> Fut) -> Serving {
        unreachable!("{REFUSED}")
    }

    /// In place of `Call::serve_detached_task`.
    pub fn serve_detached_task<T: Task, Fut>(&self, _: Incoming<T>, _: impl FnOnce(O) -> Fut) -> Serving {
        unreachable!("{REFUSED}")
    }

    /// In place of `Call::serve_sync_task`.
    pub fn serve_sync_task<T: Task>(&self, _: Incoming<T>, _: impl FnOnce(O) -> R) -> Serving {
        unreachable!("{REFUSED}")
    }

    /// In place of `Call::serve_shared`.
    pub fn serve_shared<T: Module, Fut>(
        &'static self,
        _: Incoming<T>,
        _: impl FnOnce(Shared<T>, O) -> Fut,
    ) -> Serving {
        unreachable!("{REFUSED}")
    }

    /// In place of `Call::serve_detached`.
    pub fn serve_detached<T: Module, Fut>(
        &'static self,
        _: Incoming<T>,
        _: impl FnOnce(Shared<T>, O) -> Fut,
    ) -> Serving {
        unreachable!("{REFUSED}")
    }

    /// In place of `Call::serve_exclusive`.
    pub fn serve_exclusive<T: Module, Fut>(
        &'static self,
        _: Incoming<T>,
        _: impl FnOnce(Exclusive<T>, O) -> Fut,
    ) -> Serving {
        unreachable!("{REFUSED}")
    }
}

impl<O, R> fmt::Debug for Call<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({:?})", self.0.0.0)
    }
}

impl<O, R> fmt::Debug for SerdeCall<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerdeCall({:?})", self.0.0)
    }
}

impl<O, R> fmt::Debug for NoCall<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoCall({:?})", self.0)
    }
}
