//! Connections that are opened and never become any: whoever holds thousands of them stops nobody.

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::certs::{Certs, settings};
use crate::hostile::{Attack, Habit, Hostile, be_hostile_if_told, until};
use crate::node::{Node, PROGRAM, play};

/// Handshakes that may be pending at a node.
const PENDING_MAX: u64 = 256;
const CLIENTS: usize = 10_000;
/// Where the nodes of a test are.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Another address of the same machine.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What a node says of handshakes.
struct Counts(String);

impl Counts {
    fn of(node: &mut Node) -> Counts {
        let counts = Counts(node.ask("handshakes"));
        assert!(counts.pending() <= PENDING_MAX, "{}", counts.0);
        counts
    }

    fn read(&self, name: &str) -> u64 {
        let line = self.0.split("; ").find_map(|line| line.strip_prefix(name)?.strip_prefix("} "));
        let count = line.unwrap_or_else(|| panic!("there is {name} in {}", self.0));
        count.parse().expect("a number")
    }

    fn pending(&self) -> u64 {
        self.read("skybox_handshakes_pending{node=\"a\"")
    }

    fn ended(&self, outcome: &str) -> u64 {
        self.read(&format!("skybox_handshakes_total{{node=\"a\",outcome=\"{outcome}\""))
    }
}

/// Thousands come to a node again and again, while a peer that it has calls it, and one that it has not yet wants to.
fn flooded(test: &str, attack: Attack) {
    be_hostile_if_told();
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (mut a, at) = Node::running(&settings(&certs.node("a"), &[]));
        let peers = format!("a={at}");
        let node =
            |name: &str| Node::running(&settings(&certs.node(name), &[("SKYBOX_NODE__PEERS", &peers)])).0;
        let (mut b, mut c) = (node("b"), node("c"));
        assert_eq!(b.ask("call"), "returned 7");
        assert_eq!(Counts::of(&mut a).ended("open"), 1);

        let mut hostile = Hostile::start(test, attack, &at);
        let clients = hostile.says();
        let clients: usize = clients.trim_end_matches(" clients").parse().expect("a number of clients");
        println!("this machine allows {clients} of {CLIENTS} connections in one process");
        assert!(clients as u64 > 2 * PENDING_MAX, "{clients} are no flood");
        assert_eq!(hostile.says(), format!("{clients} opened"));

        // The peer that is there goes on, over the connection that it has.
        assert_eq!(b.ask("thousand"), "returned 1000");
        let full = |said: &str| Counts(said.to_owned()).pending() == PENDING_MAX;
        let counts = Counts(until(|| Counts::of(&mut a).0, full));
        assert_eq!(counts.ended("open"), 1, "{}", counts.0);
        // The kernel has taken them before the node does.
        let closed = |said: &str| Counts(said.to_owned()).ended("no-room") >= clients as u64 - PENDING_MAX;
        until(|| Counts::of(&mut a).0, closed);
        // The one that is not gets in.
        let begun = Instant::now();
        until(|| c.ask("call"), |answer| answer == "returned 7");
        println!("a peer got in within {:?}; {}", begun.elapsed(), Counts::of(&mut a).0);
        assert_eq!(c.ask("thousand"), "returned 1000");
        assert_eq!(b.ask("thousand"), "returned 1000");
        println!("2000 calls later: {:?}", begun.elapsed());

        let counts = Counts(until(|| Counts::of(&mut a).0, full));
        assert_eq!(counts.ended("open"), 2, "{}", counts.0);
        let says =
            format!("{PENDING_MAX} connections are in their handshake: one from {} was closed", attack.from);
        a.logs(&["WARN", &says]);
        drop(hostile);
        until(|| Counts::of(&mut a).pending().to_string(), |pending| pending == "0");
    });
}

#[test]
fn ten_thousand_that_say_nothing() {
    let attack = Attack { habit: Habit::Silent, from: ELSEWHERE, clients: CLIENTS, again_ms: 4_000 };
    flooded("half_open::ten_thousand_that_say_nothing", attack);
}

#[test]
fn ten_thousand_that_say_hello_to_tls() {
    let attack = Attack { habit: Habit::Hello, from: ELSEWHERE, clients: CLIENTS, again_ms: 4_000 };
    flooded("half_open::ten_thousand_that_say_hello_to_tls", attack);
}

/// They have the address that the peer has, so that it may have to make room for them, and come again.
#[test]
fn ten_thousand_of_the_peers_own_address() {
    let attack = Attack { habit: Habit::Drip, from: HERE, clients: CLIENTS, again_ms: 10_000 };
    flooded("half_open::ten_thousand_of_the_peers_own_address", attack);
}

/// Where there is room, each has the time that a handshake may take, whatever it does with it, and no more.
fn late(test: &str, habit: Habit) {
    be_hostile_if_told();
    play(|| {
        let certs = Certs::of(PROGRAM);
        let (mut a, at) = Node::running(&settings(&certs.node("a"), &[]));
        let attack = Attack { habit, from: HERE, clients: 200, again_ms: 0 };
        let mut hostile = Hostile::start(test, attack, &at);
        assert_eq!([hostile.says(), hostile.says()], ["200 clients", "200 opened"]);
        // None of those that drip has come to the end of its hello.
        let done = if habit == Habit::Drip { 0 } else { 200 };
        assert_eq!(hostile.says(), format!("200 closed, {done} done"));
        until(|| Counts::of(&mut a).pending().to_string(), |pending| pending == "0");
        let counts = Counts::of(&mut a);
        assert_eq!(["late", "open", "refused", "no-room"].map(|of| counts.ended(of)), [200, 0, 0, 0]);
        a.logs(&["WARN", "a connection from 127.0.0.1:", "was refused: the peer was silent for 5s"]);
    });
}

#[test]
fn silence_has_its_time() {
    late("half_open::silence_has_its_time", Habit::Silent);
}

#[test]
fn a_hello_without_more_has_its_time() {
    late("half_open::a_hello_without_more_has_its_time", Habit::Hello);
}

#[test]
fn dripping_bytes_do_not_add_to_it() {
    late("half_open::dripping_bytes_do_not_add_to_it", Habit::Drip);
}
