//! A spawned instance in a cell is killed since another one has ended to which it is linked.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use skybox_core::{Exit, InstanceId};

use super::Cells;
use crate::between::{self, Named};
use crate::host::HostCore;

/// How long its cell has to do it, before the process itself is killed if it is the instance's own.
const FALL_WAIT: Duration = Duration::from_secs(2);

impl Cells {
    /// Has its cell kill an instance; says whether there was one to kill.
    pub(crate) async fn fall(&self, core: &Arc<HostCore>, id: InstanceId, exit: Exit) -> bool {
        let Some(seated) = self.seats.get(id) else { return false };
        let mut ended = pin!(seated.ended().wait());
        let Some(link) = seated.link() else { return false };
        let named = Named { module: core.descriptor.name.to_owned(), seat: id };
        let asking = between::fall_seated(&link, named, exit.clone());
        // It is asked at once, and does it when its `start` has ended: the time it has is counted from there.
        let in_vain = async {
            seated.started().await;
            seated.is_no_more();
            tokio::time::sleep(FALL_WAIT).await;
        };
        let was_there = tokio::select! {
            biased;
            _ = &mut ended => return false,
            said = asking => said.ok(),
            () = in_vain => None,
        };
        seated.is_no_more();
        // It has the last word, for which there is a limit.
        if was_there == Some(false) {
            return false;
        }
        // Others live in a shared one. There, what holds a thread goes on.
        if let Some(cell) = link.cell().filter(|_| seated.has_own_cell())
            && (was_there.is_none() || tokio::time::timeout(FALL_WAIT, &mut ended).await.is_err())
        {
            cell.sentenced(exit);
        }
        true
    }
}
