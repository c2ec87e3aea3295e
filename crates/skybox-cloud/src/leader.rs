//! The node that plans at the moment: any one of them, elected through the store.
//!
//! Whoever has the key `leader` leads, until it loses it with its lease or gives it up. All that it writes is written on
//! the condition that the key is still the one that it has got: a leader that slept writes nothing.
//!
//! It remembers nothing that is not in the store. `leader/decide.rs` says what has to be written; this carries it out,
//! and looks again when something has changed.

mod asked;
mod brake;
mod decide;
mod facts;
mod gray;
pub(crate) mod reports;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use skybox_core::{Code, Incarnation, NodeName, Replicas};
use skybox_node::control::{LeaderFigures, ModuleDecl};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::history::{Author, Pen};
use crate::records::{
    AGAIN, ASSIGN, BRAKE, CORDON, DEGRADED, Degraded, EXPECTED, FAR, FREEZE, GRAY, LEADER, Leader, NODE,
    Node, OWN, PIN, PLACE, ROUTE, SCALE, STATE, UNPLACED, life_in, of_life, text,
};
use crate::store::{
    Committed, Condition, Followed, LeaseId, Op, Pace, Revision, Store, StoreError, TXN_BYTES_MAX, Txn, View,
    any_changed, follow,
};
pub(crate) use asked::{explain, foresee};
use brake::{Brake, Held, Sight};
use decide::{Decided, Life, Mind, Seen, Write, decide, lives};
pub(crate) use facts::rules;
use gray::{Gray, Judged, Verdict};
use reports::{Figures, Reports};
use skybox_plan::place::{Move, Placement, Rules};
use telling::Lines;

/// So many keys are written in one transaction, with what must be so of them and a line that tells of each: fewer than
/// stores take.
const WRITES_AT_ONCE: usize = 60;
/// Of an empty cloud, the first plan waits until no further node has come for so long, and for that at most so long: what
/// has keys stays with the nodes that were there first.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_MAX: Duration = Duration::from_secs(5);
/// Where it is known which nodes are to come, it waits for them for at most so long.
const EXPECTED_MAX: Duration = Duration::from_secs(10);
/// How long an own write may take to be seen before all is looked at anew.
const SEEN_WAIT: Duration = Duration::from_secs(5);
/// How often a plan is looked at in which distances matter.
const TICK: Duration = Duration::from_secs(1);
/// The pause before a node stands for election again that could not plan.
const FAILED_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of the keys and values of one transaction: less than stores take, with what must be so of them.
const BYTES_AT_ONCE: usize = TXN_BYTES_MAX / 2;
/// The longest pause after steps that failed, one after the other.
const AGAIN_PAUSE_MAX: Duration = Duration::from_secs(2);
/// The pause after a step that was not taken.
const AGAIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest wait before the key of a leader that is gone is tried for: not all nodes ask in the same moment.
const CAMPAIGN_PAUSE: Duration = Duration::from_millis(100);

/// How long a node that is cut off from most others waits for one of them to lead.
const CUT_OFF_PAUSE: Duration = Duration::from_secs(3);

/// What a node has to know to lead.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) me: Leader,
    /// Nodes of other builds are to leave; of none, if it is not said.
    pub(crate) build: Option<String>,
    pub(crate) modules: Arc<[ModuleDecl]>,
    pub(crate) rules: Rules,
    pub(crate) lease: watch::Receiver<Option<LeaseId>>,
    pub(crate) pace: Pace,
    /// How long a node may be silent before it is taken for gone, where it may be there still. Absent where somebody sees
    /// nodes die.
    pub(crate) brake: Option<Duration>,
    /// What it has decided, for whoever looks after the cloud; while it leads.
    pub(crate) news: Arc<watch::Sender<Option<LeaderFigures>>>,
    /// Set while it reaches few others: then others lead, if they can.
    pub(crate) cut_off: watch::Receiver<bool>,
    /// What nodes tell it while it leads.
    pub(crate) reports: Arc<Reports>,
}

