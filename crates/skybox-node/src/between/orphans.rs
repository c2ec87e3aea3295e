//! Instances of this node's on another one that it has taken for lost, and that may live on.
//!
//! A node that was stopped for a while, or cut off, is lost to those who could not reach it, and knows nothing of that.
//! Here whoever waited for its instances was told so, and their owners have let them go or made others in their place. So
//! it is told as soon as it can be reached again, and kills those that this node owns:
//!
//! 1. What is lost is noted by its id, before anybody is told. So a late word ends nothing that was made since.
//! 2. One task for each life of another node tries to reach it, until it hears that another life has begun or that the
//!    plan has it no more.
//! 3. The other node kills those that this life of this node owns there. Whom somebody here merely watched lives on.
//! 4. What its owner has dropped is killed there too, not stopped: others may have taken its place already.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skybox_core::{CallErrorKind, Exit, Incarnation};
use tokio::task::JoinSet;

use super::{Ask, Named, ask, host_of};
use crate::app::AppInner;
use crate::conn::Conn;
use crate::host::lock;
use crate::links::Peer;

/// Orphans on one other node that are remembered; those beyond live until this node ends.
const ORPHANS_MAX: usize = 1 << 20;
/// Orphans that one word names.
const WORD_MAX: usize = 1024;
/// The pause between two tries to reach their node. Each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Orphans that are killed at the same time.
const KILLED_AT_ONCE: usize = 64;

/// By the life of their node: those that are to be told.
#[derive(Debug, Default)]
pub(crate) struct Orphans(Mutex<HashMap<Incarnation, HashMap<Named, Claim>>>);

/// What this node has to do with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Somebody here was told that it is lost. Whether this node owns it, the other one knows.
    Watched,
    /// Its owner, who is here, has let it go.
    Dropped,
}

/// What the other node is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Lost {
    watched: Vec<Named>,
    dropped: Vec<Named>,
}

impl Orphans {
    /// That life of another node counts as lost here, of which somebody waits for these instances.
    pub(crate) fn are_lost(
        app: &Arc<AppInner>,
        peer: &Arc<Peer>,
        life: Incarnation,
        watched: impl IntoIterator<Item = Named>,
    ) {
        Orphans::note(app, peer, life, watched.into_iter().map(|named| (named, Claim::Watched)));
    }

    /// The same, when their owner has let one go.
    pub(super) fn is_dropped(app: &Arc<AppInner>, peer: &Arc<Peer>, named: Named) {
        Orphans::note(app, peer, named.seat.node, [(named, Claim::Dropped)]);
    }

    /// Whether one is to be told anyway: then it is told as well that its owner has let it go.
    pub(super) fn takes_over(&self, named: &Named) -> bool {
        let mut all = lock(&self.0);
        let claim = all.get_mut(&named.seat.node).and_then(|orphans| orphans.get_mut(named));
        claim.map(|claim| *claim = Claim::Dropped).is_some()
    }

    fn note(
        app: &Arc<AppInner>,
        peer: &Arc<Peer>,
        life: Incarnation,
        lost: impl IntoIterator<Item = (Named, Claim)>,
    ) {
        // The node of a cell owns what the cell does.
        if app.inside.is_some() || peer.is_over(life) {
            return;
        }
        let mut lost = lost.into_iter().peekable();
        if lost.peek().is_none() {
            return;
        }
        let mut all = lock(&app.orphans.0);
        let (orphans, is_new) = match all.entry(life) {
            Entry::Occupied(known) => (known.into_mut(), false),
            Entry::Vacant(free) => (free.insert(HashMap::new()), true),
        };
        let room = ORPHANS_MAX.saturating_sub(orphans.len());
        orphans.extend(lost.take(room));
        drop(all);
        if is_new {
            app.runtime.spawn(tell(Arc::downgrade(app), peer.clone(), life));
        }
    }

    /// Some of them; `None` if there are no more, and then the life is forgotten.
    fn some(&self, life: Incarnation) -> Option<Lost> {
        let mut all = lock(&self.0);
        let mut some = Lost::default();
        for (named, claim) in all.get(&life)?.iter().take(WORD_MAX) {
            let of_its_kind = match claim {
                Claim::Watched => &mut some.watched,
                Claim::Dropped => &mut some.dropped,
            };
            of_its_kind.push(named.clone());
        }
        if some.watched.is_empty() && some.dropped.is_empty() {
            all.remove(&life);
            return None;
        }
        Some(some)
    }

    /// Their node has heard of these.
    fn are_told(&self, life: Incarnation, told: &Lost) {
        let mut all = lock(&self.0);
        let Some(orphans) = all.get_mut(&life) else { return };
        for (named, claim) in told.claims() {
            // One that was dropped meanwhile is told again.
            if orphans.get(named) == Some(&claim) {
                orphans.remove(named);
            }
        }
    }

    fn forget(&self, life: Incarnation) {
        lock(&self.0).remove(&life);
    }
}

