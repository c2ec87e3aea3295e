//! What a cell and its node tell each other, beside calls: as calls of [`THE_NODE`](crate::operate::THE_NODE), so that
//! they keep their order with the calls and replies of the link.

use serde::{Deserialize, Serialize};
use skybox_core::{Exit, InstanceId, ModulePlan};

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
    /// Say what lives here, as to a person.
    Status,
    /// Kill an instance; say whether it was live here.
    Kill {
        /// Its name.
        instance: String,
        /// Who wants it.
        by: String,
    },
}