impl Candidate {
    /// Leads, without an election: nobody else stands for it. For as long as it is awaited.
    pub(crate) async fn rule(self) {
        let mut failures = 0;
        loop {
            let me = text(&self.me);
            let written = self.store.commit(Txn::of([Op::put(LEADER, me)])).await;
            let listed = self.store.list(LEADER).await;
            let term = listed.ok().and_then(|listed| term_of(&View::of(listed), self.me.incarnation));
            match term {
                Some(term) => {
                    self.reports.begin();
                    let (_ends, is_over) = Planner { candidate: self.clone(), term }.begin();
                    drop(is_over.await);
                    tracing::error!("whoever plans has ended: another one is begun");
                }
                None => tracing::error!("nobody can plan: the parent's own store says {written:?}"),
            }
            tokio::time::sleep(AGAIN_PAUSE.saturating_mul(1 << u32::min(failures, 8))).await;
            failures += 1;
        }
    }

    /// Stands for election whenever there is no leader, and leads when it is elected; until this node leaves, which
    /// `resigned` says.
    pub(crate) async fn run(mut self, mut resigned: watch::Receiver<bool>) {
        let runtime = tokio::runtime::Handle::current();
        let leader = follow(&runtime, self.store.clone(), LEADER, self.pace);
        let mut views = leader.views();
        tokio::select! {
            () = self.stand(&mut views) => {}
            _ = resigned.wait_for(|resigned| *resigned) => {}
        }
        // As long as this node is there: what has failed may have been done, and a key that was asked for may come still.
        loop {
            let own = term_of(&views.borrow_and_update(), self.me.incarnation);
            match own {
                Some(term) if self.resign(term).await => {
                    drop(tokio::time::timeout(SEEN_WAIT, views.changed()).await);
                }
                Some(_) => tokio::time::sleep(AGAIN_PAUSE).await,
                None => drop(views.changed().await),
            }
        }
    }

    /// Gives the lead up; says whether the store has heard that.
    async fn resign(&self, term: Revision) -> bool {
        let ours = Condition::CreatedAt(LEADER.to_owned(), term);
        let resigned = self.store.commit(Txn::when([ours], [Op::Delete(LEADER.to_owned())])).await;
        resigned.inspect_err(|error| tracing::debug!("not resigned: {error}")).is_ok()
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
            if *self.cut_off.borrow() {
                drop(tokio::time::timeout(CUT_OFF_PAUSE, views.changed()).await);
                if views.borrow().entries.contains_key(LEADER) {
                    continue;
                }
            }
            tokio::time::sleep(CAMPAIGN_PAUSE.mul_f64((self.pace.jitter)().clamp(0.0, 1.0))).await;
            let Some(lease) = self.lease.wait_for(Option::is_some).await.ok().and_then(|lease| *lease) else {
                return;
            };
            let put = Op::put_on(lease, LEADER, text(&self.me));
            let elected = Txn::when([Condition::Absent(LEADER.to_owned())], [put]);
            if let Err(error) = self.store.commit(elected).await {
                tracing::debug!("not elected: {error}");
            }
            // Whoever was first, and also where that is not known: the view says who leads.
            drop(tokio::time::timeout(SEEN_WAIT, views.changed()).await);
        }
    }

    /// Plans until another one leads.
    async fn lead(&self, term: Revision, leader: &mut watch::Receiver<Arc<View>>) {
        tracing::info!(node = %self.me.name, "leads");
        let _leads = Leads::begin(&self.news);
        let lost = async {
            let leads = |view: &Arc<View>| term_of(view, self.me.incarnation) == Some(term);
            drop(leader.wait_for(|view| !leads(view)).await);
        };
        self.reports.begin();
        let cut_off = async {
            let mut cut_off = self.cut_off.clone();
            // One that leads although it was cut off is as good as the others, which are cut off as well.
            drop(cut_off.wait_for(|cut_off| !*cut_off).await);
            drop(cut_off.wait_for(|cut_off| *cut_off).await);
        };
        let (ends, is_over) = Planner { candidate: self.clone(), term }.begin();
        tokio::select! {
            () = lost => {}
            () = cut_off => {
                tracing::warn!("this node leads, and hardly reaches anybody: another node is to lead");
                while !self.resign(term).await {
                    tokio::time::sleep(AGAIN_PAUSE).await;
                }
            }
            _ = is_over => {
                tracing::error!("whoever plans on this node has ended: another node is to lead");
                self.resign(term).await;
                tokio::time::sleep(FAILED_PAUSE).await;
            }
        }
        drop(ends);
        self.reports.end();
        tracing::info!(node = %self.me.name, "leads no more");
    }
}

