//! What the store says, as the plan that a node follows; and the shards that it has let go of, given to who is to have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use skybox_core::{ModuleKind, ModulePlan, NodeEntry, NodeName, Plan, SHARD_COUNT, Shard, Shards};
use skybox_node::control::ModuleDecl;
use tokio::sync::watch;

use super::Shared;
use crate::records::{
    ASSIGN, Assign, Assigned, GENERATION, NODE, Node, OWN, Own, Owns, ROUTE, Route, Row, Table, block_of,
    of_life, own, own_in, text,
};
use crate::store::{Condition, Followed, LeaseId, Op, Revision, StoreError, Txn, View, any_changed, follow};

/// Blocks of shards that are handed over in one transaction, with a condition each: fewer than stores take.
const BLOCKS_AT_ONCE: usize = 60;

/// What a node looks at.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    pub(crate) nodes: Table<Node>,
    pub(crate) assigns: Table<Assign>,
    pub(crate) routes: Table<Route>,
    pub(crate) owns: Table<Owns>,
    /// What these say of the keyed modules, until they change.
    shards: BTreeMap<String, Shards>,
    /// Of the store, as far as it is known.
    generation: u64,
}

impl Sight {
    pub(crate) fn new(
        nodes: Table<Node>,
        assigns: Table<Assign>,
        routes: Table<Route>,
        owns: Table<Owns>,
    ) -> Sight {
        Sight { nodes, assigns, routes, owns, ..Sight::default() }
    }

    /// Takes over what there is of [`NODE`], [`ASSIGN`], [`ROUTE`] and [`OWN`]; says whether owners have changed.
    pub(crate) fn follow(&mut self, views: &mut [watch::Receiver<Arc<View>>; 4]) -> bool {
        let [nodes, assigns, routes, owns] = views;
        let nodes = self.nodes.follow(&nodes.borrow_and_update());
        let owns = self.owns.follow(&owns.borrow_and_update());
        if nodes || owns {
            self.shards.clear();
        }
        self.assigns.follow(&assigns.borrow_and_update());
        self.routes.follow(&routes.borrow_and_update());
        owns
    }

    /// The life of each node that counts: the newest.
    fn lives(&self) -> BTreeMap<&NodeName, &Row<Node>> {
        let mut lives: BTreeMap<&NodeName, &Row<Node>> = BTreeMap::new();
        for (_, row) in self.nodes.iter() {
            let newest = lives.entry(&row.value.name).or_insert(row);
            if newest.created < row.created {
                *newest = row;
            }
        }
        lives
    }

    /// The plan for a node; for nobody, the one that people see.
    pub(crate) fn plan(&mut self, me: Option<&Node>, modules: &[ModuleDecl]) -> Plan {
        let mut known = std::mem::take(&mut self.shards);
        let lives = self.lives();
        let nodes = lives.iter().map(|(name, row)| {
            let node = &row.value;
            let entry = NodeEntry {
                incarnation: Some(node.incarnation),
                address: node.address.clone(),
                draining: node.draining,
            };
            ((*name).clone(), entry)
        });
        let mut plan = Plan { version: 0, nodes: nodes.collect(), modules: BTreeMap::new() };
        for module in modules {
            let planned = match module.kind {
                ModuleKind::Keyed => {
                    let shards = || self.shards(&module.name, me, &lives);
                    ModulePlan::Keyed(known.entry(module.name.clone()).or_insert_with(shards).clone())
                }
                _ => self.replicated(&module.name, me, &lives),
            };
            plan.modules.insert(module.name.clone(), planned);
        }
        self.shards = known;
        plan
    }

    fn replicated(
        &self,
        module: &str,
        me: Option<&Node>,
        lives: &BTreeMap<&NodeName, &Row<Node>>,
    ) -> ModulePlan {
        let route = self.routes.get(&format!("{ROUTE}{module}")).map(|row| &*row.value);
        let lives_on = |place: &&crate::records::Place| {
            // Another process of this name is not this one, whatever people have meant by that.
            let is_other = me.is_some_and(|me| me.name == place.node && me.incarnation != place.incarnation);
            !is_other && lives.get(&place.node).is_some_and(|row| row.value.incarnation == place.incarnation)
        };
        let serving = route.into_iter().flat_map(|route| &route.serving).filter(lives_on);
        let serving = serving.map(|place| place.node.clone()).collect();
        let Some(me) = me else {
            let assigned = route.map(|route| route.assigned.clone()).unwrap_or_default();
            let failed = route.and_then(|route| route.failed.clone());
            return ModulePlan::Replicated { assigned, serving, failed, chances: BTreeMap::new() };
        };
        let mine = self.assigned(me).and_then(|assign| assign.modules.get(module));
        let (mut assigned, mut chances) = (Vec::new(), BTreeMap::new());
        if let Some(Assigned { chance, .. }) = mine {
            assigned.push(me.name.clone());
            if *chance > 0 {
                chances.insert(me.name.clone(), *chance);
            }
        }
        ModulePlan::Replicated {
            assigned,
            serving,
            failed: route.and_then(|route| route.failed.clone()),
            chances,
        }
    }

