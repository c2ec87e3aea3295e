//! What a cell and its node tell each other, beside calls: as calls of [`THE_NODE`](crate::operate::THE_NODE), so that
//! they keep their order with the calls and replies of the link.

use serde::{Deserialize, Serialize};
use skybox_core::{Exit, Incarnation, InstanceId, ModulePlan, NodeName};

use crate::between::Named;
use crate::control::Report;

/// What a cell tells its node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// What a node would tell whoever plans.
    Report(Report),
    /// An instance has ended, and the cell goes on; or its `start` has failed.
    Ended {
        /// Which one, and for how many milliseconds it lived.
        instance: Option<(InstanceId, u64)>,
        /// The bytes of its key, if it has one.
        key: Option<Vec<u8>>,
        /// Why.
        exit: Exit,
    },
    /// A key is not started any more.
    KeyGaveUp {
        /// Its bytes.
        key: Vec<u8>,
        /// Why.
        cause: String,
        /// How many failed starts have counted.
        failed_starts: u32,
    },
    /// Nothing is left of a spawned instance, whose seat its node has.
    Gone {
        /// The seat.
        seat: InstanceId,
        /// Why it ended.
        exit: Exit,
    },
    /// Code in the cell wants to know of the end of an instance elsewhere.
    Watch {
        /// The life of the instance's node.
        life: Incarnation,
        /// Under which number it is to be told, among those of that life.
        number: u64,
        /// Where it is, if not in the cell's node.
        node: Option<NodeName>,
        /// Which one.
        named: Named,
    },
    /// It does not want to know any more.
    Unwatch {
        /// The life of the instance's node.
        life: Incarnation,
        /// Its number.
        number: u64,
    },
    /// A call goes on so many milliseconds beyond its deadline, on a thread that nobody can stop.
    Overran {
        /// How many.
        past_ms: u64,
    },
}

/// What a node has a cell do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// End what lives here; answered when that has ended.
    Leave,
    /// The keys that belong here from now on; answered when the others have ended.
    Follow(ModulePlan),
    /// Start the keys again that were given up, or one of them, when they are called.
    ForgetFailed {
        /// Which one's bytes.
        key: Option<Vec<u8>>,
    },
    /// Say what lives here, as to a person.
    Status,
    /// Hear of the end of an instance elsewhere.
    Told {
        /// The life of the instance's node.
        life: Incarnation,
        /// The number under which it was asked for.
        number: u64,
        /// Why it ended.
        exit: Exit,
    },
    /// Kill an instance; say whether nothing is left of it a moment later, if it was live here.
    Kill {
        /// Its name.
        instance: String,
        /// Who wants it.
        by: String,
    },
}
