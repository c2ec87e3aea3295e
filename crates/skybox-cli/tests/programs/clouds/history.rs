//! Who has changed what in a cloud, what would come of an order, and how it is taken back.

use serde_json::{Value, json};

use super::{Cloud, SHORT, TLS, module, node_in, parsed, program_name};
use crate::etcd::Etcd;
use crate::stage::{Stage, wait_for};

/// The lines of a history that are so.
fn lines(history: &Value, is_so: impl Fn(&Value) -> bool) -> Vec<Value> {
    history["history"].as_array().expect("a list").iter().filter(|line| is_so(line)).cloned().collect()
}

/// This user, as the list of users has it.
fn this_user() -> String {
    let id = std::process::Command::new("id").arg("-un").output().expect("every system has it");
    format!("user {}", String::from_utf8_lossy(&id.stdout).trim())
}

#[test]
fn what_was_ordered_is_told_foreseen_and_taken_back() {
    let (stage, etcd) = (Stage::new(), Etcd::start());
    let program = program_name("told");
    stage.config(TLS);
    stage.skybox(&["certs", "init", &program]).ok();
    for node in ["a", "b", "c"] {
        stage.skybox(&["certs", "node", node]).ok();
    }
    for (name, role) in [("eve", "read"), ("ada", "admin")] {
        stage.skybox(&["certs", "operator", name, "--role", role]).ok();
    }
    let cloud = Cloud::start(&stage, &etcd, program, SHORT, &["a", "b", "c"]);
    let here = |arguments: &[&str]| cloud.here(arguments);
    let ps = cloud.settled(&["a", "b", "c"], || here(&["ps", "--json"]));
    let address = |node: &str| node_in(&ps, node)["address"].as_str().expect("it has one").to_owned();
    let ada = |node: &str, arguments: &[&str]| cloud.at(&address(node), "certs/operator-ada", arguments);
    let eve = |node: &str, arguments: &[&str]| cloud.at(&address(node), "certs/operator-eve", arguments);

    ada("a", &["move", "pilot", "a"]).ok();
    ada("b", &["move", "pilot", "b"]).ok();
    let history = parsed(here(&["history", "--json"]));
    let moves = lines(&history, |line| line["what"] == "move");
    let said = |line: &Value| {
        ["by", "at", "of", "before", "after"].map(|key| line[key].as_str().unwrap_or_default().to_owned())
    };
    let expected =
        [["operator ada", "a", "pilot", "anywhere", "a"], ["operator ada", "b", "pilot", "a", "b"]];
    assert_eq!(moves.iter().map(said).collect::<Vec<_>>(), expected);
    let placed = lines(&history, |line| line["what"] == "placed" && line["why"] == "command");
    let placed = placed.last().expect("the leader has moved it");
    assert_eq!(
        (&placed["before"], &placed["after"], &placed["by"]),
        (&json!("a"), &json!("b"), &json!("leader"))
    );
    let number = moves[1]["number"].as_u64().expect("it has one");

    // Whoever may look may read all of it and try things out, and take nothing back.
    let text = eve("c", &["history"]).ok();
    assert!(text.contains("operator ada") && text.contains("move pilot: a → b"), "{text}");
    assert!(text.contains("berth: 1024 shards of nobody → "), "{text}");
    let denied = eve("c", &["undo"]).failed();
    assert!(denied.contains("operator eve has the right to read, and this needs admin"), "{denied}");
    let last = eve("c", &["history", "--last", "1", "--json"]).ok();
    assert_eq!(
        serde_json::from_str::<Value>(&last).expect("JSON")["history"].as_array().map(Vec::len),
        Some(1)
    );
    let text = eve("a", &["plan", "--dry-run"]).ok();
    assert_eq!(text, "nothing would move\n");
    let wanted = ["plan", "--dry-run", "--move", "pilot=c", "--move", "berth=a", "--cordon", "b", "--json"];
    let foreseen = parsed(eve("a", &wanted));
    let of = |name: &str| -> Vec<Value> {
        let moves = foreseen["moves"].as_array().expect("a list").iter();
        moves.filter(|one| one["module"] == name).cloned().collect()
    };
    let pilot = json!([{"module": "pilot", "from": "b", "to": "c", "shards": 0, "reason": "command"}]);
    assert_eq!((json!(of("pilot")), &foreseen["unplaced"]), (pilot, &json!([])), "{foreseen:#}");
    let shards: u64 = of("berth").iter().filter_map(|one| one["shards"].as_u64()).sum();
    assert!(of("berth").iter().all(|one| one["to"] == "a") && shards > 500, "{foreseen:#}");
    // Where it is pinned, there is one on each of these nodes.
    let more = parsed(here(&["plan", "--dry-run", "--scale", "pilot=7", "--move", "pilot=a,b,c", "--json"]));
    let to: Vec<_> = more["moves"].as_array().expect("a list").iter().map(|one| &one["to"]).collect();
    assert_eq!(to, ["a", "c"], "{more:#}");
    for (wanted, why) in [
        (["--move", "pilot=z"], "there is no node `z`; there are a, b, c"),
        (["--scale", "berth=2"], "`berth` is keyed"),
    ] {
        let wrong = here(&[&["plan", "--dry-run"][..], &wanted].concat()).failed();
        assert!(wrong.contains(why), "{wrong}");
    }
    let ps = parsed(here(&["ps", "--json"]));
    assert_eq!(module(&ps, "pilot")["serving"], json!(["b"]), "nothing has moved");

    // Over its socket the kernel says which user of the machine it is.
    let undone = here(&["undo"]).ok();
    assert_eq!(undone, format!("{number} is taken back: pilot: b → a\n"));
    wait_for("pilot on a", || {
        let ps = parsed(here(&["ps", "--json"]));
        if module(&ps, "pilot")["serving"] == json!(["a"]) { Ok(()) } else { Err(ps) }
    });
    let refused = here(&["undo", &number.to_string()]).failed();
    assert!(refused.contains(&format!("{number} has been taken back already, by ")), "{refused}");
    let history = parsed(here(&["history", "--json"]));
    let undo = lines(&history, |line| line["what"] == "undo");
    assert_eq!((undo.len(), &undo[0]["undoes"], &undo[0]["by"]), (1, &json!(number), &json!(this_user())));
    let first = moves[0]["number"].as_u64().expect("it has one");
    ada("c", &["scale", "pilot", "2"]).ok();
    let undone = parsed(ada("a", &["undo", &first.to_string(), "--json"]));
    assert_eq!(
        (&undone["undoes"], &undone["after"], &undone["by"]),
        (&json!(first), &json!("anywhere"), &json!("operator ada"))
    );

    // A node that is killed is lost when its lease has ended.
    cloud.nodes["c"].signal(rustix::process::Signal::KILL);
    wait_for("that c is lost", || {
        let history = parsed(here(&["history", "--json"]));
        let lost = lines(&history, |line| line["what"] == "lost" && line["of"] == "c");
        if lost.len() == 1 { Ok(lost) } else { Err(history) }
    });
    let text = here(&["history"]).ok();
    assert!(text.contains("c is lost: its lease has ended") && text.contains("(repair)"), "{text}");
}