    fn assigned(&self, me: &Node) -> Option<&Assign> {
        self.assigns.get(&of_life(ASSIGN, me.incarnation)).map(|row| &*row.value)
    }

    fn shards(&self, module: &str, me: Option<&Node>, lives: &BTreeMap<&NodeName, &Row<Node>>) -> Shards {
        let keeps = |own: &Own| {
            let owner = &own.owner;
            // Another process of this name is not this one, whatever people have meant by that.
            let is_other = me.is_some_and(|me| me.name == owner.node && me.incarnation != owner.incarnation);
            let lives_on =
                lives.get(&owner.node).is_some_and(|life| life.value.incarnation == owner.incarnation);
            // While it is handed over nobody has it, and calls wait.
            !is_other && lives_on && own.releasing_to.is_none()
        };
        let prefix = format!("{OWN}{module}/");
        let blocks = self.owns.under(&prefix).filter_map(|(key, row)| {
            let (_, block) = own_in(key).filter(|(of, _)| *of == module)?;
            Some((block, &*row.value))
        });
        let runs: Vec<_> =
            blocks.flat_map(|(block, owns)| owns.runs(block)).filter(|(_, own)| keeps(own)).collect();
        let nodes: BTreeSet<_> = runs.iter().map(|(_, own)| &own.owner.node).collect();
        let nodes: Vec<_> = nodes.into_iter().cloned().collect();
        let mut owner = vec![Shards::NOBODY; usize::from(SHARD_COUNT)];
        let mut epochs = vec![0; me.map_or(0, |_| usize::from(SHARD_COUNT))];
        for (shards, own) in runs {
            let at = nodes.binary_search(&own.owner.node).ok().and_then(|at| u16::try_from(at).ok());
            owner[shards.clone()].fill(at.unwrap_or(Shards::NOBODY));
            if me.is_some_and(|me| me.incarnation == own.owner.incarnation) {
                epochs[shards].fill(own.epoch);
            }
        }
        Shards { nodes, owner, epochs, generation: self.generation }
    }
}

/// Shards that this node is to let go of.
#[derive(Debug, Default)]
struct Releasing(BTreeMap<(String, Shard), Leaving>);

#[derive(Clone, Debug)]
struct Leaving {
    /// As it was told.
    own: Arc<Own>,
    /// Since which version of its plan nobody has it.
    since: u64,
    /// That it has let go is on its way to the store, as of this revision of what is there.
    told: Option<Revision>,
}

impl Releasing {
    /// Takes over which they are.
    fn follow(&mut self, owns: &Table<Owns>, me: &Node, version: u64) {
        let mut now = BTreeMap::new();
        for (key, row) in owns.iter() {
            let Some((module, block)) = own_in(key) else { continue };
            for (shard, own) in row.value.iter(block) {
                if own.owner.incarnation != me.incarnation || own.releasing_to.is_none() {
                    continue;
                }
                let of = (module.to_owned(), shard);
                let known = self.0.remove(&of).filter(|known| known.own == *own);
                let new = || Leaving { own: own.clone(), since: version, told: None };
                now.insert(of, known.unwrap_or_else(new));
            }
        }
        self.0 = now;
    }

    /// Those that are free now, as what has to be written so that the next owner has them.
    fn free(&mut self, owns: &Table<Owns>, released: &BTreeMap<String, u64>) -> Vec<(Condition, Op)> {
        let mut free: BTreeMap<String, (Revision, Owns)> = BTreeMap::new();
        for ((module, shard), leaving) in &mut self.0 {
            if released.get(module).is_none_or(|released| *released < leaving.since) {
                continue;
            }
            let key = own(module, block_of(*shard));
            let Some(row) = owns.get(&key).filter(|row| leaving.told != Some(row.changed)) else { continue };
            let Some(owner) = leaving.own.releasing_to.clone() else { continue };
            leaving.told = Some(row.changed);
            let next = Own { owner, epoch: leaving.own.epoch + 1, releasing_to: None };
            free.entry(key).or_insert_with(|| (row.changed, (*row.value).clone())).1.set(*shard, next);
        }
        let write = |(key, (changed, next)): (String, (Revision, Owns))| {
            (Condition::ChangedAt(key.clone(), changed), Op::put(key, text(&next)))
        };
        free.into_iter().map(write).collect()
    }
}

/// Who owns what, as it was read.
struct Owners {
    followed: Followed,
    /// All of it, when this was the lease of the node already.
    read_under: Option<LeaseId>,
}

