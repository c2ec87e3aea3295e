//! The node that plans at the moment: any one of them, elected through the store.
//!
//! Whoever has the key `leader` leads, until it loses it with its lease or gives it up. All that it writes is written on
//! the condition that the key is still the one that it has got: a leader that slept writes nothing.
//!
//! It remembers nothing that is not in the store. `leader/decide.rs` says what has to be written; this carries it out,
//! and looks again when something has changed.

mod brake;
mod decide;
mod facts;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use skybox_core::{Code, Incarnation, NodeName};
use skybox_node::control::ModuleDecl;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::records::{
    AGAIN, ASSIGN, BRAKE, CORDON, DEGRADED, Degraded, FAR, FREEZE, LEADER, Leader, NODE, Node, OWN, PIN,
    PLACE, ROUTE, SCALE, STATE, UNPLACED, text,
};
use crate::store::{Condition, Followed, LeaseId, Op, Pace, Revision, Store, StoreError, Txn, View, follow};
use brake::{Brake, Held, Sight};
use decide::{Mind, Seen, Write, decide};
pub(crate) use facts::rules;
use skybox_plan::place::{Explanation, Move, Placement, Rules};

/// So many keys are written in one transaction, with what must be so of them: fewer than stores take.
const WRITES_AT_ONCE: usize = 60;
/// Of an empty cloud, the first plan waits until no further node has come for so long, and for that at most so long: what
/// has keys stays with the nodes that were there first.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How long an own write may take to be seen before all is looked at anew.
const SEEN_WAIT: Duration = Duration::from_secs(5);
/// How often a plan is looked at in which distances matter.
const TICK: Duration = Duration::from_secs(1);
/// The pause after a step that was not taken.
const AGAIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest wait before the key of a leader that is gone is tried for: not all nodes ask in the same moment.
const CAMPAIGN_PAUSE: Duration = Duration::from_millis(100);

/// What a node has to know to lead.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) me: Leader,
    pub(crate) build: String,
    pub(crate) modules: Arc<[ModuleDecl]>,
    pub(crate) rules: Rules,
    pub(crate) lease: watch::Receiver<Option<LeaseId>>,
    pub(crate) pace: Pace,
    /// How long a node may be silent before it is taken for gone.
    pub(crate) ttl: Duration,
    /// Set when this node leaves: it leads no more.
    pub(crate) resigned: watch::Receiver<bool>,
}

impl Candidate {
    /// Stands for election whenever there is no leader, and leads when it is elected; until this node leaves.
    pub(crate) async fn run(mut self) {
        let runtime = tokio::runtime::Handle::current();
        let leader = follow(&runtime, self.store.clone(), LEADER, self.pace);
        let mut views = leader.views();
        let mut resigned = self.resigned.clone();
        tokio::select! {
            () = self.stand(&mut views) => {}
            _ = resigned.wait_for(|resigned| *resigned) => {}
        }
        let own = term_of(&views.borrow(), self.me.incarnation);
        if let Some(term) = own {
            let resign =
                Txn::when([Condition::CreatedAt(LEADER.to_owned(), term)], [Op::Delete(LEADER.to_owned())]);
            if let Err(error) = self.store.commit(resign).await {
                tracing::debug!("the leader's key goes with the lease: {error}");
            }
        }
    }

    async fn stand(&mut self, views: &mut watch::Receiver<Arc<View>>) {
        loop {
            let view = views.borrow_and_update().clone();
            if let Some(term) = term_of(&view, self.me.incarnation) {
                self.lead(term, views).await;
                continue;
            }
            if view.revision == Revision::default() || view.entries.contains_key(LEADER) {
                // The sender lives as long as the key is followed.
                drop(views.changed().await);
                continue;
            }
            tokio::time::sleep(CAMPAIGN_PAUSE.mul_f64((self.pace.jitter)().clamp(0.0, 1.0))).await;
            let Some(lease) = self.lease.wait_for(Option::is_some).await.ok().and_then(|lease| *lease) else {
                return;
            };
            let put = Op::put_on(lease, LEADER, text(&self.me));
            match self.store.commit(Txn::when([Condition::Absent(LEADER.to_owned())], [put])).await {
                // Also when somebody else was first, or it is not known: the view says who leads.
                Ok(_) => drop(tokio::time::timeout(SEEN_WAIT, views.changed()).await),
                Err(error) => {
                    tracing::debug!("not elected: {error}");
                    drop(tokio::time::timeout(SEEN_WAIT, views.changed()).await);
                }
            }
        }
    }

