//! Some hosts and the network between them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::faults::Faults;
use crate::host::Host;
use crate::namespace::Namespace;
use crate::relay::{Relay, mac};
use crate::run::{ip, ip_in, nft_in};
use crate::slot::Slot;

/// As many as there are addresses for: 10.213.N.100 to 10.213.N.199.
const HOSTS_MAX: usize = 100;

/// The last byte of host 0's address.
const FIRST_ADDRESS: usize = 100;

/// The last byte of the address of the machine.
const MACHINE: u8 = 1;

/// The longest delay of a link: above it, the kernel would take an address for dead before it is resolved.
const DELAY_MAX: Duration = Duration::from_millis(900);

/// Hosts, numbered from 0, that reach each other until something is done about it. They are gone when this is dropped,
/// with every process in them.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    switch: Option<Namespace>,
    faults: Mutex<Faults>,
    delays: Mutex<Delays>,
    /// Dropped last: then the network belongs to nobody.
    slot: Slot,
}

/// How far hosts are apart.
#[derive(Debug, Default)]
struct Delays {
    link: BTreeMap<usize, Duration>,
    /// By pairs, the lower one first.
    between: BTreeMap<(usize, usize), Duration>,
    /// One for each host whose link is or was delayed.
    relays: BTreeMap<usize, Relay>,
}

impl Hosts {
    /// Makes that many, from 1 to 100. What killed runs have left is removed first.
    ///
    /// # Errors
    ///
    /// Without root, or when a program is missing; the message says what to do.
    pub fn make(count: usize) -> Result<Hosts> {
        Hosts::of(count, None)
    }

    /// As [`make`](Self::make), in the network 10.213.`network`.0/24: its addresses and names are known beforehand.
    /// From 200 on, a network is used by nobody who does not name it.
    ///
    /// # Errors
    ///
    /// As [`make`](Self::make), and when the network is in use.
    pub fn on_network(network: u8, count: usize) -> Result<Hosts> {
        Hosts::of(count, Some(network))
    }

    /// For a test: none, and a line that says so, if this user may not make any. In CI (where the variable `CI` is set)
    /// there is no such way out.
    ///
    /// # Panics
    ///
    /// If they cannot be made.
    pub fn for_test(count: usize) -> Option<Hosts> {
        if !rustix::process::geteuid().is_root() && std::env::var_os("CI").is_none() {
            eprintln!(
                "SKIPPED: test hosts take root (`sudo -E cargo nextest run`); in CI this test would fail"
            );
            return None;
        }
        match Hosts::make(count) {
            Ok(hosts) => Some(hosts),
            Err(error) => panic!("there are no test hosts: {error:#}"),
        }
    }

    fn of(count: usize, network: Option<u8>) -> Result<Hosts> {
        ensure!((1..=HOSTS_MAX).contains(&count), "1 to {HOSTS_MAX} hosts can be made, not {count}");
        if !rustix::process::geteuid().is_root() {
            bail!("test hosts are network namespaces, which take root: run this with sudo");
        }
        let slot = Slot::take(network)?;
        // From here on whatever was made is removed if a step fails.
        let mut hosts = Hosts {
            hosts: Vec::new(),
            switch: None,
            faults: Mutex::default(),
            delays: Mutex::default(),
            slot,
        };
        hosts.add_switch()?;
        for index in 0..count {
            hosts.add_host(index)?;
        }
        Ok(hosts)
    }

