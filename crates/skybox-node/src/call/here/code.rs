//! Where the code of a call lives, and what becomes of it when its caller lets go.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use skybox_core::MethodDescriptor;

use super::{Rest, Stopped, cancelled, drop_in, frame, poll_in};
use crate::call::Crossing;
use crate::host::{HostCore, Taken, Tenant};
use crate::thread::Inherited;

/// The code of a call of a `T`.
///
/// Once its future has returned `Ready`, it holds nothing that points to the instance.
pub(crate) trait Code<T>: Future {
    /// The caller has dropped the call, its time is up, or its instance was killed. `rest` is dropped after the code.
    fn let_go<W: Crossing<Self::Output>>(self: Pin<&mut Self>, rest: Rest<T>, wire: W);

    /// The code has returned `Ready`, and is not dropped: frees the memory it has for itself.
    #[inline(always)]
    fn ended(self: Pin<&mut Self>) {}
}

pin_project! {
    /// Code that lives in its caller and ends with it.
    pub(crate) struct Inline<F> {
        // Absent once it was let go.
        #[pin]
        code: Option<F>,
    }
}

impl<F> Inline<F> {
    #[inline(always)]
    pub(crate) fn new(code: F) -> Inline<F> {
        Inline { code: Some(code) }
    }
}

impl<F: Future> Future for Inline<F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().code.as_pin_mut().expect("polled only until it is let go").poll(cx)
    }
}

impl<T, F: Future> Code<T> for Inline<F> {
    #[cold]
    fn let_go<W: Crossing<F::Output>>(self: Pin<&mut Self>, rest: Rest<T>, _: W) {
        let mut code = self.project().code;
        drop_in(&rest, || code.set(None));
    }
}

/// Code that may outlive its caller: a `&mut self` method, which is never left half done, in its instance's slot; or
/// one marked `#[to_completion]`, in a box.
///
/// Let go of, it goes on by itself to its end (unless it is `#[cancel_on_drop]`); past its deadline and the module's
/// `overrun` it is stopped, and its instance counts as crashed. Of an instance that was killed nothing goes on.
pub(crate) struct Kept<'c, H> {
    /// Absent once it was let go.
    home: Option<H>,
    core: &'c Arc<HostCore>,
    abandon: bool,
}

impl<'c, F> Kept<'c, Tenant<F>> {
    /// In the slot of its instance.
    #[inline(always)]
    pub(crate) fn in_slot(core: &'c Arc<HostCore>, method: &MethodDescriptor, code: Tenant<F>) -> Self {
        Kept { home: Some(code), core, abandon: method.cancel_on_drop }
    }
}

impl<'c, F> Kept<'c, Pin<Box<F>>> {
    fn boxed(core: &'c Arc<HostCore>, method: &MethodDescriptor, code: F) -> Self {
        Kept { home: Some(Box::pin(code)), core, abandon: method.cancel_on_drop }
    }
}

impl<H: Future + Unpin> Future for Kept<'_, H> {
    type Output = H::Output;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<H::Output> {
        Pin::new(self.home.as_mut().expect("polled only until it is let go")).poll(cx)
    }
}

impl<T: Send + 'static, H: Future<Output: Send> + Unpin + Send + 'static> Code<T> for Kept<'_, H> {
    #[inline(always)]
    fn ended(mut self: Pin<&mut Self>) {
        drop(self.home.take());
    }

    #[cold]
    fn let_go<W: Crossing<H::Output>>(mut self: Pin<&mut Self>, rest: Rest<T>, wire: W) {
        let Some(home) = self.home.take() else { return };
        if self.abandon || rest.taken.is_killed() {
            drop_in(&rest, || drop(home));
        } else {
            go_on(self.core.clone(), home, rest, wire);
        }
    }
}

/// Lets a call run to its end without its caller.
fn go_on<T, H, W>(core: Arc<HostCore>, home: H, rest: Rest<T>, wire: W)
where
    T: Send + 'static,
    H: Future<Output: Send> + Unpin + Send + 'static,
    W: Crossing<H::Output>,
{
    let overrun = core.settings.overrun;
    let limit = rest.deadline().map(|deadline| deadline + overrun);
    core.runtime.clone().spawn(async move {
        let mut alone = Alone::new(home, rest, wire);
        let Some(limit) = limit else {
            drop(alone.await);
            return;
        };
        if tokio::time::timeout_at(limit.into(), &mut alone).await.is_err() {
            // Before the code is dropped and the turn given back: nobody is to see what it leaves half done.
            let what = format!("a call ran {overrun:?} (`overrun`) past its deadline and was stopped");
            alone.rest.taken.crash(&what, "");
        }
    });
}