    /// Plans until another one leads.
    async fn lead(&self, term: Revision, leader: &mut watch::Receiver<Arc<View>>) {
        tracing::info!(node = %self.me.name, "leads");
        let lost = async {
            let leads = |view: &Arc<View>| term_of(view, self.me.incarnation) == Some(term);
            drop(leader.wait_for(|view| !leads(view)).await);
        };
        // On a thread of its own: a large plan takes longer to make than a lease may go without being renewed.
        let (ends, ended) = tokio::sync::oneshot::channel::<()>();
        let planner = Planner { candidate: self.clone(), term };
        let thread = std::thread::Builder::new().name("skybox-leader".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    tokio::select! {
                        () = planner.run() => {}
                        _ = ended => {}
                    }
                }),
                Err(error) => tracing::error!("this node cannot plan, although it leads: {error}"),
            }
        });
        if let Err(error) = thread {
            tracing::error!("this node cannot plan, although it leads: {error}");
        }
        lost.await;
        drop(ends);
        tracing::info!(node = %self.me.name, "leads no more");
    }
}

/// Since when this node leads, if it does.
fn term_of(view: &View, me: Incarnation) -> Option<Revision> {
    let entry = view.entries.get(LEADER)?;
    let leader: Leader = serde_json::from_str(&entry.value).ok()?;
    (leader.incarnation == me).then_some(entry.created)
}

/// One term of a leader.
struct Planner {
    candidate: Candidate,
    term: Revision,
}

/// What the leader looks at.
struct Eyes {
    nodes: Followed,
    all: Vec<(&'static str, Followed)>,
    /// What it has written for people.
    degraded: Followed,
}

/// All but the nodes.
const LOOKED_AT: [&str; 13] =
    [STATE, ASSIGN, ROUTE, OWN, PLACE, FAR, PIN, SCALE, CORDON, AGAIN, BRAKE, FREEZE, UNPLACED];

impl Eyes {
    fn open(candidate: &Candidate) -> Eyes {
        let runtime = tokio::runtime::Handle::current();
        let on = |prefix| follow(&runtime, candidate.store.clone(), prefix, candidate.pace);
        let all = LOOKED_AT.map(|prefix| (prefix, on(prefix))).into();
        Eyes { nodes: on(NODE), all, degraded: on(DEGRADED) }
    }

    /// All that is decided by.
    fn decisive(&self) -> impl Iterator<Item = (&'static str, &Followed)> {
        [(NODE, &self.nodes)].into_iter().chain(self.all.iter().map(|(prefix, followed)| (*prefix, followed)))
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &Followed)> {
        self.decisive().chain([(DEGRADED, &self.degraded)])
    }

    fn take_over(&self, seen: &mut Seen) {
        for (prefix, followed) in self.decisive() {
            let view = followed.views().borrow().clone();
            seen.follow(prefix, &view);
        }
    }

    /// Waits until one of these keys was seen to change at this revision or later.
    async fn have_seen(&self, writes: &[Write], revision: Revision) {
        for (prefix, followed) in self.all() {
            if writes.iter().any(|write| key_of(&write.op).starts_with(prefix)) {
                drop(tokio::time::timeout(SEEN_WAIT, followed.at(revision)).await);
            }
        }
    }
}

fn key_of(op: &Op) -> &str {
    match op {
        Op::Put { key, .. } | Op::Delete(key) | Op::Get(key) => key,
    }
}

impl Planner {
    async fn run(self) {
        let eyes = Eyes::open(&self.candidate);
        for (_, followed) in eyes.all() {
            followed.at(Revision::default()).await;
        }
        let mut seen = Seen::default();
        eyes.take_over(&mut seen);
        if seen.assigns.iter().next().is_none() {
            self.first_nodes(&eyes).await;
        }
        let had = seen.assigns.iter().map(|(_, row)| (row.value.node.incarnation, row.value.node.clone()));
        let mut brake = Brake::new(self.candidate.ttl, had.collect());
        let mut degraded = false;
        let changed: Vec<_> = eyes.all().map(|(_, followed)| followed.views()).collect();
        let mut remembered = Placement::default();
        // Distances and times go on although nothing is written.
        let ticks = self.candidate.modules.iter().any(|module| module.needs.near.is_some());
        loop {
            let mut changed = changed.clone();
            for views in &mut changed {
                views.mark_unchanged();
            }
            eyes.take_over(&mut seen);
            let (_, trouble) = eyes.nodes.age();
            brake.look(Instant::now(), sight(&seen, trouble.is_some()));
            if brake.is_degraded() != std::mem::replace(&mut degraded, brake.is_degraded()) {
                match degraded {
                    true => tracing::error!(
                        code = %Code::DEGRADED,
                        "{} nodes were lost at once: nothing of theirs is given to others until they are back, or somebody \
                         says `skybox go-on`",
                        brake.held().len()
                    ),
                    false => tracing::info!("enough nodes are there again"),
                }
            }
            let decided = decide(&seen, &self.mind(&remembered), brake.held());
            remembered = decided.placement;
            tell(&decided.moves);
            let mut writes = decided.writes;
            writes.extend(self.degraded(&eyes.degraded.views().borrow(), &brake));
            if writes.is_empty() {
                let any = futures_of(&mut changed);
                let tick = ticks.then(|| Instant::now() + TICK);
                match brake.until().into_iter().chain(tick).min() {
                    Some(until) => drop(tokio::time::timeout_at(until, any).await),
                    None => any.await,
                }
                continue;
            }
            match self.write(&writes).await {
                Ok(Some(revision)) => eyes.have_seen(&writes, revision).await,
                Ok(None) => tokio::time::sleep(AGAIN_PAUSE).await,
                Err(error) => {
                    tracing::warn!("the plan could not be written: {error}");
                    tokio::time::sleep(
                        AGAIN_PAUSE.mul_f64(1.0 + (self.candidate.pace.jitter)().clamp(0.0, 1.0)),
                    )
                    .await;
                }
            }
        }
    }