    fn add_switch(&mut self) -> Result<()> {
        let name = format!("{}switch", self.slot.prefix());
        let switch = Namespace::add(&name)?;
        ip_in(&switch, "link add switch type bridge mcast_snooping 0\nlink set switch up\n")?;
        let link = self.slot.machine_link();
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "machine", "netns", &name])?;
        ip(&["address", "add", &format!("{}/24", self.machine()), "dev", &link])?;
        ip(&["link", "set", &link, "up"])?;
        ip_in(&switch, "link set machine master switch\nlink set machine up\n")?;
        self.switch = Some(switch);
        Ok(())
    }

    fn add_host(&mut self, index: usize) -> Result<()> {
        let namespace = Namespace::add(&format!("{}{index}", self.slot.prefix()))?;
        let last = u8::try_from(FIRST_ADDRESS + index).context("its number fits")?;
        let address = self.slot.address(last);
        let mac = mac(self.slot.number(), index).map(|byte| format!("{byte:02x}")).join(":");
        let name = namespace.name();
        ip_in(
            self.switch()?,
            &format!(
                "link add host-{index} type veth peer name eth0 address {mac} netns {name}\n\
                 link set host-{index} master switch\nlink set host-{index} up\n"
            ),
        )?;
        ip_in(&namespace, &format!("address add {address}/24 dev eth0\nlink set lo up\nlink set eth0 up\n"))?;
        self.hosts.push(Host::new(index, address, namespace, self.slot.directory())?);
        Ok(())
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// All of them, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Host> {
        self.hosts.iter()
    }

    /// The address of the machine itself in their network: hosts reach it, and it reaches them, whatever is cut.
    pub fn machine(&self) -> Ipv4Addr {
        self.slot.address(MACHINE)
    }

    /// The number of their network, which is part of all names and addresses.
    pub fn network(&self) -> u8 {
        self.slot.number()
    }

    /// Cuts a host off from all others, in both directions. Nobody is told: connections stay open and go on once it is
    /// healed, unless they have given up; new ones wait.
    ///
    /// # Errors
    ///
    /// If there is no such host, or nftables refuses.
    pub fn cut(&self, host: usize) -> Result<()> {
        self.change(&[host], |faults| {
            faults.cut.insert(host);
        })
    }

    /// Cuts two hosts off from each other; both reach all others.
    ///
    /// # Errors
    ///
    /// As [`cut`](Self::cut).
    pub fn cut_between(&self, one: usize, other: usize) -> Result<()> {
        ensure!(one != other, "a host is not cut off from itself");
        self.change(&[one, other], |faults| {
            faults.between.insert(pair(one, other));
        })
    }

    /// Undoes every cut of a host: it reaches all others that are not cut off themselves.
    ///
    /// # Errors
    ///
    /// As [`cut`](Self::cut).
    pub fn heal(&self, host: usize) -> Result<()> {
        self.change(&[host], |faults| {
            faults.cut.remove(&host);
            faults.between.retain(|(one, other)| *one != host && *other != host);
        })
    }

    /// Undoes the cut between two hosts.
    ///
    /// # Errors
    ///
    /// As [`cut`](Self::cut).
    pub fn heal_between(&self, one: usize, other: usize) -> Result<()> {
        self.change(&[one, other], |faults| {
            faults.between.remove(&pair(one, other));
        })
    }

    /// Loses so many of a hundred packets between a host and others, in each direction; 0 ends it.
    ///
    /// # Errors
    ///
    /// As [`cut`](Self::cut), and above 100.
    pub fn drop_at_random(&self, host: usize, percent: u8) -> Result<()> {
        ensure!(percent <= 100, "{percent} of a hundred packets cannot be lost");
        self.change(&[host], |faults| {
            if percent == 0 {
                faults.drops.remove(&host);
            } else {
                faults.drops.insert(host, percent);
            }
        })
    }

    fn change(&self, concerned: &[usize], change: impl FnOnce(&mut Faults)) -> Result<()> {
        self.check(concerned)?;
        let mut faults = lock(&self.faults);
        change(&mut faults);
        nft_in(self.switch()?, &faults.rules(self.len()))
    }

    /// Delays what a host and others send each other by this much in each direction, so that their round trips take
    /// twice that longer; at most 900 ms. It may be changed at any time. What is under way keeps its delay, and nothing
    /// passes what was sent before it. The machine itself stays close.
    ///
    /// # Errors
    ///
    /// If there is no such host, the delay is too long, or the devices cannot be made.
    pub fn delay(&self, host: usize, one_way: Duration) -> Result<()> {
        self.check_delay(&[host], one_way)?;
        let mut delays = lock(&self.delays);
        delays.link.insert(host, one_way);
        self.apply(&mut delays, host)
    }

    /// Delays what two hosts send each other by this much in each direction, beside what their links are delayed by.
    ///
    /// # Errors
    ///
    /// As [`delay`](Self::delay).
    pub fn delay_between(&self, one: usize, other: usize, one_way: Duration) -> Result<()> {
        self.check_delay(&[one, other], one_way)?;
        ensure!(one != other, "a host is no distance from itself");
        let mut delays = lock(&self.delays);
        delays.between.insert(pair(one, other), one_way);
        self.apply(&mut delays, one.min(other))
    }

    /// Tells a host's relay its delays, after one of them was set; the first delay makes the relay.
    fn apply(&self, delays: &mut Delays, host: usize) -> Result<()> {
        let Delays { link, between, relays } = delays;
        let relay = match relays.entry(host) {
            Entry::Occupied(relay) => relay.into_mut(),
            Entry::Vacant(none) => {
                none.insert(Relay::insert(self.switch()?, self.slot.number(), host, self.len())?)
            }
        };
        let link = link.get(&host).copied().unwrap_or_default();
        for peer in (0..self.len()).filter(|peer| *peer != host) {
            // Kept by the relay of the lower one.
            let between = if host < peer { between.get(&(host, peer)).copied() } else { None };
            relay.delay(peer, link + between.unwrap_or_default());
        }
        Ok(())
    }

    /// How many packets were lost because a relay had too many waiting, since the hosts were made: more than 0 says
    /// that a test sends more than the delayed links can carry.
    pub fn lost_in_relays(&self) -> u64 {
        lock(&self.delays).relays.values().map(Relay::lost).sum()
    }

    fn check_delay(&self, concerned: &[usize], one_way: Duration) -> Result<()> {
        ensure!(one_way <= DELAY_MAX, "a delay is at most {DELAY_MAX:?}, not {one_way:?}");
        self.check(concerned)
    }

    pub(crate) fn check(&self, concerned: &[usize]) -> Result<()> {
        let missing = concerned.iter().find(|host| **host >= self.len());
        missing.map_or(Ok(()), |host| bail!("there is no host {host}: they are 0 to {}", self.len() - 1))
    }

    fn switch(&self) -> Result<&Namespace> {
        self.switch.as_ref().context("there is no switch")
    }
}

impl Drop for Hosts {
    /// The relays end here; everything else goes with the slot, as what dead runs have left does.
    fn drop(&mut self) {
        lock(&self.delays).relays.clear();
    }
}

impl<'h> IntoIterator for &'h Hosts {
    type Item = &'h Host;
    type IntoIter = std::slice::Iter<'h, Host>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

/// A test that panics elsewhere leaves these in order.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
