//! One resource: what is known of it, and what is to be done next.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::super::kernel::Reading;
use super::super::window::{Figure, Window};
use super::super::{Method, Probe, Unknown};
use super::{Look, Resource};

/// So many addresses of a name count. A name has more where a balancer is made of it, and then any will do.
const ADDRESSES_MAX: usize = 8;

/// After a name could not be resolved, and it has no address yet.
const RESOLVE_AGAIN: Duration = Duration::from_secs(2);

pub(super) struct Watched {
    pub(super) resource: Resource,
    /// Not mapped; none until the name is resolved.
    pub(super) addresses: Vec<SocketAddr>,
    window: Window,
    /// Why the last try gave nothing. `None` if it gave something.
    trouble: Option<Unknown>,
    naming: Naming,
    /// Whether the kernel was asked for its connections. Before that, nobody knows whether a probe is needed.
    is_looked_at: bool,
    /// The last time that a connection told something.
    kernel_at: Option<Instant>,
    is_asked: bool,
    /// When the last probe began; when the prober did, before the first.
    asked_at: Instant,
    /// How long after that the next one does, in periods: what a period is may change meanwhile.
    periods: f64,
}

/// What is going on with a resource's name.
enum Naming {
    /// There is nothing to resolve.
    Done,
    Due(Instant),
    Since(Instant),
}

impl Watched {
    /// `part` of a period passes until the first probe.
    pub(super) fn new(resource: Resource, now: Instant, part: f64) -> Watched {
        let literal = resource.endpoint.as_ref().and_then(|endpoint| {
            let address: IpAddr = endpoint.host.parse().ok()?;
            Some(SocketAddr::new(address.to_canonical(), endpoint.port))
        });
        let is_name = literal.is_none() && resource.endpoint.is_some();
        let trouble = if resource.endpoint.is_none() { Unknown::NoEndpoint } else { Unknown::NotYet };
        Watched {
            resource,
            addresses: literal.into_iter().collect(),
            window: Window::default(),
            trouble: Some(trouble),
            naming: if is_name { Naming::Due(now) } else { Naming::Done },
            is_looked_at: false,
            kernel_at: None,
            is_asked: false,
            asked_at: now,
            periods: part,
        }
    }

    pub(super) fn figure(&self) -> (String, Result<Figure, Unknown>) {
        let trouble = || self.trouble.clone().unwrap_or(Unknown::NotYet);
        (self.resource.name.clone(), self.window.figure().ok_or_else(trouble))
    }

    /// The name to be resolved, if that is due; it counts as begun.
    pub(super) fn resolving(&mut self, now: Instant) -> Option<(String, u16)> {
        let Naming::Due(due) = self.naming else { return None };
        if due > now {
            return None;
        }
        self.naming = Naming::Since(now);
        self.resource.endpoint.as_ref().map(|endpoint| (endpoint.host.clone(), endpoint.port))
    }

    /// Whether there are other addresses now. Those that there are remain while nobody tells others.
    pub(super) fn resolved(
        &mut self,
        resolved: io::Result<Vec<SocketAddr>>,
        now: Instant,
        pause: Duration,
    ) -> bool {
        self.naming = Naming::Due(now + pause);
        let why = match resolved {
            Ok(found) if !found.is_empty() => {
                let mut addresses = Vec::new();
                for address in found {
                    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                    if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                        addresses.push(address);
                    }
                }
                let is_other = addresses != self.addresses;
                self.addresses = addresses;
                self.is_looked_at &= !is_other;
                return is_other;
            }
            Ok(_) => "it has no address".to_owned(),
            Err(error) => error.to_string(),
        };
        if self.addresses.is_empty() {
            self.naming = Naming::Due(now + pause.min(RESOLVE_AGAIN));
            self.unresolved(why);
        }
        false
    }

    fn unresolved(&mut self, why: String) {
        let name = self.resource.endpoint.as_ref().map_or("", |endpoint| &endpoint.host);
        self.trouble = Some(Unknown::Unresolved { name: name.into(), why: why.into() });
    }

    /// When the next probe is due, if one is needed.
    pub(super) fn probe_due(&self, period: Duration, every: Duration) -> Option<Instant> {
        let is_possible = self.is_looked_at && !self.is_asked && !self.addresses.is_empty();
        if !is_possible || self.resource.probe == Probe::None {
            return None;
        }
        let due = self.asked_at + period.mul_f64(self.periods);
        // Not while connections tell: two looks without one are needed.
        Some(self.kernel_at.map_or(due, |told| due.max(told + every * 3)))
    }

    pub(super) fn probing(&mut self, now: Instant, periods: f64) {
        (self.is_asked, self.asked_at, self.periods) = (true, now, periods);
    }

    pub(super) fn answered(&mut self, answered: Result<(Method, Duration), Unknown>, now: Instant) {
        self.is_asked = false;
        match answered {
            Ok((method, round_trip)) => self.measured(method, round_trip, now),
            Err(error) => self.trouble = Some(error),
        }
    }

    pub(super) fn looked_at(&mut self, looked: Result<&Look, &io::Error>, now: Instant) {
        // It may have been begun before these addresses were known.
        let is_new = |address| looked.is_ok_and(|look| !look.contains_key(address));
        if self.addresses.is_empty() || self.addresses.iter().any(is_new) {
            return;
        }
        self.is_looked_at = true;
        let reading = looked.map(|look| {
            let own = self.addresses.iter().filter_map(|address| *look.get(address)?);
            own.fold(None, |all, one| Some(one.with(all)))
        });
        let trouble = match reading {
            Ok(Some(Reading { sure, smoothed, connections })) => {
                // Where nothing else is asked, the usual one is better than nothing.
                let otherwise = (self.resource.probe == Probe::None).then_some(smoothed);
                if let Some(round_trip) = sure.or(otherwise) {
                    self.kernel_at = Some(now);
                    self.measured(Method::Kernel { connections }, round_trip, now);
                }
                return;
            }
            Ok(None) => Unknown::NoConnections,
            Err(error) => Unknown::Kernel { why: error.to_string().into() },
        };
        if self.resource.probe == Probe::None {
            self.trouble = Some(trouble);
        }
    }

    fn measured(&mut self, method: Method, round_trip: Duration, now: Instant) {
        self.trouble = None;
        self.window.push(method, round_trip, now);
    }

    /// Forgets what is older than `forget`, and what a resolver may take longer than.
    pub(super) fn grows_older(&mut self, now: Instant, forget: Duration, name_wait: Duration) {
        if let Some(oldest) = now.checked_sub(forget) {
            self.window.forget_before(oldest);
        }
        if let Naming::Since(since) = self.naming
            && self.addresses.is_empty()
            && now.saturating_duration_since(since) >= name_wait
        {
            self.unresolved(format!("no answer within {name_wait:?}"));
        }
    }
}
