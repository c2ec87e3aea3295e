//! What people are told when something is wrong.

use std::net::TcpListener;

use crate::stage::{Ended, Program, Stage};

/// Waits for the end of a program that does not start.
#[track_caller]
fn fails(stage: &Stage, program: &Program<'_>) -> Ended {
    let code = program.end().code();
    let ended = Ended { code, out: program.out(), err: program.err() };
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(stage.processes(), Vec::<i32>::new(), "{ended:?}");
    assert_eq!(stage.left_behind(), Vec::<std::path::PathBuf>::new(), "{ended:?}");
    ended
}

#[test]
fn a_failing_migration_is_the_start_error_everywhere() {
    let stage = Stage::new();
    let cause = "SKY-206: `once(\"migrate\")` failed: no migration leads to version 9; the newest is 2";
    let program = stage.run(&["--nodes", "3", "--", "--store-version", "9"]);
    let ended = fails(&stage, &program);
    assert_eq!(ended.err.matches(cause).count(), 3, "each node says so once: {ended:?}");
    assert!(ended.err.contains("the program does not start"), "{ended:?}");
    assert!(ended.err.contains("SKY-301"), "{ended:?}");
    assert!(!ended.err.contains("listens on"), "{ended:?}");
    let alone = stage.alone(&["--store-version", "9"]);
    assert!(fails(&stage, &alone).err.contains(cause));
    assert!(stage.store().is_empty());
}

#[test]
fn a_wrong_key_is_named_with_its_line() {
    let stage = Stage::new();
    // The parent reads it before it starts anything.
    stage.config("[listeners.http]\naddress = \"127.0.0.1:0\"\nnode = 2\n");
    let ended = fails(&stage, &stage.run(&["--nodes", "2"]));
    let cause = "skybox.toml:3: there is no key `node`; the keys are address, nodes";
    assert!(ended.err.contains(&format!("SKY-201: the configuration is wrong: {cause}")), "{ended:?}");
    // What a module knows, only the program can judge.
    stage.config("[modules.catalog]\nreplicas = 1\nreplica = 2\n");
    let ended = fails(&stage, &stage.run(&["--nodes", "2"]));
    assert!(ended.err.contains("skybox.toml:3: `[modules.catalog]`"), "{ended:?}");
    assert!(ended.err.contains("replica"), "{ended:?}");
    stage.config("\n[modules.catalogue]\nreplicas = 1\n");
    let ended = fails(&stage, &stage.run(&["--nodes", "2"]));
    let message =
        "skybox.toml:3: there is no module `catalogue` in this program; it has cart, catalog, warehouse";
    assert!(ended.err.contains(message), "{ended:?}");
    stage.write("other.toml", "[listener.http]\n");
    let ended = fails(&stage, &stage.run(&["--config", "other.toml"]));
    assert!(ended.err.contains("other.toml:1: there is no key `listener`"), "{ended:?}");
}

#[test]
fn a_port_in_use_is_the_cause() {
    let stage = Stage::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    stage.config(&format!("[listeners.http]\naddress = \"{address}\"\n"));
    let message = format!("cannot listen on {address} for `http`");
    for program in [stage.run(&["--nodes", "3"]), stage.alone(&[])] {
        let ended = fails(&stage, &program);
        for part in ["SKY-208", message.as_str(), "[listeners.http] address", "Address already in use"] {
            assert!(ended.err.contains(part), "{part}: {ended:?}");
        }
        assert!(!ended.err.contains("join its program"), "{ended:?}");
    }
}

#[test]
fn what_does_not_exist_is_said_with_what_does() {
    let stage = Stage::new();
    let nodes = stage.run(&["--nodes", "2", "--place", "catalog=node-3"]);
    assert!(
        fails(&stage, &nodes)
            .err
            .contains("there is no node `node-3`: with --nodes 2 there are node-1 to node-2")
    );
    let module = stage.run(&["--nodes", "2", "--inline", "katalog"]);
    let ended = fails(&stage, &module);
    let message = "there is no module `katalog` to place; shop has cart, catalog, warehouse, with_postage";
    assert!(ended.err.contains(message), "{ended:?}");
    let file = stage.skybox(&["run", "--program", "no-such-file"]).failed();
    assert!(file.contains("no-such-file cannot be found"), "{file}");
    let config = stage.skybox(&["run", "--config", "no.toml"]).failed();
    assert!(config.contains("no.toml"), "{config}");
}

#[test]
fn orders_that_cannot_be_done_are_refused() {
    let stage = Stage::new();
    let program = stage.run(&["--nodes", "2"]);
    program.ready(2);
    let refused = [
        (&["move", "katalog", "node-1"][..], "there is no module `katalog`; there are cart, catalog"),
        (&["move", "catalog", "node-9"], "there is no node `node-9`; there are node-1, node-2"),
        (&["kill", "node-9"], "node-9"),
        (&["drain", "node-9"], "there is no node `node-9`; there are node-1, node-2"),
        (&["call", "catalog.got"], "`catalog` has no method `got`; it has get (SKY-108, it did not run)"),
        (&["call", "nobody"], "there is no module `nobody`; there are cart"),
        (&["call", "cart.add", "{}"], "`cart` is keyed: say which with --key"),
        (&["call", "catalog.get", "{id: 1}"], "the arguments are not JSON"),
        (&["call", "catalog.get", "--from", "node-9"], "there is no node `node-9`; there are node-1, node-2"),
    ];
    for (arguments, message) in refused {
        let error = program.skybox(arguments).failed();
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    program.skybox(&["drain", "node-1"]).ok();
    let last = program.skybox(&["drain", "node-2"]).failed();
    assert!(last.contains("node-2 is the only node"), "{last}");
}
