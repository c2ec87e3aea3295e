//! The program as several nodes: each button is an order to their parent.

use std::collections::BTreeMap;

use skybox::cloud::client::Client;
use skybox::cloud::parent::{Done, NodeName, Order};

use super::{Place, Stage, Staged, Staging};
use crate::{AppError, Process};

/// The task that moves.
const THUMBNAIL: &str = "thumbnail";

/// Several nodes, of which one is the worker.
#[derive(Clone, Debug)]
pub struct Split {
    parent: Client,
    worker: NodeName,
}

impl Split {
    /// The nodes of that parent; all but the worker serve the page.
    pub fn new(parent: Client, worker: &str) -> Split {
        Split { parent, worker: NodeName::new(worker) }
    }

    async fn move_to(&self, place: Place) -> Result<Staged, AppError> {
        let nodes = match place {
            Place::Worker => vec![self.worker.clone()],
            Place::Pages => self.processes().await?.into_keys().filter(|node| *node != self.worker).collect(),
        };
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        let text = match place {
            Place::Worker => format!("thumbnails moved to {}", names.join(", ")),
            Place::Pages => format!("thumbnails moved to where the page is served: {}", names.join(", ")),
        };
        self.order(Order::Move { module: THUMBNAIL.to_owned(), nodes }).await?;
        Ok(Staged { text, place: Some(place), killed: None })
    }

    async fn kill(&self) -> Result<Staged, AppError> {
        let node = self.worker.clone();
        let pid = self.processes().await?.get(&node).copied();
        let pid = pid.ok_or_else(|| refused(format!("{node} is not running at the moment")))?;
        self.order(Order::Kill { node }).await?;
        let killed = Process { node: self.worker.to_string(), pid };
        let text = format!("kill -9 {pid}: {} is dead", killed.node);
        Ok(Staged { text, place: None, killed: Some(killed) })
    }

    /// The nodes that live, and their processes.
    async fn processes(&self) -> Result<BTreeMap<NodeName, u32>, AppError> {
        match self.order(Order::Show).await? {
            Done::Shown { processes, .. } => Ok(processes),
            other => Err(refused(format!("the parent answered {other:?}"))),
        }
    }

    async fn order(&self, order: Order) -> Result<Done, AppError> {
        match self.parent.order(&order).await {
            Ok(Done::Refused(why)) => Err(refused(why)),
            Ok(done) => Ok(done),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

fn refused(message: String) -> AppError {
    AppError::Stage { message }
}

impl Stage for Split {
    fn place(&self, place: Place) -> Staging<'_> {
        Box::pin(self.move_to(place))
    }

    fn kill_worker(&self) -> Staging<'_> {
        Box::pin(self.kill())
    }
}
