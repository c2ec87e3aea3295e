//! Tasks: a function's name is its handle.

use std::fmt;
use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{CallError, CallErrorKind, Mode};

use super::{Crossing, Target, To};
use crate::app::{App, NoApp};
use crate::host::{Hold, Instance, Shared, Taken};
use crate::module::{Method, Module};

/// A task at the moment it is called: in the App of the current context, else in the process's only one; where
/// there is none it is the plain function it was before.
pub struct TaskCall<T: Module> {
    at: At<T>,
}

enum At<T: Module> {
    App(Target<T>),
    /// No App: the function itself.
    Plain,
    /// Two Apps and no context.
    Unclear(String),
}

impl<T: Module + Default + Sync> TaskCall<T> {
    /// Looks where the task is called.
    pub fn current() -> TaskCall<T> {
        let at = match App::current() {
            Ok(app) => match app.host::<T>() {
                Ok(host) => At::App(Target::new(host, To::Module)),
                Err(error) => At::Unclear(error.to_string()),
            },
            Err(NoApp::None) => At::Plain,
            Err(error) => At::Unclear(error.to_string()),
        };
        TaskCall { at }
    }

    /// Calls an async task.
    pub fn shared<'c, A, O, R, W, F, Fut>(
        self,
        method: &'static Method<O, R>,
        wire: W,
        arguments: A,
        run: F,
    ) -> impl Future<Output = R> + Send + 'c
    where
        A: Serialize + Send + Sync + 'c,
        O: Serialize + DeserializeOwned + 'static,
        R: Send + 'static,
        W: Crossing<R>,
        F: FnOnce(Shared<T>, A) -> Fut + Send + 'c,
        Fut: Future<Output = R> + Send + 'c,
    {
        let inherited = crate::thread::Inherited::here();
        async move {
            match self.at {
                At::App(target) => target.shared_with(inherited, method, wire, arguments, run).await,
                At::Plain => {
                    let plain = plain();
                    // SAFETY: the future is dropped at the end of its statement, before what it points to.
                    run(unsafe { plain.shared() }, arguments).await
                }
                At::Unclear(why) => unclear(method, wire, why),
            }
        }
    }

    /// Calls a sync, `#[compute]` or `#[to_completion]` task.
    pub fn detached<'c, A, O, R, W, F, Fut>(
        self,
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
        F: FnOnce(Shared<T>, O) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let inherited = crate::thread::Inherited::here();
        async move {
            match self.at {
                At::App(target) => target.detached_with(inherited, method, wire, arguments, own, run).await,
                At::Plain => {
                    let plain = plain();
                    // SAFETY: the future is dropped at the end of its statement, before what it points to.
                    run(unsafe { plain.shared() }, own(arguments)).await
                }
                At::Unclear(why) => unclear(method, wire, why),
            }
        }
    }
}

/// An instance for one call of a function that runs as the plain function it is.
fn plain<T: Module + Default + Sync>() -> Taken<T> {
    let id = skybox_core::InstanceId { node: skybox_core::Incarnation(0), count: 0 };
    let instance = Instance::new(T::default(), (id, None), None, &std::sync::Weak::new(), None, None);
    Taken::new(Hold::counted(instance), Mode::Shared)
}

fn unclear<O, R, W: Crossing<R>>(method: &Method<O, R>, wire: W, why: String) -> R {
    wire.refuse(CallError::new(method.callee(), CallErrorKind::Mismatch { why }))
}

impl<T: Module> fmt::Debug for TaskCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskCall({})", T::descriptor().name)
    }
}
