//! The instances here whose ends another node wants to know.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::watches::next;
use super::{Told, Watched};
use crate::app::AppInner;
use crate::stream::{Stream, StreamSender};

/// How long the ends of the last instances may take to be told when everything here has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Tells another node of the ends that it asks for, until it hangs up or everything here has ended. `closed` turns true
/// with the latter: the streams must not keep this node from leaving.
pub(crate) async fn serve(
    app: Weak<AppInner>,
    mut watched: Stream<Watched>,
    told: StreamSender<Told>,
    mut closed: watch::Receiver<bool>,
) {
    let mut waiting = JoinSet::new();
    let mut handles: HashMap<u64, AbortHandle> = HashMap::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = waiting.join_next() => {
                // An error is one that was taken back.
                let Ok((number, exit)) = ended else { continue };
                handles.remove(&number);
                if told.send((number, exit)).await.is_err() {
                    return;
                }
            }
            item = next(&mut watched) => match item {
                Some(Ok(Watched::Begin(number, named))) => {
                    let Some(app) = app.upgrade() else { return };
                    let monitor = crate::between::monitor(&app, &named);
                    handles.insert(number, waiting.spawn(async move { (number, monitor.await) }));
                }
                Some(Ok(Watched::End(number))) => {
                    handles.remove(&number).inspect(AbortHandle::abort);
                }
                Some(Err(_)) | None => return,
            },
            () = all_ended(&mut closed) => return last(waiting, told).await,
        }
    }
}

async fn all_ended(closed: &mut watch::Receiver<bool>) {
    // An error means that the App is gone, and all that was in it.
    drop(closed.wait_for(|closed| *closed).await);
}

/// Tells of those that ended last. What goes on all the same is cut off with its node.
async fn last(mut waiting: JoinSet<Told>, told: StreamSender<Told>) {
    let all = async {
        while let Some(ended) = waiting.join_next().await {
            let Ok(ended) = ended else { continue };
            if told.send(ended).await.is_err() {
                return;
            }
        }
    };
    // In vain only where some did not end in time: their watchers hear that the node was lost.
    drop(tokio::time::timeout(LAST_WAIT, all).await);
}
