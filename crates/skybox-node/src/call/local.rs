//! The three ways in which a method is called: `&self`, `&self` that may leave its caller, and `&mut self`.

use std::future::Future;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{MethodDescriptor, Mode};

use super::future::{CallFuture, Callee, OnThread, Start, leave};
use super::here::{Alone, Inline, InlineOrBoxed, Kept, Running, Stopped};
use super::turns::finish;
use super::{Crossing, Target};
use crate::host::{Exclusive, HostCore, Pool, Shared, Taken, Tenant};
use crate::module::{Method, Module};
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
        CallFuture::new(callee, inherited, arguments, Lent { run }, leave)
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
        CallFuture::new(callee, inherited, arguments, Owned { own, run }, leave)
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
        CallFuture::new(callee, Inherited::here(), arguments, InTurn { own, run }, leave)
    }
}

/// A `&self` call that may borrow from its caller, and ends with it.
struct Lent<F> {
    run: F,
}

impl<'c, T, A, R, F, Fut> Start<'c, T, A, R> for Lent<F>
where
    T: Module + Sync,
    F: FnOnce(Shared<T>, A) -> Fut,
    Fut: Future<Output = R>,
{
    type Code = Inline<Fut>;
    const MODE: Mode = Mode::Shared;
    const MAY_COMPUTE: bool = false;

    #[inline(always)]
    fn here(self, _: &'c Target<T>, _: &MethodDescriptor, taken: &Taken<T>, arguments: A) -> Inline<Fut> {
        // SAFETY: a call drops its code before what it has taken.
        Inline::new((self.run)(unsafe { taken.shared() }, arguments))
    }

    fn on_thread<O, W>(self, _: &'c Pool, _: Callee<'c, T, O, R, W>, _: Inherited, _: A) -> OnThread<'c, R> {
        unreachable!("a method that computes owns its arguments")
    }
}

/// A `&self` call that may leave its caller.
struct Owned<G, F> {
    own: G,
    run: F,
}

impl<'c, T, A, B, R, G, F, Fut> Start<'c, T, A, R> for Owned<G, F>
where
    T: Module + Sync,
    A: Serialize + Send + Sync + 'c,
    B: 'static,
    R: Send + 'static,
    G: FnOnce(A) -> B + Send + 'c,
    F: FnOnce(Shared<T>, B) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Code = InlineOrBoxed<'c, Fut>;
    const MODE: Mode = Mode::Shared;
    const MAY_COMPUTE: bool = true;

    #[inline(always)]
    fn here(
        self,
        target: &'c Target<T>,
        method: &MethodDescriptor,
        taken: &Taken<T>,
        arguments: A,
    ) -> Self::Code {
        // SAFETY: a call drops its code before what it has taken.
        let code = (self.run)(unsafe { taken.shared() }, (self.own)(arguments));
        InlineOrBoxed::new(&target.host.core, method, code)
    }

    fn on_thread<O, W>(
        self,
        pool: &'c Pool,
        callee: Callee<'c, T, O, R, W>,
        inherited: Inherited,
        arguments: A,
    ) -> OnThread<'c, R>
    where
        O: Serialize + DeserializeOwned + 'static,
        W: Crossing<R>,
    {
        let Owned { own, run } = self;
        let (index, wire) = (callee.method.index(), callee.wire);
        Box::pin(on_thread(pool, callee, inherited, arguments, move |core, taken, inherited, arguments| {
            let arguments = own(arguments);
            let code = |taken: &Taken<T>| {
                // SAFETY: a call drops its code before what it has taken.
                Inline::new(run(unsafe { taken.shared() }, arguments))
            };
            Running::new(core, taken, index, inherited, wire, code)
        }))
    }
}

/// A `&mut self` call.
struct InTurn<G, F> {
    own: G,
    run: F,
}

impl<G, F> InTurn<G, F> {
    #[inline(always)]
    fn settle<T, A, B, Fut>(self, taken: &Taken<T>, arguments: A) -> Tenant<Fut>
    where
        G: FnOnce(A) -> B,
        F: FnOnce(Exclusive<T>, B) -> Fut,
    {
        // SAFETY: a call drops its code before what it has taken, and it has the exclusive turn, so nobody else is in
        // the slot or has a reference.
        unsafe { taken.slot().put((self.run)(taken.exclusive(), (self.own)(arguments))) }
    }
}

impl<'c, T, A, B, R, G, F, Fut> Start<'c, T, A, R> for InTurn<G, F>
where
    T: Module,
    A: Serialize + Send + Sync + 'c,
    R: Send + 'static,
    G: FnOnce(A) -> B + Send + 'c,
    F: FnOnce(Exclusive<T>, B) -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    type Code = Kept<'c, Tenant<Fut>>;
    const MODE: Mode = Mode::Exclusive;
    const MAY_COMPUTE: bool = true;

    #[inline(always)]
    fn here(
        self,
        target: &'c Target<T>,
        method: &MethodDescriptor,
        taken: &Taken<T>,
        arguments: A,
    ) -> Self::Code {
        Kept::in_slot(&target.host.core, method, self.settle(taken, arguments))
    }

    fn on_thread<O, W>(
        self,
        pool: &'c Pool,
        callee: Callee<'c, T, O, R, W>,
        inherited: Inherited,
        arguments: A,
    ) -> OnThread<'c, R>
    where
        O: Serialize + DeserializeOwned + 'static,
        W: Crossing<R>,
    {
        let (index, wire) = (callee.method.index(), callee.wire);
        Box::pin(on_thread(pool, callee, inherited, arguments, move |core, taken, inherited, arguments| {
            // The pool keeps the deadline: a call that has begun there runs to its end.
            Alone::start(core, taken, index, inherited, wire, |taken| self.settle(taken, arguments))
        }))
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
    finish(&callee, method, wire, edge, began, outcome)
}
