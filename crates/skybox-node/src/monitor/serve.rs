//! What another node waits for here, over one connection of it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::observers::{Next, Observer};
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
    observer: Arc<Observer>,
    mut watched: Stream<Watched>,
    told: StreamSender<Told>,
    mut closed: watch::Receiver<bool>,
) {
    let (connection, news) = observer.connects();
    loop {
        match observer.next(connection) {
            Next::Over => return,
            Next::Tell(ended) => {
                if told.send(ended).await.is_err() {
                    return;
                }
                continue;
            }
            Next::Nothing => {}
        }
        tokio::select! {
            biased;
            () = news.notified() => {}
            item = next(&mut watched) => match item {
                Some(Ok(Watched::Begin(number, named))) => {
                    let Some(app) = app.upgrade() else { return };
                    observer.begins(&app, number, &named);
                }
                Some(Ok(Watched::End(number))) => observer.ends(number),
                Some(Err(_)) | None => return,
            },
            () = all_ended(&mut closed) => break,
        }
    }
    // In vain only where some did not end in time: their watchers hear that the node was lost.
    drop(tokio::time::timeout(LAST_WAIT, last(&observer, connection, &news, &told)).await);
}

async fn all_ended(closed: &mut watch::Receiver<bool>) {
    // An error means that the App is gone, and all that was in it.
    drop(closed.wait_for(|closed| *closed).await);
}

/// Tells of those that ended last. What goes on all the same is cut off with its node.
async fn last(observer: &Observer, connection: u64, news: &Notify, told: &StreamSender<Told>) {
    loop {
        match observer.next(connection) {
            Next::Over => return,
            Next::Tell(ended) => {
                if told.send(ended).await.is_err() {
                    return;
                }
            }
            Next::Nothing if observer.is_done() => return,
            Next::Nothing => news.notified().await,
        }
    }
}
