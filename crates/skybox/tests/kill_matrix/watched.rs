//! Spawned instances, and those who wait for their ends.

use futures_util::future::{FutureExt, join_all};
use skybox::{App, CallOptions, Exit, Handle, Module, Monitor, Spawned, Spawns};
use tokio::task::JoinHandle;

use crate::crowd::{Loner, Sharer};
use crate::stage::{HERE, PATIENCE, kind_of};
use crate::victims::{Steady, Twin, Victim};

/// Monitors of one instance in the process of the test, which is another node.
const MONITORS: usize = 3;

/// What can be told to suffer, however its instances are made.
pub(crate) trait Sufferer: Module {
    fn pid(this: &Handle<Self>) -> impl Future<Output = skybox::Result<u32>> + Send;
    fn suffer(this: &Handle<Self>, how: &str) -> impl Future<Output = skybox::Result<()>> + Send;
}

macro_rules! sufferers {
    ($($module:ident),*) => {$(
        impl Sufferer for $module {
            async fn pid(this: &Handle<Self>) -> skybox::Result<u32> {
                this.pid().await
            }

            async fn suffer(this: &Handle<Self>, how: &str) -> skybox::Result<()> {
                this.suffer(how).await
            }
        }
    )*};
}

sufferers!(Victim, Twin, Sharer, Loner);

/// The name of a reason, as people see it.
pub(crate) fn reason(exit: &Exit) -> String {
    let json = serde_json::to_value(exit).expect("it is data");
    json["reason"].as_str().unwrap_or_default().to_owned()
}

/// Makes others until one answers, in place of one that has ended; gives the kinds of the errors until then.
pub(crate) async fn another<T: Sufferer + Spawns<Key = ()>>(app: &App) -> Vec<&'static str> {
    let mut errors = Vec::new();
    loop {
        match app.spawn::<T>(()).on(HERE).await {
            Err(error) => errors.push(kind_of(&error.into())),
            Ok(one) => match T::pid(&one).await {
                Err(error) => errors.push(kind_of(&error)),
                Ok(_) => return errors,
            },
        }
        tokio::task::yield_now().await;
    }
}

/// A spawned instance on the node, and its monitors.
pub(crate) struct Watched {
    pub(crate) twin: Spawned<Twin>,
    monitors: Vec<Monitor>,
    /// One more, on its own node, which can tell nothing once that is gone.
    beside: JoinHandle<skybox::Result<String>>,
}

impl Watched {
    pub(crate) async fn spawn(app: &App) -> Watched {
        let twin = app.spawn::<Twin>(()).on(HERE).await.expect("the twin starts");
        let monitors = (0..MONITORS).map(|_| Handle::monitor(&twin)).collect();
        let (steady, handle) = (app.get::<Steady>(), Spawned::handle(&twin));
        let beside = tokio::spawn(async move { steady.watch(&handle).await });
        twin.pid().await.expect("it answers");
        Watched { twin, monitors, beside }
    }

    /// What all of them tell: the same.
    pub(crate) async fn told(self) -> String {
        let telling = async { (join_all(self.monitors).await, self.beside.await) };
        let telling = tokio::time::timeout(PATIENCE, telling).await;
        let (told, beside) = telling.expect("each monitor tells");
        let told: Vec<String> = told.iter().map(reason).collect();
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
        match beside.expect("the task goes on") {
            Ok(beside) => assert_eq!(beside, told[0], "on its own node"),
            Err(error) => assert_eq!((kind_of(&error), &*told[0]), ("Lost", "node-lost")),
        }
        told.into_iter().next().expect("there is a monitor")
    }

    /// It lives on, and no monitor says otherwise until somebody stops it.
    pub(crate) async fn lives(mut self) {
        let limit = CallOptions::new().deadline(PATIENCE);
        self.twin.with(limit).pid().await.expect("it lives on");
        assert!(self.monitors.iter_mut().all(|monitor| monitor.now_or_never().is_none()));
        let stopped = Handle::stop(&self.twin, PATIENCE).await.expect("its node answers");
        assert_eq!((stopped, self.told().await), (Exit::Stopped, "stopped".to_owned()));
    }

    /// It and one more wait for each other; gives the kinds of the errors.
    pub(crate) async fn clasp(&self, app: &App) -> Vec<String> {
        let other = app.spawn::<Twin>(()).on(HERE).await.expect("it starts");
        let (other, one) = (Spawned::handle(&other), Spawned::handle(&self.twin));
        let (ended, others) = tokio::join!(one.clasp(&other), other.clasp(&one));
        let errors = [ended, others].map(|ended| ended.expect("each says what became of its call"));
        errors.into_iter().flatten().collect()
    }
}