impl Lost {
    fn claims(&self) -> impl Iterator<Item = (&Named, Claim)> {
        let watched = self.watched.iter().map(|named| (named, Claim::Watched));
        watched.chain(self.dropped.iter().map(|named| (named, Claim::Dropped)))
    }
}

/// Tells the other node, once it can be reached.
async fn tell(app: Weak<AppInner>, peer: Arc<Peer>, life: Incarnation) {
    let mut changes = peer.changes();
    let mut pause = PAUSE_MIN;
    while let Some(app) = app.upgrade() {
        changes.borrow_and_update();
        if peer.is_over(life) {
            return app.orphans.forget(life);
        }
        match tell_some(&app, &peer, life).await {
            Ok(true) => continue,
            Ok(false) => return,
            // It has been started anew, or does not know the word.
            Err(CallErrorKind::Gone | CallErrorKind::Mismatch { .. } | CallErrorKind::BadReply { .. }) => {
                return app.orphans.forget(life);
            }
            Err(_) => {}
        }
        drop(app);
        // The other node may be the one that dials.
        drop(tokio::time::timeout(pause, changes.changed()).await);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Says whether there may be more to be told.
///
/// # Errors
/// `Gone` if the other node is in another life; otherwise those of [`ask`].
async fn tell_some(app: &Arc<AppInner>, peer: &Arc<Peer>, life: Incarnation) -> Result<bool, CallErrorKind> {
    let conn = peer.connect(app).await.map_err(|why| CallErrorKind::Unreachable { why })?;
    if conn.peer().incarnation != life {
        return Err(CallErrorKind::Gone);
    }
    let Some(some) = app.orphans.some(life) else { return Ok(false) };
    ask::<()>(app, peer, Some(life), &Ask::Lost(some.clone())).await?;
    app.orphans.are_told(life, &some);
    Ok(true)
}

/// Another node had taken this one for lost. Of the instances that it names, those that it owns are of nobody, and are
/// killed: another one may do their work, and a last word could undo what that has done since.
pub(super) fn end(app: &Arc<AppInner>, asker: &Conn, lost: Lost) {
    let owner = asker.peer();
    let is_orphan = |(named, claim): (&Named, Claim)| {
        let was_owned = app.owners.lets_go(owner.incarnation, named);
        (was_owned || claim == Claim::Dropped).then(|| named.clone())
    };
    let orphans: Vec<_> = lost.claims().filter_map(is_orphan).collect();
    if orphans.is_empty() {
        return;
    }
    let by = format!("{}, where its owner is and which had taken {} for lost", owner.node, app.node);
    let (app, owner) = (app.clone(), owner.node.clone());
    // Whoever has asked may be gone before this is done.
    app.runtime.clone().spawn(async move {
        let (mut killing, mut killed) = (JoinSet::new(), 0_usize);
        for named in orphans {
            let Ok(host) = host_of(&app, &named.module) else { continue };
            let exit = Exit::Killed { by: by.clone() };
            killing.spawn_on(host.clone().kill_seat(named.seat, exit), &app.runtime);
            if killing.len() >= KILLED_AT_ONCE {
                killed += usize::from(matches!(killing.join_next().await, Some(Ok(true))));
            }
        }
        while let Some(ended) = killing.join_next().await {
            killed += usize::from(matches!(ended, Ok(true)));
        }
        tracing::warn!(
            killed,
            "{owner} had taken this node for lost: the instances that it owns here are killed"
        );
    });
}

#[cfg(test)]
mod tests {
    use skybox_core::InstanceId;

    use super::*;

    const LIFE: Incarnation = Incarnation(7);

    fn named(count: u64) -> Named {
        Named { module: "room".to_owned(), seat: InstanceId { node: LIFE, count } }
    }

    #[test]
    fn what_is_dropped_while_it_is_told_is_told_again() {
        let orphans = Orphans::default();
        lock(&orphans.0).insert(LIFE, (0..3).map(|n| (named(n), Claim::Watched)).collect());
        let told = orphans.some(LIFE).expect("there are some");
        assert_eq!((told.watched.len(), told.dropped.len()), (3, 0));
        assert!(orphans.takes_over(&named(1)) && !orphans.takes_over(&named(3)));
        orphans.are_told(LIFE, &told);
        let told = orphans.some(LIFE).expect("one is left");
        assert_eq!((told.watched, told.dropped.clone()), (Vec::new(), vec![named(1)]));
        orphans.are_told(LIFE, &Lost { dropped: told.dropped, ..Lost::default() });
        assert!(orphans.some(LIFE).is_none());
        assert!(lock(&orphans.0).is_empty(), "a life of which nothing is to be told is forgotten");
    }

    #[test]
    fn a_word_names_so_many_at_most() {
        let orphans = Orphans::default();
        let all = (0..WORD_MAX as u64 + 10).map(|n| (named(n), Claim::Watched)).collect();
        lock(&orphans.0).insert(LIFE, all);
        let mut words = Vec::new();
        while let Some(told) = orphans.some(LIFE) {
            words.push(told.watched.len());
            orphans.are_told(LIFE, &told);
        }
        assert_eq!(words, [WORD_MAX, 10]);
    }
}