/// That a node leads, for as long as this is there.
struct Leads<'n>(&'n watch::Sender<Option<LeaderFigures>>);

impl<'n> Leads<'n> {
    fn begin(news: &'n watch::Sender<Option<LeaderFigures>>) -> Leads<'n> {
        news.send_replace(Some(LeaderFigures::default()));
        Leads(news)
    }
}

impl Drop for Leads<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
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
const LOOKED_AT: [&str; 15] = [
    STATE, ASSIGN, ROUTE, OWN, PLACE, FAR, PIN, SCALE, CORDON, GRAY, AGAIN, BRAKE, FREEZE, UNPLACED, EXPECTED,
];

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

    fn on(&self, prefix: &str) -> &Followed {
        let found = self.all.iter().find(|(at, _)| *at == prefix);
        found.map(|(_, followed)| followed).expect("it is looked at")
    }

    fn take_over(&self, seen: &mut Seen) {
        for (prefix, followed) in self.decisive() {
            let view = followed.views().borrow().clone();
            seen.follow(prefix, &view);
        }
    }

    /// Waits until it is seen that these keys were written, each at its revision.
    async fn have_seen(&self, written: &[(String, Revision)]) {
        for (prefix, followed) in self.all() {
            let last = written
                .iter()
                .filter(|(key, _)| key.starts_with(prefix))
                .map(|(_, revision)| *revision)
                .max();
            if let Some(last) = last {
                drop(tokio::time::timeout(SEEN_WAIT, followed.at(last)).await);
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
    /// Plans on a thread of its own, since a large plan takes longer to make than a lease may go without being renewed: until
    /// the first is dropped. The second says that it has ended.
    fn begin(self) -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        let (ends, ended) = oneshot::channel::<()>();
        let (plans, is_over) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("skybox-leader".to_owned()).spawn(move || {
            // Dropped when the thread ends, however that is.
            let _plans = plans;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    tokio::select! {
                        () = self.run() => {}
                        _ = ended => {}
                    }
                }),
                Err(error) => tracing::error!("this node cannot plan, although it leads: {error}"),
            }
        });
        if let Err(error) = &thread {
            tracing::error!("this node cannot plan, although it leads: {error}");
        }
        (ends, is_over)
    }

    async fn run(self) {
        let eyes = Eyes::open(&self.candidate);
        for (_, followed) in eyes.all() {
            followed.at(Revision::default()).await;
        }
        let mut seen = Seen::default();
        eyes.take_over(&mut seen);
        let lives = |node: &Node| seen.nodes.iter().any(|(_, row)| row.value.incarnation == node.incarnation);
        if !seen.assigns.iter().any(|(_, row)| lives(&row.value.node)) {
            self.first_nodes(&eyes).await;
        }
        let had = seen.assigns.iter().map(|(_, row)| (row.value.node.incarnation, row.value.node.clone()));
        let had = had.collect();
        let mut brake = self.candidate.brake.map_or_else(Brake::none, |lease| Brake::new(lease, had));
        let mut degraded = false;
        let (mut was_away, mut failures) = (false, 0);
        let mut pen = Pen::default();
        let changed: Vec<_> = eyes.all().map(|(_, followed)| followed.views()).collect();
        let mut remembered = Placement::default();
        // Distances and times go on although nothing is written.
        let modules = &self.candidate.modules;
        let ticks = modules.iter().any(|module| module.needs.near.is_some())
            || has_ranges(modules)
            || self.candidate.rules.auto_place;
        let mut gray = Gray::default();
        let mut too_many = false;
        loop {
            let mut changed = changed.clone();
            for views in &mut changed {
                views.mark_unchanged();
            }
            eyes.take_over(&mut seen);
            let away = eyes.nodes.age().1.is_some();
            brake.look(Instant::now(), sight(&seen, std::mem::replace(&mut was_away, away) || away));
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
            let figures = self.figures(&seen, brake.held());
            let mut decided = decide(&seen, &self.mind(&remembered, &figures), brake.held());
            self.tell(&decided, &brake);
            let mut writes = std::mem::take(&mut decided.writes);
            let was_held = eyes.degraded.views().borrow().clone();
            writes.extend(self.degraded(&was_held, &brake));
            let (judgement, verdict) = self.judge(&mut gray, &seen, &brake);
            writes.extend(judgement);
            if std::mem::replace(&mut too_many, verdict.too_many > 0) != too_many && too_many {
                tracing::error!(
                    "{} nodes are not reached by most others, too many at once: they keep what they have until fewer are, or \
                     somebody says `skybox go-on`",
                    verdict.too_many
                );
            }
            if writes.is_empty() {
                remembered = decided.placement;
                let mut woken = std::pin::pin!(async {
                    tokio::select! {
                        () = any_changed(&mut changed) => {}
                        // That the store is away changes no view.
                        _ = eyes.nodes.in_trouble(), if !away => {}
                    }
                });
                loop {
                    let tick = Instant::now() + TICK;
                    let until = brake.until().map_or(tick, |until| until.min(tick));
                    let is_woken = tokio::time::timeout_at(until, &mut woken).await.is_ok();
                    // A large plan is not made anew each second for what nodes tell of others.
                    if is_woken
                        || ticks
                        || away
                        || until < tick
                        || self.judge(&mut gray, &seen, &brake).1 != verdict
                    {
                        break;
                    }
                }
                continue;
            }
            let author = Author { by: "leader", at: self.candidate.me.name.as_str() };
            let mut lines = Lines::of(&author, &decided.moves, &writes, &seen, &was_held);
            let written = self.write(&writes, &mut lines, &mut pen).await;
            eyes.have_seen(&written.seen).await;
            if written.all {
                failures = 0;
                tell(&decided.moves, &decided.gave_up);
                tell_verdict(&verdict);
                remembered = decided.placement;
                continue;
            }
            // Moves that were not made cost no budget.
            let spent_ms = std::mem::take(&mut remembered.spent_ms);
            remembered = Placement { spent_ms, ..decided.placement };
            if let Some(error) = written.error {
                tracing::warn!("the plan could not be written: {error}");
            }
            let pause = AGAIN_PAUSE.saturating_mul(1 << u32::min(failures, 8)).min(AGAIN_PAUSE_MAX);
            failures += 1;
            tokio::time::sleep(pause.mul_f64(0.5 + (self.candidate.pace.jitter)().clamp(0.0, 1.0) / 2.0))
                .await;
        }
    }

    /// Says what was decided, to whoever looks after the cloud.
    fn tell(&self, decided: &Decided, brake: &Brake) {
        let held_back = if brake.is_degraded() { brake.held().len() as u64 } else { 0 };
        let now = LeaderFigures { unplaced: decided.unplaced.clone(), held_back };
        // Its term may be over: nobody is told then.
        self.candidate.news.send_if_modified(|news| {
            news.as_mut().is_some_and(|news| {
                *news != now && {
                    *news = now;
                    true
                }
            })
        });
    }

    fn figures(&self, seen: &Seen, held: &Held) -> Figures {
        figures(&self.candidate.reports, seen, &self.candidate.modules, self.candidate.build.as_deref(), held)
    }

    /// Who is not reached, and what has to be written of that.
    fn judge(&self, gray: &mut Gray, seen: &Seen, brake: &Brake) -> (Vec<Write>, Verdict) {
        let lives = lives(seen, self.candidate.build.as_deref(), brake.held());
        let counts = lives.iter().filter(|(_, life)| {
            !life.held && (!life.draining || life.is_gray) && life.state.is_some_and(|state| state.ready)
        });
        let judged = counts.map(|(name, life)| {
            let is_open = seen.cordons.get(&format!("{CORDON}{name}")).is_none();
            let judged = Judged { life: life.node.incarnation, is_gray: life.is_gray, is_open };
            ((*name).clone(), judged)
        });
        let judged: BTreeMap<_, _> = judged.collect();
        let verdict = gray.look(Instant::now(), &self.candidate.reports.reach(), &judged, brake.losses());
        let key = |name: &NodeName| of_life(GRAY, judged[name].life);
        let mut writes = Vec::new();
        for (node, by) in &verdict.lost {
            let gray = crate::records::Gray { node: node.clone(), by: by.iter().cloned().collect() };
            writes.push(Write { when: Vec::new(), op: Op::put(key(node), text(&gray)) });
        }
        for node in &verdict.back {
            writes.push(Write { when: Vec::new(), op: Op::Delete(key(node)) });
        }
        let gone = seen.grays.iter().map(|(key, _)| key).filter(|key| {
            life_in(key, GRAY).is_none_or(|life| seen.nodes.changed_at(&of_life(NODE, life)).is_none())
        });
        writes.extend(gone.map(|key| Write { when: Vec::new(), op: Op::Delete(key.to_owned()) }));
        (writes, verdict)
    }

    fn mind<'m>(&'m self, remembered: &'m Placement, figures: &'m Figures) -> Mind<'m> {
        Mind {
            modules: &self.candidate.modules,
            build: self.candidate.build.as_deref(),
            rules: &self.candidate.rules,
            remembered,
            figures,
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
        let mut changed = [eyes.nodes.views(), eyes.on(EXPECTED).views()];
        let begun = Instant::now();
        let mut seen = Seen::default();
        loop {
            changed.iter_mut().for_each(watch::Receiver::mark_unchanged);
            eyes.take_over(&mut seen);
            let (quiet, longest) = match seen.expected() {
                // Whoever starts them says which they are.
                Some(expected) if seen.all_there(expected.all()) => return,
                Some(_) => (EXPECTED_MAX, EXPECTED_MAX),
                None => (QUIET, QUIET_MAX),
            };
            let until = (begun + longest).min(Instant::now() + quiet);
            let is_quiet = tokio::time::timeout_at(until, any_changed(&mut changed)).await.is_err();
            let is_late = begun.elapsed() >= longest;
            if is_late || (is_quiet && seen.nodes.iter().next().is_some()) {
                return;
            }
        }
    }

    /// Writes all, in several steps if it takes so many. What cannot be written keeps nothing else up.
    async fn write(&self, writes: &[Write], lines: &mut Lines, pen: &mut Pen) -> Written {
        let mut written = Written { all: true, ..Written::default() };
        for writes in chunks(writes) {
            match self.commit(writes, lines, pen).await {
                Ok(committed) if committed.met => written.note(writes, committed.revision),
                // Something of it was not as it has to be, or is more than a store takes; the rest may be right.
                Ok(_) | Err(StoreError::TooLarge { .. }) if writes.len() > 1 => {
                    for write in writes.chunks(1) {
                        match self.commit(write, lines, pen).await {
                            Ok(committed) if committed.met => written.note(write, committed.revision),
                            Ok(_) => written.all = false,
                            Err(error) => written.fail(error),
                        }
                    }
                }
                Ok(_) => written.all = false,
                Err(error) => written.fail(error),
            }
        }
        written
    }

    /// In one transaction with the lines that tell of it.
    async fn commit(
        &self,
        writes: &[Write],
        lines: &mut Lines,
        pen: &mut Pen,
    ) -> Result<Committed, StoreError> {
        let mut when = vec![Condition::CreatedAt(LEADER.to_owned(), self.term)];
        for condition in writes.iter().flat_map(|write| &write.when) {
            if !when.contains(condition) {
                when.push(condition.clone());
            }
        }
        let txn = Txn::when(when, writes.iter().map(|write| write.op.clone()));
        let (at, told) = lines.with(writes);
        let committed = pen.commit(&self.candidate.store, txn, &told).await?;
        if committed.met {
            lines.are_written(at);
        }
        Ok(committed)
    }
}

