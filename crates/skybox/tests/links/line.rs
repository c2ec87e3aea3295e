//! The connections between two nodes, which can be cut: whoever dials one of them finds this here instead of its socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use skybox::cloud::testing::RunningNodes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// It stays on its way, and new connections wait: so nobody takes the other for dead.
    holds: bool,
    /// How often all connections were cut: what was on its way is lost.
    cuts: u64,
}

/// All connections to some nodes.
pub(crate) struct Line {
    state: watch::Sender<State>,
    carried: Arc<AtomicUsize>,
}

impl Line {
    /// Between these nodes, which are not connected yet.
    pub(crate) fn between(nodes: &RunningNodes, names: &[&str]) -> Line {
        let line = Line { state: watch::Sender::default(), carried: Arc::default() };
        let directory = nodes.parent().socket().parent().expect("sockets are in a directory");
        for name in names {
            let front = directory.join(format!("{name}.sock"));
            let behind = directory.join(format!("{name}.behind"));
            std::fs::rename(&front, &behind).expect("it listens there");
            tokio::spawn(accept(listen(&front), behind, line.state.subscribe(), line.carried.clone()));
        }
        line
    }

    /// How many connections there have been.
    pub(crate) fn carried(&self) -> usize {
        self.carried.load(Ordering::Relaxed)
    }

    /// Nothing comes through any more.
    pub(crate) fn hold(&self) {
        self.state.send_modify(|state| state.holds = true);
    }

    /// Ends all connections, with what is on its way. New ones wait.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| *state = State { holds: true, cuts: state.cuts + 1 });
    }

    pub(crate) fn mend(&self) {
        self.state.send_modify(|state| state.holds = false);
    }
}

fn listen(path: &Path) -> UnixListener {
    UnixListener::bind(path).expect("the name is free")
}

async fn accept(
    front: UnixListener,
    behind: PathBuf,
    state: watch::Receiver<State>,
    carried: Arc<AtomicUsize>,
) {
    while let Ok((near, _)) = front.accept().await {
        let (behind, mut state, carried) = (behind.clone(), state.clone(), carried.clone());
        tokio::spawn(async move {
            let Ok(cuts) = state.wait_for(|state| !state.holds).await.map(|state| state.cuts) else { return };
            // The node may be leaving.
            let Ok(far) = UnixStream::connect(behind).await else { return };
            carried.fetch_add(1, Ordering::Relaxed);
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            tokio::select! {
                () = carry(from_near, to_far, state.clone(), cuts) => {}
                () = carry(from_far, to_near, state, cuts) => {}
            }
        });
    }
}

/// One way, until it is cut or one of them hangs up.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    cuts: u64,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let carries = state.wait_for(|state| !state.holds || state.cuts != cuts).await;
        if carries.map_or(true, |state| state.cuts != cuts) {
            return;
        }
        tokio::select! {
            biased;
            _ = state.changed() => {}
            read = from.read(&mut buffer) => match read {
                Ok(count @ 1..) => {
                    if to.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
