//! A database that other hosts use.

use skybox_hosts::{Hosts, Postgres};

#[test]
fn it_answers_other_hosts_and_keeps_what_was_committed() {
    let Some(hosts) = Hosts::for_test(2) else { return };
    let mut postgres = Postgres::start(&hosts, 1).unwrap();
    let query = |postgres: &Postgres, text: &str| {
        let mut psql = hosts.host(0).command("psql");
        let output = psql.args([&postgres.url(), "-qtAc", text]).output().unwrap();
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(query(&postgres, "select inet_server_addr()"), hosts.host(1).address().to_string());
    assert_eq!(query(&postgres, "select inet_client_addr()"), hosts.host(0).address().to_string());
    query(&postgres, "create table kept as select 7 as number");
    let first = postgres.pid().unwrap();
    postgres.kill().unwrap();
    postgres.start_again().unwrap();
    assert_ne!(postgres.pid().unwrap(), first);
    assert_eq!(query(&postgres, "select number from kept"), "7");
    postgres.stop().unwrap();
    assert!(postgres.pid().is_err());
    postgres.start_again().unwrap();
    assert_eq!(query(&postgres, "select number from kept"), "7");
}
