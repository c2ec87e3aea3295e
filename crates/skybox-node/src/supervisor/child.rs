//! A child of a supervisor: how it is made, and how others reach it through its lives.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use skybox_core::{CallError, CallErrorKind, Callee, Error, InstanceId, Restart};
use tokio::sync::watch;

use crate::app::App;
use crate::call::{Handle, Panicked, catch};
use crate::module::Spawns;
use crate::monitor::Monitor;
use crate::spawned::Spawned;

/// How long a child's calls have to end when it is stopped, unless its spec says otherwise.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long [`Child::get`] waits for a child that is being started.
const GET_WAIT: Duration = Duration::from_secs(10);

pub(super) type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;
type Making<T> = Boxed<'static, Result<Spawned<T>, Error>>;
type Make<T> = Box<dyn Fn(App) -> Making<T> + Send + Sync>;

/// How a child is made, and what becomes of it when it has ended.
#[must_use = "it is to be added to a supervisor's children"]
pub struct ChildSpec<T: Spawns> {
    name: String,
    make: Make<T>,
    restart: Restart,
    stop_wait: Duration,
}

impl<T: Spawns> ChildSpec<T> {
    /// `make` spawns it, for each of its lives anew: here, or on another node (`.on`). It holds what the child is spawned
    /// with. The name is for people.
    ///
    /// An error and a panic of it are a start that has failed.
    pub fn new<F, E>(name: impl Into<String>, make: impl Fn(App) -> F + Send + Sync + 'static) -> ChildSpec<T>
    where
        F: Future<Output = Result<Spawned<T>, E>> + Send + 'static,
        E: Into<Error>,
    {
        ChildSpec {
            name: name.into(),
            make: Box::new(move |app| {
                let making = make(app);
                Box::pin(async move { making.await.map_err(Into::into) })
            }),
            restart: Restart::Always,
            stop_wait: STOP_WAIT,
        }
    }

    /// After which of its ends it is started again. Default: always. In OTP's words `Always` is permanent, `OnCrash` is
    /// transient (not after it was stopped or has ended itself, unless its `stop` failed then) and `Never` is temporary.
    pub fn restart(self, restart: Restart) -> ChildSpec<T> {
        ChildSpec { restart, ..self }
    }

    /// How long its calls have to end when it is stopped, before it is killed; of one that is being made, how long that may
    /// take before it is given up. Default: 5 s.
    pub fn stop_wait(self, stop_wait: Duration) -> ChildSpec<T> {
        ChildSpec { stop_wait, ..self }
    }

    pub(super) fn into_parts(self) -> (Arc<dyn AnySpec>, Child<T>) {
        let now = watch::Sender::new(Now::Starting);
        let child = Child { name: Arc::from(&*self.name), now: now.subscribe() };
        (Arc::new(Spec { spec: self, now }), child)
    }
}

impl<T: Spawns> fmt::Debug for ChildSpec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .finish_non_exhaustive()
    }
}

enum Now<T: Spawns> {
    Starting,
    Runs(Handle<T>),
    /// It is not started again.
    Over(String),
}

/// A child, through all of its lives. It owns nothing: the supervisor does.
pub struct Child<T: Spawns> {
    name: Arc<str>,
    now: watch::Receiver<Now<T>>,
}

impl<T: Spawns> Child<T> {
    /// A handle of its present instance. While that is being started, this waits, for at most 10 s.
    ///
    /// A handle is of one life: when a call through it fails with `Gone`, it did not run, and the next handle is of the
    /// next life. Of a child on another node, or in a cell, the end is known only when nothing is left of it; until then
    /// this gives the handle of the one that ends.
    ///
    /// # Errors
    /// `NotStarted` with the cause if it is not started again, or not in time.
    ///
    /// # Cancel safety
    /// Can be dropped and asked again.
    pub async fn get(&self) -> Result<Handle<T>, CallError> {
        let mut now = self.now.clone();
        let is_known = |now: &Now<T>| match now {
            Now::Starting => false,
            Now::Runs(handle) => !Handle::has_ended(handle),
            Now::Over(_) => true,
        };
        let runs = tokio::time::timeout(GET_WAIT, now.wait_for(is_known)).await;
        let cause = match runs.as_ref().map(|now| now.as_deref()) {
            Ok(Ok(Now::Runs(handle))) => return Ok(handle.clone()),
            Ok(Ok(Now::Over(why))) => why.clone(),
            Ok(Ok(Now::Starting)) | Err(_) => {
                format!("`{}` was not there again within {GET_WAIT:?}", self.name)
            }
            Ok(Err(_)) => format!("the supervisor of `{}` has gone", self.name),
        };
        Err(call_error(T::descriptor().name, CallErrorKind::NotStarted { cause }))
    }