    fn mind<'m>(&'m self, remembered: &'m Placement) -> Mind<'m> {
        Mind {
            modules: &self.candidate.modules,
            build: &self.candidate.build,
            rules: &self.candidate.rules,
            remembered,
            now_ms: now_ms(),
        }
    }

    /// What has to be written so that whoever asks is told what is held back; nothing if that is there.
    fn degraded(&self, view: &View, brake: &Brake) -> Option<Write> {
        let entry = view.entries.get(DEGRADED);
        if !brake.is_degraded() {
            return entry.map(|_| Write { when: Vec::new(), op: Op::Delete(DEGRADED.to_owned()) });
        }
        // Without a lease this node leads no more, which it is about to see.
        let lease = (*self.candidate.lease.borrow())?;
        let mut held: Vec<_> = brake.held().values().map(|node| node.name.clone()).collect();
        held.sort();
        let value = text(&Degraded { held });
        let is_there = entry.is_some_and(|entry| entry.value == value && entry.lease == Some(lease));
        (!is_there).then(|| Write { when: Vec::new(), op: Op::put_on(lease, DEGRADED, value) })
    }

    async fn first_nodes(&self, eyes: &Eyes) {
        let mut nodes = eyes.nodes.views();
        let until = Instant::now() + QUIET_MAX;
        while Instant::now() < until {
            let quiet = tokio::time::timeout(QUIET, nodes.changed()).await;
            let count = nodes.borrow_and_update().entries.len();
            if quiet.is_err() && count > 0 {
                return;
            }
        }
    }

    /// Writes all, in several steps if it takes so many; `None` if something was not as it has to be.
    async fn write(&self, writes: &[Write]) -> Result<Option<Revision>, StoreError> {
        let mut all = true;
        let mut last = Revision::default();
        for writes in writes.chunks(WRITES_AT_ONCE) {
            let mut when = vec![Condition::CreatedAt(LEADER.to_owned(), self.term)];
            for condition in writes.iter().flat_map(|write| &write.when) {
                if !when.contains(condition) {
                    when.push(condition.clone());
                }
            }
            let txn = Txn::when(when, writes.iter().map(|write| write.op.clone()));
            let committed = self.candidate.store.commit(txn).await?;
            all &= committed.met;
            last = committed.revision;
        }
        Ok(all.then_some(last))
    }
}

/// Why a module is where it is, from what is in the store; nothing if there is no such module.
pub(crate) async fn explain(
    store: &Arc<dyn Store>,
    modules: &[ModuleDecl],
    build: &str,
    rules: &Rules,
    module: &str,
) -> Result<Option<Explanation>, StoreError> {
    let mut seen = Seen::default();
    for prefix in [NODE].into_iter().chain(LOOKED_AT) {
        let listed = store.list(prefix).await?;
        seen.follow(prefix, &View::of(listed));
    }
    let (held, remembered) = (Held::new(), Placement::default());
    let mind = Mind { modules, build, rules, remembered: &remembered, now_ms: now_ms() };
    Ok(skybox_plan::place::explain(&decide::facts_of(&seen, &mind, &held), module))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Says what moves, and why.
fn tell(moves: &[Move]) {
    for Move { module, from, to, reason, shards } in moves {
        let name = |node: &Option<NodeName>| node.as_ref().map_or("nowhere".to_owned(), NodeName::to_string);
        match shards {
            0 => tracing::info!(module, %reason, "moves from {} to {}", name(from), name(to)),
            shards => {
                tracing::info!(module, %reason, "{shards} shards move from {} to {}", name(from), name(to))
            }
        }
    }
}

fn sight(seen: &Seen, away: bool) -> Sight {
    let nodes = || seen.nodes.iter().map(|(_, row)| &row.value);
    Sight {
        nodes: nodes().map(|node| (node.incarnation, Node::clone(node))).collect(),
        leaving: nodes().filter(|node| node.draining).map(|node| node.incarnation).collect(),
        away,
        released: seen.brake.get(BRAKE).map_or(Revision::default(), |row| row.changed),
    }
}

/// Resolves when one of them has changed.
async fn futures_of(views: &mut [watch::Receiver<Arc<View>>]) {
    let mut waiting: Vec<_> = views.iter_mut().map(|views| Box::pin(views.changed())).collect();
    std::future::poll_fn(|cx| {
        let any = waiting.iter_mut().any(|one| one.as_mut().poll(cx).is_ready());
        if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
