//! The three ways in which a method is called: `&self`, `&self` that may leave its caller, and `&mut self`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project_lite::pin_project;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::Mode;

use super::future::{CallFuture, Callee, leave};
use super::here::{Alone, Inline, InlineOrBoxed, Kept, Running, Stopped};
use super::turns::finish;
use super::{Crossing, Target};
use crate::host::{Exclusive, HostCore, Pool, Shared, Taken};
use crate::module::{Method, Module};
use crate::spans::Marking;
use crate::thread::Inherited;

impl<T: Module> Target<T> {
    /// A call of a `&self` method that may borrow its arguments.
    #[inline]
    pub fn shared<'c, A, O, R, W, F, Fut>(
        &'c self,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        T: Sync,
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, A) -> Fut + Send + 'c,
        Fut: Future<Output = R> + Send + 'c,
    {
        self.shared_with(Inherited::here(), method, wire, arguments, run)
    }

    /// [`Target::shared`] with a context that was captured before.
    #[inline(always)]
    pub(crate) fn shared_with<'c, A, O, R, W, F, Fut>(
        &'c self,
        inherited: Inherited,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        T: Sync,
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, A) -> Fut + Send + 'c,
        Fut: Future<Output = R> + Send + 'c,
    {
        let callee = Callee { target: self, method, mode: Mode::Shared, wire };
        let start = move |_: &'c Target<T>, taken: &Taken<T>, arguments| {
            // SAFETY: a call drops its code before what it has taken.
            Inline::new(Marking::new(wire, run(unsafe { taken.shared() }, arguments)))
        };
        CallFuture::new(callee, inherited, arguments, start, leave)
    }

    /// A call of a `&self` method that may leave its caller: sync ones, which run on the module's own threads if
    /// it has any, `#[compute]` and `#[to_completion]` ones. Its arguments are made owned first.
    pub fn detached<'c, A, O, R, W, F, Fut>(
        &'c self,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        own: impl FnOnce(A) -> O + Send + 'c,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        T: Sync,
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.detached_with(Inherited::here(), method, wire, arguments, own, run)
    }

    /// [`Target::detached`] with a context that was captured before.
    pub(crate) fn detached_with<'c, A, O, R, W, F, Fut>(
        &'c self,
        inherited: Inherited,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        own: impl FnOnce(A) -> O + Send + 'c,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        T: Sync,
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let callee = Callee { target: self, method, mode: Mode::Shared, wire };
        if let Some(pool) = self.host.core.pool_for(method.descriptor()) {
            let job = move |core: &HostCore, taken, inherited, arguments| {
                let arguments = own(arguments);
                let code = |taken: &Taken<T>| {
                    // SAFETY: a call drops its code before what it has taken.
                    Inline::new(Marking::new(wire, run(unsafe { taken.shared() }, arguments)))
                };
                Running::new(core, taken, method.index(), inherited, code)
            };
            return OnThreadOr::OnThread {
                call: Box::pin(on_thread(pool, callee, inherited, arguments, job)),
            };
        }
        let start = move |target: &'c Target<T>, taken: &Taken<T>, arguments| {
            // SAFETY: a call drops its code before what it has taken.
            let code = Marking::new(wire, run(unsafe { taken.shared() }, own(arguments)));
            InlineOrBoxed::new(&target.host.core, method.descriptor(), code)
        };
        OnThreadOr::Call { call: CallFuture::new(callee, inherited, arguments, start, leave) }
    }

    /// A call of a `&mut self` method: it waits for its turn here, with its arguments still the caller's; then
    /// they become owned, since a started call runs to its end even if the caller goes.
    #[inline]
    pub fn exclusive<'c, A, O, R, W, F, Fut>(
        &'c self,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        own: impl FnOnce(A) -> O + Send + 'c,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Exclusive<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let callee = Callee { target: self, method, mode: Mode::Exclusive, wire };
        let inherited = Inherited::here();
        // SAFETY: a call drops its code before what it has taken, and it has the exclusive turn, so nobody else is in
        // the slot or has a reference.
        let settle = move |taken: &Taken<T>, arguments| unsafe {
            taken.slot().put(Marking::new(wire, run(taken.exclusive(), own(arguments))))
        };
        if let Some(pool) = self.host.core.pool_for(method.descriptor()) {
            let job = move |core: &HostCore, taken, inherited, arguments| {
                // The pool keeps the deadline: a call that has begun there runs to its end.
                Alone::start(core, taken, method.index(), inherited, |taken| settle(taken, arguments))
            };
            return OnThreadOr::OnThread {
                call: Box::pin(on_thread(pool, callee, inherited, arguments, job)),
            };
        }
        let start = move |target: &'c Target<T>, taken: &Taken<T>, arguments| {
            Kept::in_slot(&target.host.core, method.descriptor(), settle(taken, arguments))
        };
        OnThreadOr::Call { call: CallFuture::new(callee, inherited, arguments, start, leave) }
    }
}

pin_project! {
    /// A call whose code may have to run on one of its module's own threads.
    #[project = OnThreadOrNow]
    enum OnThreadOr<'c, R, F> {
        OnThread { call: Pin<Box<dyn Future<Output = R> + Send + 'c>> },
        Call { #[pin] call: F },
    }
}

impl<R, F: Future<Output = R>> Future for OnThreadOr<'_, R, F> {
    type Output = R;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        match self.project() {
            OnThreadOrNow::Call { call } => call.poll(cx),
            OnThreadOrNow::OnThread { call } => call.as_mut().poll(cx),
        }
    }
}

/// A call whose code runs on one of its module's own threads. `job` makes it from an instance that is counted.
async fn on_thread<'c, T, A, O, R, W, Job>(
    pool: &'c Pool,
    callee: Callee<'c, T, O, R, W>,
    inherited: Inherited,
    arguments: A,
    job: impl FnOnce(&HostCore, Taken<T>, Inherited, A) -> Job + Send + 'c,
) -> R
where
    T: Module,
    A: Serialize + Send + Sync,
    O: Serialize + DeserializeOwned + 'static,
    R: Send + 'static,
    W: Crossing<R>,
    Job: Future<Output = Result<R, Stopped>> + Send + 'static,
{
    let (taken, inherited, arguments) = match callee.take_counted(&inherited, &arguments) {
        Some(taken) => (taken, inherited, arguments),
        None => match leave(callee, inherited, arguments).await {
            Ok(taken) => taken,
            Err(result) => return result,
        },
    };
    let Callee { target, method, wire, .. } = callee;
    let edge = target.edge(method, &inherited);
    let began = edge.count_local().then(Instant::now);
    let deadline = inherited.deadline();
    let job = job(&target.host.core, taken, inherited, arguments);
    let outcome = pool.run(deadline, job).await.unwrap_or_else(|kind| Err(Box::new(kind)));
    finish(method, wire, edge, began, outcome)
}
