//! A range of instances on one machine, where the parent plans: it follows what there is to do.

use serde_json::Value;

use crate::restarts::calling;
use crate::stage::{Program, Stage, press, skybox, wait_for};

/// Two calls on one gate are all that it can do and as much again.
const CONFIG: &str = r#"
[modules.gate]
replicas = "1..=3"
concurrency = 1

[plan]
min-stay = "1s"
settle = "2s"
shrink-after = "3s"
"#;

fn serve(program: &Program<'_>, count: usize) {
    wait_for(&format!("{count} gates"), || {
        let ended = program.skybox(&["ps", "--json"]);
        let ps = serde_json::from_str::<Value>(&ended.out).unwrap_or_default();
        let gate = ps["modules"].as_array().into_iter().flatten().find(|module| module["module"] == "gate");
        let on = |key: &str| gate.and_then(|gate| gate[key].as_array()).map(Vec::<Value>::len);
        if (on("serving"), on("assigned")) == (Some(count), Some(count)) { Ok(()) } else { Err(ended) }
    });
}

#[test]
fn a_range_grows_and_shrinks_under_a_parent() {
    let stage = Stage::new();
    stage.config(CONFIG);
    stage.write("paper", "");
    let mut command = stage.command(skybox());
    let program = Program::start(&stage, command.args(["run", "--nodes", "3", "--program"]).arg(press()));
    serve(&program, 1);
    let calls: Vec<_> = (0..2).map(|_| calling(&stage, &program, &["gate.pass"])).collect();
    serve(&program, 3);
    for call in &calls {
        assert_eq!((call.out(), call.err()), Default::default(), "it goes on");
    }
    // With the processes that have made them, the calls are over.
    drop(calls);
    serve(&program, 1);
}