    /// A handle of its present instance, if it runs.
    pub fn now(&self) -> Option<Handle<T>> {
        match &*self.now.borrow() {
            Now::Runs(handle) => Some(handle.clone()),
            Now::Starting | Now::Over(_) => None,
        }
    }
}

impl<T: Spawns> Clone for Child<T> {
    fn clone(&self) -> Child<T> {
        Child { name: self.name.clone(), now: self.now.clone() }
    }
}

impl<T: Spawns> fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Child({})", self.name)
    }
}

pub(super) fn call_error(module: &'static str, kind: CallErrorKind) -> CallError {
    CallError::new(Callee::new(module, "start"), kind)
}

pub(super) fn not_started(module: &'static str, cause: String) -> Error {
    Error::from(call_error(module, CallErrorKind::NotStarted { cause }))
}

/// A child's spec, whatever its type.
pub(super) trait AnySpec: Send + Sync {
    fn name(&self) -> &str;
    fn restart(&self) -> Restart;
    /// How long whoever stops it waits for it.
    fn stop_wait(&self) -> Duration;
    /// Those who look for it find it once this resolves.
    fn start(self: Arc<Self>, app: App) -> Starting;
    /// Those who look for it wait for the next one.
    fn starts(&self);
    /// Those who look for it hear why it is not there.
    fn is_over(&self, why: String);
}

/// A child that is being made.
pub(super) type Starting = Boxed<'static, Result<Box<dyn Running>, String>>;

/// The instance of a child.
pub(super) trait Running: Send {
    /// Absent of what is no instance.
    fn id(&self) -> Option<InstanceId>;
    fn monitor(&self) -> Monitor;
    /// Resolves when nothing is left of it.
    fn stop(self: Box<Self>) -> Boxed<'static, ()>;
}

struct Spec<T: Spawns> {
    spec: ChildSpec<T>,
    now: watch::Sender<Now<T>>,
}

impl<T: Spawns> AnySpec for Spec<T> {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn restart(&self) -> Restart {
        self.spec.restart
    }

    fn stop_wait(&self) -> Duration {
        self.spec.stop_wait
    }

    fn start(self: Arc<Self>, app: App) -> Starting {
        Box::pin(async move {
            let spawned = Contained::of(|| (self.spec.make)(app))?.await?;
            self.now.send_if_modified(|now| {
                // Its supervisor has been stopped meanwhile.
                let is_wanted = !matches!(now, Now::Over(_));
                if is_wanted {
                    *now = Now::Runs(Spawned::handle(&spawned));
                }
                is_wanted
            });
            Ok(Box::new(Life { spawned, stop_wait: self.spec.stop_wait }) as Box<dyn Running>)
        })
    }

    fn starts(&self) {
        self.now.send_replace(Now::Starting);
    }

    fn is_over(&self, why: String) {
        self.now.send_replace(Now::Over(why));
    }
}

/// Code of others that makes a child: its panics are errors, so that they do not take the supervisor along.
struct Contained<T: Spawns>(Option<Making<T>>);

impl<T: Spawns> Contained<T> {
    fn of(make: impl FnOnce() -> Making<T>) -> Result<Contained<T>, String> {
        caught(make).map(|making| Contained(Some(making)))
    }
}

impl<T: Spawns> Future for Contained<T> {
    type Output = Result<Spawned<T>, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(making) = &mut self.0 else { return Poll::Pending };
        let made = match caught(|| making.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(made)) => made.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let dropped = caught(|| drop(self.0.take()));
        Poll::Ready(made.and_then(|spawned| dropped.map(|()| spawned)))
    }
}

impl<T: Spawns> Drop for Contained<T> {
    fn drop(&mut self) {
        if let Err(why) = caught(|| drop(self.0.take())) {
            tracing::error!("what a child was to be made with could not be dropped: {why}");
        }
    }
}

fn caught<R>(code: impl FnOnce() -> R) -> Result<R, String> {
    catch(AssertUnwindSafe(code))
        .map_err(|Panicked { message, place }| format!("it panicked at {place}: {message}"))
}

struct Life<T: Spawns> {
    spawned: Spawned<T>,
    stop_wait: Duration,
}

impl<T: Spawns> Running for Life<T> {
    fn id(&self) -> Option<InstanceId> {
        Handle::instance(&self.spawned)
    }

    fn monitor(&self) -> Monitor {
        Handle::monitor(&self.spawned)
    }

    fn stop(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(async move {
            let handle = Spawned::handle(&self.spawned);
            if let Err(error) = Handle::stop(&handle, self.stop_wait).await {
                // Dropped, it is ended as soon as its node can be reached, or is lost with that.
                tracing::debug!("a child could not be stopped at once: {error}");
            }
        })
    }
}
