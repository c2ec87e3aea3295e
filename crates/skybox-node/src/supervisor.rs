//! Supervisors of one's own: spawned instances that are started, watched and started again together.
//!
//! What a supervisor decides is a function of facts (`skybox_plan::supervise`); here its decisions are carried out, by
//! one task for each ([`tree`]). What it knows of a child's type is behind [`child`].

mod child;
mod lives;
mod tree;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use skybox_core::{CallErrorKind, Error};
use skybox_plan::supervise::{Intensity, Strategy, Supervision};
use tokio::sync::{oneshot, watch};

use child::AnySpec;
pub use child::{Child, ChildSpec};
pub(crate) use lives::Lives;
use tree::{Over, Tree};

use crate::app::App;
use crate::module::Spawns;

/// How many restarts of its children a supervisor bears in [`WITHIN`].
const MAX_RESTARTS: u32 = 3;
/// The window in which restarts count.
const WITHIN: Duration = Duration::from_secs(5);

/// Keeps spawned instances alive: its children.
///
/// It belongs in a field of a module's instance, whose `start` makes it. It starts its children in their order, and
/// starts those again that end, by the strategy that it was made with. Dropped, it stops them, from last to first; so when its instance
/// crashes its children go, and the `start` of the next one makes them anew.
///
/// Where restarts go on too often it gives up: it stops all children, [`Child::get`] fails with `NotStarted` and the
/// cause, and the instance whose code had started it crashes with that cause, so that whoever supervises that one
/// decides. Trees are made of spawned instances that have a supervisor in turn.
///
/// When a node leaves, all of its instances end beside one another. `docs/supervisors.md` shows one.
#[must_use = "dropped, it stops its children"]
pub struct Supervisor {
    /// Dropped, it has the tree's task stop the children.
    stop: Option<oneshot::Sender<()>>,
    over: watch::Receiver<Option<Over>>,
}

impl Supervisor {
    /// Of children that can do without one another: one that ends is started again alone.
    pub fn one_for_one() -> Children {
        Children::new(Strategy::OneForOne)
    }

    /// Of children that cannot do without one another: when one is started again, all are.
    pub fn one_for_all() -> Children {
        Children::new(Strategy::OneForAll)
    }

    /// Of children each of which rests on those before it: when one is started again, so are those after it.
    pub fn rest_for_one() -> Children {
        Children::new(Strategy::RestForOne)
    }

    /// Stops the children, from last to first, and waits until nothing is left of them.
    ///
    /// # Cancel safety
    /// Dropped, it goes on stopping them.
    pub async fn stop(mut self) {
        self.stop.take();
        // An error means that the task is gone, as when its runtime has ended.
        drop(self.over.wait_for(Option::is_some).await);
    }

    /// Resolves when it has given up, with the cause; never, if it does not.
    ///
    /// # Cancel safety
    /// Can be dropped and asked again.
    pub async fn gave_up(&self) -> String {
        let mut over = self.over.clone();
        let why = match over.wait_for(|over| matches!(over, Some(Over::GaveUp(_)))).await.as_deref() {
            Ok(Some(Over::GaveUp(why))) => Some(why.clone()),
            _ => None,
        };
        match why {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("over", &*self.over.borrow()).finish_non_exhaustive()
    }
}

/// The children that a supervisor is to have.
#[must_use = "nothing is started before `start` is awaited"]
pub struct Children {
    strategy: Strategy,
    intensity: Intensity,
    specs: Vec<Arc<dyn AnySpec>>,
}

impl Children {
    fn new(strategy: Strategy) -> Children {
        Children {
            strategy,
            intensity: Intensity { max_restarts: MAX_RESTARTS, within: WITHIN },
            specs: Vec::new(),
        }
    }

    /// So many restarts, of all children together, are borne within this time; one more, and it gives up. Default: 3
    /// within 5 s. The first is at once, the next ones wait for 50 ms, 100 ms, and so on, up to 5 s.
    pub fn max_restarts(mut self, max_restarts: u32, within: Duration) -> Children {
        self.intensity = Intensity { max_restarts, within };
        self
    }

    /// Adds a child after those that were added before. What is given back leads to its instance, whichever that is at
    /// the moment.
    pub fn add<T: Spawns>(&mut self, spec: ChildSpec<T>) -> Child<T> {
        let (spec, child) = spec.into_parts();
        self.specs.push(spec);
        child
    }

    /// Starts them, one after the other.
    ///
    /// # Errors
    /// `NotStarted` if one of them does not start, with its name and why; then those before it have been stopped.
    ///
    /// # Cancel safety
    /// Dropped, those that run are stopped.
    #[track_caller]
    pub fn start(self, app: &App) -> impl Future<Output = Result<Supervisor, Error>> + Send + use<> {
        let Children { strategy, intensity, specs } = self;
        let supervision = Supervision::new(strategy, intensity, specs.iter().map(|spec| spec.restart()));
        let tree = Tree::new(app, supervision, specs, Location::caller());
        let runtime = app.inner().runtime.clone();
        async move {
            let (stop, stopping) = oneshot::channel();
            let (begun, begins) = oneshot::channel();
            let (over, is_over) = watch::channel(None);
            runtime.spawn(tree.run(stopping, begun, over));
            let supervisor = Supervisor { stop: Some(stop), over: is_over };
            match begins.await {
                Ok(Ok(())) => Ok(supervisor),
                Ok(Err(cause)) => Err(child::not_started("its supervisor", cause)),
                Err(_) => Err(Error::from(child::call_error("its supervisor", CallErrorKind::Gone))),
            }
        }
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.specs.iter().map(|spec| spec.name()).collect();
        f.debug_struct("Children").field("strategy", &self.strategy).field("names", &names).finish()
    }
}
