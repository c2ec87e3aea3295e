//! Cuts, and packets that are lost.

use std::net::UdpSocket;
use std::time::Duration;

use skybox_hosts::{Host, Hosts};

use crate::talk::{connect, hear, listen, reaches, say, say_in_vain};

#[test]
fn hosts_reach_each_other_and_nothing_else() {
    let Some(hosts) = Hosts::for_test(3) else { return };
    for from in &hosts {
        for to in hosts.iter().filter(|to| to.index() != from.index()) {
            let (mut near, mut far) = connect(from, to);
            say(&mut near, &mut far, "to");
            say(&mut far, &mut near, "fro");
            assert_eq!(far.peer_addr().unwrap().ip(), from.address());
        }
        let routes = from.command("ip").args(["route", "show", "default"]).output().unwrap();
        assert!(routes.status.success() && routes.stdout.is_empty(), "it leads out: {routes:?}");
        let name = from.command("hostname").output().unwrap();
        assert_eq!(String::from_utf8(name.stdout).unwrap().trim(), from.name());
    }
}

#[test]
fn the_machine_reaches_all_of_them_and_is_reached() {
    let Some(hosts) = Hosts::for_test(2) else { return };
    hosts.cut(0).unwrap();
    hosts.drop_at_random(1, 100).unwrap();
    hosts.delay(1, Duration::from_millis(500)).unwrap();
    for host in &hosts {
        let (listener, address) = listen(host);
        std::net::TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), hosts.machine());
    }
    let here = std::net::TcpListener::bind((hosts.machine(), 0)).unwrap();
    assert!(reaches(hosts.host(0), here.local_addr().unwrap()));
}

#[test]
fn a_host_that_is_cut_off_hears_nothing_until_it_is_healed() {
    let Some(hosts) = Hosts::for_test(3) else { return };
    let (one, other, third) = (hosts.host(0), hosts.host(1), hosts.host(2));
    let (mut near, mut far) = connect(one, other);
    say(&mut near, &mut far, "before");
    let (_listener, address) = listen(other);
    let (_out, from_outside) = listen(one);
    hosts.cut(1).unwrap();
    say_in_vain(&mut near, &mut far, "while it is cut off");
    say_in_vain(&mut far, &mut near, "the other way");
    assert!(!reaches(one, address) && !reaches(third, address) && !reaches(other, from_outside));
    assert!(reaches(third, from_outside), "the others still reach each other");
    hosts.heal(1).unwrap();
    assert_eq!(hear(&mut far, 19), "while it is cut off");
    assert_eq!(hear(&mut near, 13), "the other way");
    assert!(reaches(one, address) && reaches(other, from_outside));
}

#[test]
fn a_cut_between_two_leaves_both_to_the_others() {
    let Some(hosts) = Hosts::for_test(3) else { return };
    let listening: Vec<_> = hosts.iter().map(listen).collect();
    let reached = |from: usize, to: usize| reaches(hosts.host(from), listening[to].1);
    hosts.cut_between(2, 0).unwrap();
    assert!(!reached(0, 2) && !reached(2, 0));
    assert!(reached(0, 1) && reached(1, 0) && reached(2, 1) && reached(1, 2));
    hosts.cut(1).unwrap();
    hosts.heal_between(0, 2).unwrap();
    assert!(reached(0, 2) && !reached(0, 1));
    hosts.cut_between(0, 2).unwrap();
    hosts.heal(1).unwrap();
    assert!(reached(0, 1) && !reached(0, 2));
    hosts.heal(2).unwrap();
    assert!(reached(0, 2));
}

/// How many of a hundred datagrams arrive.
fn arriving(from: &Host, to: &Host) -> usize {
    let socket = |host: &Host| host.inside(|| UdpSocket::bind((host.address(), 0))).unwrap().unwrap();
    let (sender, receiver) = (socket(from), socket(to));
    // Nothing is under way any longer than this.
    receiver.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for number in 0..100 {
        sender.send_to(&[number], receiver.local_addr().unwrap()).unwrap();
    }
    std::iter::from_fn(|| receiver.recv(&mut [0]).ok()).count()
}

#[test]
fn so_many_packets_are_lost() {
    let Some(hosts) = Hosts::for_test(3) else { return };
    let (one, other, third) = (hosts.host(0), hosts.host(1), hosts.host(2));
    assert_eq!(arriving(one, other), 100);
    hosts.drop_at_random(1, 50).unwrap();
    for (from, to) in [(one, other), (other, one)] {
        let arriving = arriving(from, to);
        // Outside of this by chance once in 10^10 times.
        assert!((18..=82).contains(&arriving), "{arriving} of a hundred arrived, and a half should");
    }
    assert_eq!(arriving(one, third), 100);
    // TCP sends again what is lost, and nobody else notices.
    hosts.drop_at_random(1, 10).unwrap();
    let (mut near, mut far) = connect(one, other);
    for _ in 0..20 {
        say(&mut near, &mut far, "again and again");
    }
    hosts.drop_at_random(1, 0).unwrap();
    assert_eq!(arriving(one, other), 100);
}

#[test]
fn what_cannot_be_is_refused() {
    let Some(hosts) = Hosts::for_test(2) else { return };
    let refused = |result: anyhow::Result<()>| result.unwrap_err().to_string();
    assert_eq!(refused(hosts.cut(2)), "there is no host 2: they are 0 to 1");
    assert_eq!(refused(hosts.drop_at_random(0, 101)), "101 of a hundred packets cannot be lost");
    assert_eq!(refused(hosts.delay(0, Duration::from_secs(2))), "a delay is at most 900ms, not 2s");
    assert_eq!(refused(hosts.cut_between(1, 1)), "a host is not cut off from itself");
    assert!(Hosts::make(0).is_err() && Hosts::make(101).is_err());
}