/// Keeps the plan up with the store; for as long as it is awaited. `heard` is set once the leader has said what this node is
/// to run.
pub(crate) async fn watch(shared: Arc<Shared>, plans: watch::Sender<Arc<Plan>>, heard: watch::Sender<bool>) {
    let runtime = tokio::runtime::Handle::current();
    let own_assign = of_life(ASSIGN, shared.node.incarnation);
    let on = |prefix: &str| follow(&runtime, shared.store.clone(), prefix, shared.pace);
    let followed = [on(NODE), on(&own_assign), on(ROUTE), on(OWN)];
    for followed in &followed {
        followed.at(Revision::default()).await;
    }
    let mut seen = followed.each_ref().map(Followed::views);
    let [nodes, assigns, routes, owns] = followed;
    shared.gauges.looks_at([&nodes, &assigns, &routes].map(Followed::freshness));
    let mut owns = Owners { followed: owns, read_under: None };
    let mut leases = shared.present.subscribe();
    let mut released = shared.standing().released.subscribe();
    let mut sight = Sight { generation: generation(&shared).await, ..Sight::default() };
    let mut releasing = Releasing::default();
    let mut version = 0;
    let mut told_of = None;
    loop {
        let lease = *leases.borrow_and_update();
        if lease.is_some() && owns.read_under != lease {
            // Who owned what may have changed while its record was gone, and nobody has asked it. From now on nobody takes
            // a shard from it as long as the record is there.
            owns = Owners { followed: on(OWN), read_under: lease };
            owns.followed.at(Revision::default()).await;
            seen[3] = owns.followed.views();
        }
        let owners_changed = sight.follow(&mut seen);
        let plan = Plan { version, ..sight.plan(Some(&shared.node), &shared.modules) };
        if version == 0 || *plans.borrow().as_ref() != plan {
            version += 1;
            if let Some(assign) = sight.assigned(&shared.node) {
                let chances =
                    assign.modules.iter().map(|(module, assigned)| (module.clone(), assigned.chance));
                shared.standing().chances = chances.collect();
            }
            plans.send_replace(Arc::new(Plan { version, ..plan }));
        }
        if owners_changed {
            releasing.follow(&sight.owns, &shared.node, version);
        }
        if let Some(lease) = owns.read_under.filter(|_| told_of != owns.read_under) {
            told_of = Some(lease);
            shared.has_read(lease, version);
        }
        let is_there = sight.assigned(&shared.node).is_some();
        heard.send_if_modified(|heard| is_there && !std::mem::replace(heard, true));
        let free = releasing.free(&sight.owns, &released.borrow_and_update());
        for free in free.chunks(BLOCKS_AT_ONCE) {
            runtime.spawn(hand_over(shared.clone(), free.to_vec()));
        }
        tokio::select! {
            () = any_changed(&mut seen) => {}
            _ = leases.changed() => {}
            _ = released.changed() => {}
        }
    }
}

/// When the store began, which the first who asks says.
async fn generation(shared: &Shared) -> u64 {
    let mut failures = 0;
    loop {
        match known_generation(shared).await {
            Ok(Some(generation)) => return generation,
            // Somebody else was first.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("when the store began is not known yet: {error}");
                shared.pause(failures).await;
                failures += 1;
            }
        }
    }
}

async fn known_generation(shared: &Shared) -> Result<Option<u64>, StoreError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let begun = now.as_millis() as u64;
    let key = GENERATION.to_owned();
    let txn = Txn::when([Condition::Absent(key.clone())], [Op::put(key.clone(), text(&begun))]);
    let committed = shared.store.commit(txn.otherwise([Op::Get(key)])).await?;
    if committed.met {
        return Ok(Some(begun));
    }
    let known = committed.got.into_iter().flatten().next();
    Ok(known.and_then(|entry| serde_json::from_str(&entry.value).ok()))
}

/// Writes the next owners of shards that are free. One that has been changed meanwhile is looked at anew, and keeps no other
/// one up.
async fn hand_over(shared: Arc<Shared>, free: Vec<(Condition, Op)>) {
    let (when, then): (Vec<_>, Vec<_>) = free.iter().cloned().unzip();
    if write(&shared, Txn::when(when, then)).await || free.len() == 1 {
        return;
    }
    for (condition, op) in free {
        write(&shared, Txn::when([condition], [op])).await;
    }
}

/// Says whether all was as it has to be.
async fn write(shared: &Shared, txn: Txn) -> bool {
    let mut failures = 0;
    loop {
        match shared.store.commit(txn.clone()).await {
            Ok(committed) => return committed.met,
            // What cannot be written, the leader writes once the lease of this node has ended.
            Err(error) => {
                tracing::warn!("shards that are free could not be handed over: {error}");
                shared.pause(failures).await;
                failures += 1;
            }
        }
    }
}
