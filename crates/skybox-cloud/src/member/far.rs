//! How far away resources are from this host, measured by one node of it, and written when it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skybox_node::config::ResourceConfig;
use skybox_node::control::ModuleDecl;

use super::Shared;
use crate::near::{Pace, Prober, Resource};
use crate::records::{FAR, Far, NODE, Node, RoundTrip, Table, of_life, text};
use crate::store::{LeaseId, Op, Revision, Txn, follow};

/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_secs(1);
/// A round trip has changed if it is so many hundredths longer or shorter than what was written,
const CHANGED_PERCENT: u64 = 20;
/// and by so much.
const CHANGED_MIN_US: u64 = 100;

/// The resources that modules want to be near to. What is no resource is a module, or a mistake.
pub(super) fn wanted(modules: &[ModuleDecl], resources: &BTreeMap<String, ResourceConfig>) -> Vec<Resource> {
    let named: BTreeSet<_> = modules.iter().filter_map(|module| module.needs.near.as_ref()).collect();
    let mut wanted = Vec::new();
    for name in named {
        match resources.get(name) {
            Some(config) => wanted.push(Resource::of(name, config)),
            None if modules.iter().any(|module| module.name == *name) => {}
            None => {
                tracing::warn!("`near = \"{name}\"`: there is neither a resource nor a module of that name")
            }
        }
    }
    wanted
}

/// Measures, and writes what has changed; for as long as it is awaited.
pub(super) async fn measure(shared: Arc<Shared>, resources: Vec<Resource>) {
    if resources.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Handle::current();
    let nodes = follow(&runtime, shared.store.clone(), NODE, shared.pace);
    nodes.at(Revision::default()).await;
    let mut table = Table::<Node>::default();
    let mut prober: Option<Prober> = None;
    let mut written: Option<(LeaseId, Far)> = None;
    loop {
        table.follow(&nodes.views().borrow().clone());
        let lives = || table.iter().map(|(_, row)| &row.value);
        let own = lives().filter(|node| node.host == shared.node.host).map(|node| node.incarnation).min();
        let hosts: BTreeSet<_> = lives().map(|node| node.host.as_str()).collect();
        let hosts = u32::try_from(hosts.len().max(1)).unwrap_or(u32::MAX);
        if own.is_some_and(|first| first < shared.node.incarnation) {
            // Another node of this host does it. What this one has written goes with its lease, or is as good.
            prober = None;
        } else if let Some(prober) = &prober {
            prober.set_hosts(hosts);
            let far = as_changed(written.as_ref().map(|(_, far)| far), figures(&shared, prober));
            let lease = *shared.lease.borrow();
            if let Some(lease) = lease.filter(|lease| written != Some((*lease, far.clone()))) {
                let put = Op::put_on(lease, of_life(FAR, shared.node.incarnation), text(&far));
                match shared.store.commit(Txn::of([put])).await {
                    Ok(_) => written = Some((lease, far)),
                    Err(error) => tracing::debug!("how far away resources are could not be said: {error}"),
                }
            }
        } else {
            match Prober::start(&runtime, resources.clone(), hosts, Pace::new(shared.pace.jitter)) {
                Ok(started) => prober = Some(started),
                Err(error) => {
                    tracing::error!("{error}: none of them is measured");
                    return;
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn figures(shared: &Shared, prober: &Prober) -> Far {
    let known = prober.all().into_iter().filter_map(|(name, measured)| {
        let measured = measured.ok()?;
        let round_trip_us = u64::try_from(measured.round_trip.as_micros()).unwrap_or(u64::MAX);
        Some((name, RoundTrip { round_trip_us, method: measured.method.to_string() }))
    });
    Far { host: shared.node.host.clone(), round_trips: known.collect() }
}

/// What is written next: where a figure is about what it was, that stays.
fn as_changed(before: Option<&Far>, mut now: Far) -> Far {
    for (resource, figure) in &mut now.round_trips {
        let Some(old) = before.and_then(|before| before.round_trips.get(resource)) else { continue };
        let by = old.round_trip_us.abs_diff(figure.round_trip_us);
        if by < CHANGED_MIN_US || by * 100 < old.round_trip_us * CHANGED_PERCENT {
            figure.clone_from(old);
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_as_it_was_is_not_written_again() {
        let far = |us: u64| {
            let figure = RoundTrip { round_trip_us: us, method: "tcp".to_owned() };
            Far { host: "h".to_owned(), round_trips: BTreeMap::from([("db".to_owned(), figure)]) }
        };
        for (before, now, written) in
            [(200, 250, 200), (200, 320, 320), (10_000, 11_500, 10_000), (10_000, 400, 400)]
        {
            assert_eq!(as_changed(Some(&far(before)), far(now)), far(written), "{before} {now}");
        }
        assert_eq!(as_changed(None, far(7)), far(7));
        assert!(
            as_changed(Some(&far(7)), Far::default()).round_trips.is_empty(),
            "what is unknown is not kept"
        );
    }
}
