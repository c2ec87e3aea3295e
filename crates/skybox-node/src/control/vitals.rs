//! How a node is, for whoever plans; and the way of whoever plans to other nodes.

use serde::{Deserialize, Serialize};
use skybox_core::{Incarnation, NodeName};

use super::Boxed;

/// A node that runs, as whoever plans may ask it. What is asked here costs no call anything: it reads what is counted
/// anyway, and looks at who holds what at that moment.
pub trait Vitals: Send + Sync {
    /// Looks at how much there is to do at this moment, for [`Vitals::loads`]. To be called in even steps, some twenty times
    /// a second.
    fn look(&self);
    /// How much there was to do for each module without keys that lives here, by all looks since this was asked the last
    /// time. A module at which nobody has looked is absent.
    fn loads(&self) -> Vec<Load>;
    /// The calls that modules here have made so far. Calls of code in cells are not among them.
    fn flows(&self) -> Vec<Flow>;
    /// Whether another node can be reached: over the connection that there is, or else over one that this opens. One that
    /// has said nothing for two seconds is not.
    ///
    /// # Cancel safety
    /// Dropping it is of no consequence.
    fn reaches(&self, node: &NodeName) -> Boxed<'static, bool>;
    /// Tells whoever plans at that life of another node something, as [`Control::heard`](super::Control::heard) has it;
    /// gives the answer, however long that takes.
    ///
    /// # Errors
    /// Why there is none, for the log. It may have been heard.
    fn tell(
        &self,
        node: &NodeName,
        life: Incarnation,
        what: String,
    ) -> Boxed<'static, Result<String, String>>;
}

/// A module is never told to have more to do than this: what waits says that one instance is too little, and not how many
/// would do. In thousandths.
pub const LOAD_MAX_MILLI: u64 = 2_000;

/// How much there is to do for one module on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// The module.
    pub module: String,
    /// How much of its instance's time the work there takes, in thousandths; 2,000 where as much waits as it can do at once,
    /// and never more.
    ///
    /// The largest of what is known: of a module with `concurrency`, calls in progress by that; of one with `&mut self`
    /// methods, whether one runs; of one with threads of its own (`cpu`), those that work; and always the time for which
    /// threads run its code, by the cores that it reserves, or one.
    pub load_milli: u64,
    /// Calls that are in progress, in thousandths, where that is counted.
    pub in_progress_milli: u64,
    /// Calls that wait, in thousandths.
    pub waiting_milli: u64,
}

/// The calls that one module makes to another, as seen from the caller's node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The calling module; empty for code outside all modules.
    pub from: String,
    /// The called module.
    pub to: String,
    /// Calls that stayed within the node.
    pub local: u64,
    /// Calls that went to other nodes.
    pub remote: u64,
}
