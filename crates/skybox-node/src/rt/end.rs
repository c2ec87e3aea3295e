//! What a `stop` may look like.
//!
//! That of a module stands where generated code sees its signature. That of an implementation stands in an `impl` block
//! of its own; as with [`start`](super::Begins), it is called by name, its form is told apart by type, and where there
//! is none, the name finds that of a trait here.

use std::error::Error as StdError;
use std::future::Future;
use std::marker::PhantomData;

use skybox_core::TextChain;

use crate::app::App;

/// What `stop` may give: nothing, or a `Result` whose error is logged.
#[diagnostic::on_unimplemented(
    message = "`stop` returns nothing, or a `Result<()>` whose error is logged",
    label = "nobody would get this"
)]
pub trait Stopped {
    /// Whether there is a `stop` that could give it.
    const STOPS: bool = true;
    /// The outcome, with the error as text.
    fn stopped(self) -> Result<(), TextChain>;
}

impl Stopped for () {
    fn stopped(self) -> Result<(), TextChain> {
        Ok(())
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> Stopped for Result<(), E> {
    fn stopped(self) -> Result<(), TextChain> {
        self.map_err(|error| TextChain::of(&*error.into()))
    }
}

/// The outcome of a module's `stop`.
pub fn stopped(outcome: impl Stopped) -> Result<(), TextChain> {
    outcome.stopped()
}

/// Found under the name `stop` where an implementation has none.
pub trait NoStop: Sized {
    /// In place of the implementation's.
    fn stop(self) -> NoLastWord {
        NoLastWord
    }
}

impl<T> NoStop for T {}

/// What the `stop` gives that nobody wrote.
#[derive(Debug)]
pub struct NoLastWord;

impl Stopped for NoLastWord {
    const STOPS: bool = false;

    fn stopped(self) -> Result<(), TextChain> {
        Ok(())
    }
}

/// What comes of `stop`: its outcome, or a future of that. `How` keeps these apart.
pub trait Outcome<How> {
    /// Whether there is a `stop` that could give it.
    const STOPS: bool;
    /// The outcome, with the error as text.
    fn outcome(self) -> impl Future<Output = Result<(), TextChain>> + Send;
}

/// The outcome itself.
#[derive(Debug)]
pub enum AtOnce {}
/// A future of it.
#[derive(Debug)]
pub enum Later {}

impl<O: Stopped> Outcome<AtOnce> for O {
    const STOPS: bool = O::STOPS;

    fn outcome(self) -> impl Future<Output = Result<(), TextChain>> + Send {
        std::future::ready(self.stopped())
    }
}

impl<O: Stopped, F: Future<Output = O> + Send> Outcome<Later> for F {
    const STOPS: bool = O::STOPS;

    async fn outcome(self) -> Result<(), TextChain> {
        self.await.stopped()
    }
}

/// A `stop` of an implementation `T`: what it takes, and what it gives. `How` keeps these apart.
#[diagnostic::on_unimplemented(
    message = "`stop` is the last word of an implementation: it takes `self`, and `app: &App` if it needs it, and \
               returns nothing or a `Result<()>`",
    label = "this is not what the runtime could call",
    note = "give a function that is something else another name"
)]
pub trait LastWords<'a, T, How> {
    /// Whether somebody wrote it.
    const STOPS: bool;
    /// Calls it.
    fn say(self, value: T, app: &'a App) -> impl Future<Output = Result<(), TextChain>> + Send;
}

/// It takes the instance alone.
#[derive(Debug)]
pub struct Alone<How>(PhantomData<How>);
/// And a reference to the App.
#[derive(Debug)]
pub struct WithApp<How>(PhantomData<How>);
/// And the App itself.
#[derive(Debug)]
pub struct GivenApp<How>(PhantomData<How>);
/// It takes a reference to the instance, and so is a function of its own that happens to have this name.
#[derive(Debug)]
pub struct Other<Rest>(PhantomData<Rest>);

impl<'a, T, How, O: Outcome<How>, F: FnOnce(T) -> O> LastWords<'a, T, Alone<How>> for F {
    const STOPS: bool = O::STOPS;

    fn say(self, value: T, _: &'a App) -> impl Future<Output = Result<(), TextChain>> + Send {
        self(value).outcome()
    }
}

impl<'a, T, How, O: Outcome<How>, F: FnOnce(T, &'a App) -> O> LastWords<'a, T, WithApp<How>> for F {
    const STOPS: bool = O::STOPS;

    fn say(self, value: T, app: &'a App) -> impl Future<Output = Result<(), TextChain>> + Send {
        self(value, app).outcome()
    }
}

impl<'a, T, How, O: Outcome<How>, F: FnOnce(T, App) -> O> LastWords<'a, T, GivenApp<How>> for F {
    const STOPS: bool = O::STOPS;

    fn say(self, value: T, app: &'a App) -> impl Future<Output = Result<(), TextChain>> + Send {
        self(value, app.clone()).outcome()
    }
}

impl<'a, T: 'static, O, F: FnOnce(&'a T) -> O> LastWords<'a, T, Other<&'a T>> for F {
    const STOPS: bool = false;

    fn say(self, _: T, _: &'a App) -> impl Future<Output = Result<(), TextChain>> + Send {
        std::future::ready(Ok(()))
    }
}

impl<'a, T: 'static, O, F: FnOnce(&'a mut T) -> O> LastWords<'a, T, Other<&'a mut T>> for F {
    const STOPS: bool = false;

    fn say(self, _: T, _: &'a App) -> impl Future<Output = Result<(), TextChain>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Whether an implementation has a `stop`; given what its name finds.
pub const fn has_stop<'a, T, How, F: LastWords<'a, T, How>>(_: &F) -> bool {
    F::STOPS
}

/// Has an implementation say its last word.
pub fn say_last<'a, T, How>(
    stop: impl LastWords<'a, T, How>,
    value: T,
    app: &'a App,
) -> impl Future<Output = Result<(), TextChain>> + Send {
    stop.say(value, app)
}

/// Checks at the span of `stop_wait` that there is a `stop`.
///
/// # Panics
/// When compiling, if there is none.
pub const fn check_stop_wait(stops: bool) {
    assert!(
        stops,
        "`stop_wait` bounds `stop`, and this implementation has none: write `async fn stop(self, app: &App)` in an \
         `impl` block of the type, or leave it out"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Value;

    async fn alone(_: Value) {}
    async fn with_app(_: Value, _: &App) -> Result<(), std::io::Error> {
        Ok(())
    }
    fn given_app(_: Value, _: App) -> Result<(), String> {
        Ok(())
    }
    fn by_reference(_: &Value) -> u32 {
        0
    }
    async fn by_exclusive_reference(_: &mut Value) -> u32 {
        0
    }

    #[test]
    fn whoever_takes_the_instance_has_the_last_word() {
        assert!(has_stop::<Value, _, _>(&alone));
        assert!(has_stop::<Value, _, _>(&with_app));
        assert!(has_stop::<Value, _, _>(&given_app));
        assert!(!has_stop::<Value, _, _>(&by_reference));
        assert!(!has_stop::<Value, _, _>(&by_exclusive_reference));
        assert!(!has_stop::<Value, _, _>(&Value::stop), "the one of the trait above");
    }
}