/// A call that nobody waits for, or whose time somebody else keeps: its deadline is only handed down.
pub(crate) struct Alone<T, H, W> {
    /// Absent once it has ended.
    home: Option<H>,
    rest: Rest<T>,
    wire: W,
}

impl<T, H: Unpin, W> Alone<T, H, W> {
    fn new(home: H, rest: Rest<T>, wire: W) -> Alone<T, H, W> {
        Alone { home: Some(home), rest, wire }
    }

    /// A call of `taken`, which is counted. `home` makes its code.
    pub(crate) fn start(
        core: &HostCore,
        taken: Taken<T>,
        method: u16,
        inherited: Inherited,
        wire: W,
        home: impl FnOnce(&Taken<T>) -> H,
    ) -> Alone<T, H, W> {
        let home = home(&taken);
        // SAFETY: they stay together from here on, and `Rest` drops the frame first.
        let frame = unsafe { frame(core, &taken, method, inherited) };
        Alone::new(home, Rest::new(frame, taken), wire)
    }
}

impl<T, H, W> Unpin for Alone<T, H, W> {}

impl<T, H: Future + Unpin, W: Crossing<H::Output>> Future for Alone<T, H, W> {
    type Output = Result<H::Output, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Alone { home, rest, wire } = &mut *self;
        let code = home.as_mut().expect("polled only until it ends");
        if rest.taken.is_killed() {
            self.drop_code();
            return Poll::Ready(Err(cancelled()));
        }
        let outcome = match poll_in::<false, _, _>(&rest.frame, &rest.taken, *wire, Pin::new(code), cx) {
            Ok(Poll::Pending) if rest.wait_alone(cx) => {
                self.drop_code();
                return Poll::Ready(Err(cancelled()));
            }
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => Ok(result),
            Err(stopped) => Err(stopped),
        };
        *home = None;
        Poll::Ready(outcome)
    }
}

impl<T, H, W> Alone<T, H, W> {
    /// Drops the code where it waits, if it has not ended.
    fn drop_code(&mut self) {
        if let Some(home) = self.home.take() {
            drop_in(&self.rest, || drop(home));
        }
    }
}

impl<T, H, W> Drop for Alone<T, H, W> {
    fn drop(&mut self) {
        self.drop_code();
    }
}

pin_project! {
    /// The code of a `&self` method that is sync, `#[compute]` or `#[to_completion]`.
    #[project = InlineOrBoxedNow]
    pub(crate) enum InlineOrBoxed<'c, F> {
        // It holds its thread to its end: nobody can let go of it half done.
        Inline { #[pin] code: Inline<F> },
        Boxed { code: Kept<'c, Pin<Box<F>>> },
    }
}

impl<'c, F> InlineOrBoxed<'c, F> {
    pub(crate) fn new(core: &'c Arc<HostCore>, method: &MethodDescriptor, code: F) -> Self {
        if method.compute {
            InlineOrBoxed::Inline { code: Inline::new(code) }
        } else {
            InlineOrBoxed::Boxed { code: Kept::boxed(core, method, code) }
        }
    }
}

impl<F: Future> Future for InlineOrBoxed<'_, F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            InlineOrBoxedNow::Inline { code } => code.poll(cx),
            InlineOrBoxedNow::Boxed { code } => Pin::new(code).poll(cx),
        }
    }
}

impl<T, F> Code<T> for InlineOrBoxed<'_, F>
where
    T: Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    fn let_go<W: Crossing<F::Output>>(self: Pin<&mut Self>, rest: Rest<T>, wire: W) {
        match self.project() {
            InlineOrBoxedNow::Inline { code } => code.let_go(rest, wire),
            InlineOrBoxedNow::Boxed { code } => Pin::new(code).let_go(rest, wire),
        }
    }

    fn ended(self: Pin<&mut Self>) {
        match self.project() {
            InlineOrBoxedNow::Inline { code } => Code::<T>::ended(code),
            InlineOrBoxedNow::Boxed { code } => Code::<T>::ended(Pin::new(code)),
        }
    }
}
