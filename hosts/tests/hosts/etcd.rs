//! An etcd that loses members.

use std::process::Output;
use std::time::Instant;

use skybox_hosts::{EtcdCluster, Host, Hosts};

use crate::talk::LONG;

/// What `etcdctl` in a host says to this; it is tried again while a member is being replaced.
fn etcdctl(host: &Host, etcd: &EtcdCluster, words: &[&str]) -> String {
    let until = Instant::now() + LONG;
    loop {
        let mut command = host.command("etcdctl");
        let endpoints = etcd.urls().join(",");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoints, "--dial-timeout", "1s"]).args(words);
        let output: Output = command.output().unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
        assert!(Instant::now() < until, "etcdctl {words:?}: {output:?}");
    }
}

#[test]
fn it_goes_on_without_any_one_member() {
    let Some(hosts) = Hosts::for_test(4) else { return };
    let etcd = EtcdCluster::start(&hosts, [0, 1, 2]).unwrap();
    let network = hosts.network();
    assert_eq!(
        etcd.endpoints(),
        format!("etcd://10.213.{network}.100:2379,10.213.{network}.101:2379,10.213.{network}.102:2379")
    );
    let client = hosts.host(3);
    let written = |value: &str| {
        assert_eq!(etcdctl(client, &etcd, &["put", "key", value]), "OK\n");
        assert_eq!(etcdctl(client, &etcd, &["get", "key", "--print-value-only"]).trim(), value);
    };
    let leader = etcd.wait_for_leader().unwrap();
    written("all");
    let follower = (0..3).find(|member| *member != leader).unwrap();
    etcd.kill(follower).unwrap();
    assert!(etcd.pid(follower).is_err());
    assert_eq!(etcd.wait_for_leader().unwrap(), leader, "nobody asks for an election");
    written("one follower less");
    etcd.start_again(follower).unwrap();
    etcd.wait_until_serving(follower).unwrap();
    etcd.kill(leader).unwrap();
    let next = etcd.wait_for_other_leader(Some(leader)).unwrap();
    written("the leader less");
    etcd.start_again(leader).unwrap();
    etcd.wait_until_serving(leader).unwrap();
    etcd.stop(next).unwrap();
    etcd.wait_for_other_leader(Some(next)).unwrap();
    written("the next one less");
}

#[test]
fn it_finds_another_leader_when_one_is_held_or_cut_off() {
    let Some(hosts) = Hosts::for_test(4) else { return };
    let etcd = EtcdCluster::start(&hosts, [1, 2, 3]).unwrap();
    let held = etcd.wait_for_leader().unwrap();
    etcd.pause(held).unwrap();
    etcd.wait_for_other_leader(Some(held)).unwrap();
    etcd.resume(held).unwrap();
    etcd.wait_until_serving(held).unwrap();
    let cut = etcd.wait_for_leader().unwrap();
    hosts.cut(cut).unwrap();
    let next = etcd.wait_for_other_leader(Some(cut)).unwrap();
    assert!(next != cut && etcd.hosts().any(|host| host == next));
    hosts.heal(cut).unwrap();
    etcd.wait_until_serving(cut).unwrap();
}

#[test]
fn a_member_that_cannot_start_says_why() {
    let Some(hosts) = Hosts::for_test(1) else { return };
    // Somebody else has its port.
    let taken = hosts.host(0).inside(|| std::net::TcpListener::bind((hosts.host(0).address(), 2379)));
    let _taken = taken.unwrap().unwrap();
    let error = format!("{:#}", EtcdCluster::start(&hosts, [0]).unwrap_err());
    assert!(
        error.contains("etcd of host-0 ended by itself") && error.contains("address already in use"),
        "{error}"
    );
}