/// What has become of writes.
#[derive(Debug, Default)]
struct Written {
    all: bool,
    /// For each key that was written, when.
    seen: Vec<(String, Revision)>,
    /// The first failure.
    error: Option<StoreError>,
}

impl Written {
    fn note(&mut self, writes: &[Write], revision: Revision) {
        self.seen.extend(writes.iter().map(|write| (key_of(&write.op).to_owned(), revision)));
    }

    fn fail(&mut self, error: StoreError) {
        self.all = false;
        self.error.get_or_insert(error);
    }
}

/// Writes that go into one transaction each: so many, and so large.
fn chunks(writes: &[Write]) -> Vec<&[Write]> {
    let mut chunks = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, write) in writes.iter().enumerate() {
        let size = match &write.op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete(key) | Op::Get(key) => key.len(),
        };
        if at > from && (at - from >= WRITES_AT_ONCE || bytes + size > BYTES_AT_ONCE) {
            chunks.push(&writes[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    if from < writes.len() {
        chunks.push(&writes[from..]);
    }
    chunks
}

/// What nodes have told of how much there is to do.
fn figures(
    reports: &Reports,
    seen: &Seen,
    modules: &[ModuleDecl],
    build: Option<&str>,
    held: &Held,
) -> Figures {
    let lives = lives(seen, build, held);
    let serves = |module: &str| {
        let started =
            lives.values().filter(|life| life.state.is_some_and(|state| state.started.contains(module)));
        started.map(|life| life.node.incarnation).collect::<Vec<_>>()
    };
    let ranges = modules.iter().filter(|module| is_range(module.replicas));
    // Those that have begun tell; one that is not reached may not reach this node either.
    let tells = |life: &&Life<'_>| !life.is_gray && life.state.is_some_and(|state| state.ready);
    let counts = lives.values().filter(tells);
    let counts = counts.map(|life| life.node.incarnation).collect();
    reports.figures(&counts, ranges.map(|module| (module.name.as_str(), serves(&module.name))))
}

/// Whether how much there is to do matters for the plan of one of these modules.
pub(crate) fn has_ranges(modules: &[ModuleDecl]) -> bool {
    modules.iter().any(|module| is_range(module.replicas))
}

pub(crate) fn is_range(replicas: Replicas) -> bool {
    matches!(replicas, Replicas::Range { min, max } if min < max)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Says what moves, and why.
fn tell(moves: &[Move], gave_up: &BTreeSet<(String, NodeName)>) {
    for Move { module, from, to, reason, shards } in moves {
        let name = |node: &Option<NodeName>| node.as_ref().map_or("nowhere".to_owned(), NodeName::to_string);
        if let (Some(from), Some(to)) = (from, to)
            && gave_up.contains(&(module.clone(), from.clone()))
        {
            tracing::warn!(code = %Code::NOT_STARTED, "{from} gave {module} up: it is tried on {to}");
            continue;
        }
        match shards {
            0 => tracing::info!(module, %reason, "moves from {} to {}", name(from), name(to)),
            shards => {
                tracing::info!(module, %reason, "{shards} shards move from {} to {}", name(from), name(to))
            }
        }
    }
}

/// Says who is not reached any more, and who is again.
fn tell_verdict(verdict: &Verdict) {
    for (node, by) in &verdict.lost {
        let names: Vec<_> = by.iter().map(NodeName::as_str).collect();
        let names = names.join(", ");
        tracing::warn!(%node, "it reaches the store, and is not reached by {names}: it hands over what it has");
    }
    for node in &verdict.back {
        tracing::info!(%node, "it is reached again");
    }
}

fn sight(seen: &Seen, away: bool) -> Sight {
    let nodes = || seen.nodes.iter().map(|(_, row)| &row.value);
    Sight {
        nodes: nodes().map(|node| (node.incarnation, Node::clone(node))).collect(),
        away,
        released: seen.brake.get(BRAKE).map_or(Revision::default(), |row| row.changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_go_into_transactions_that_stores_take() {
        let put = |n: usize, size: usize| Write {
            when: Vec::new(),
            op: Op::put(format!("k{n}"), "v".repeat(size)),
        };
        let small: Vec<_> = (0..130).map(|n| put(n, 10)).collect();
        assert_eq!(chunks(&small).iter().map(|chunk| chunk.len()).collect::<Vec<_>>(), [60, 60, 10]);
        let large: Vec<_> = (0..5).map(|n| put(n, 200 << 10)).collect();
        assert_eq!(chunks(&large).iter().map(|chunk| chunk.len()).collect::<Vec<_>>(), [2, 2, 1]);
        let huge = [put(0, 10), put(1, TXN_BYTES_MAX), put(2, 10)];
        assert_eq!(chunks(&huge).len(), 3, "it stops no other");
        assert!(chunks(&[]).is_empty());
    }
}
