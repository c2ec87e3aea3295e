//! Who has changed what, what would come of an order, and how it is taken back.

use std::collections::{BTreeMap, BTreeSet};

use skybox_cloud::history::{LINES_MAX, Line, What};
use skybox_cloud::parent::{Done, Order, Outlook, Reason};
use skybox_cloud::records::{HISTORY, NODE};
use skybox_cloud::store::{Op, Revision, Store, Txn};
use skybox_core::{ModuleKind, NodeName, Replicas};

use crate::order;
use crate::stage::{self, Node, Stage, module, serving};

fn shop() -> Stage {
    Stage::new([
        module("catalog", ModuleKind::Replicated, Replicas::fixed(1)),
        module("search", ModuleKind::Replicated, Replicas::fixed(1)),
        module("carts", ModuleKind::Keyed, Replicas::fixed(1)),
    ])
}

async fn history(node: &Node) -> Vec<Line> {
    match order(node, Order::History {}).await {
        Done::Told(lines) => lines,
        other => panic!("it was asked for the history: {other:?}"),
    }
}

/// Waits until there is such a line.
async fn told(node: &Node, what: &str, is_it: impl Fn(&Line) -> bool) -> Line {
    let so = async {
        loop {
            if let Some(line) = history(node).await.into_iter().find(&is_it) {
                return line;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(stage::PATIENCE, so).await {
        Ok(line) => line,
        Err(_) => panic!("no line of {what}: {:#?}", history(node).await),
    }
}

async fn undo(node: &Node, number: Option<u64>) -> Result<Line, String> {
    match order(node, Order::Undo { number }).await {
        Done::Undone(line) => Ok(*line),
        Done::Refused(why) => Err(why),
        other => panic!("it was asked to undo: {other:?}"),
    }
}

fn scale(replicas: &str) -> Order {
    Order::Scale { module: "search".into(), replicas: replicas.into() }
}

fn to(module: &str, nodes: &[&Node]) -> Order {
    Order::Move { module: module.into(), nodes: nodes.iter().map(|node| node.name.clone()).collect() }
}

async fn is_done(node: &Node, wanted: Order) {
    let done = order(node, wanted.clone()).await;
    assert!(matches!(done, Done::Ok), "{wanted:?}: {done:?}");
}

/// When what is at these keys was put.
async fn changed(stage: &Stage, prefix: &str) -> BTreeMap<String, Revision> {
    let listed = stage.store.list(prefix).await.expect("it is there");
    listed.entries.into_iter().map(|entry| (entry.key, entry.changed)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_order_and_what_the_leader_does_is_told_with_the_change() {
    let stage = shop().calm();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    a.sees_owners("carts", &["a", "b"]).await;
    is_done(&a, to("catalog", &[&b])).await;
    is_done(&b, scale("2")).await;
    is_done(&a, Order::Cordon { node: b.name.clone(), on: true }).await;
    is_done(&a, Order::Freeze { on: true }).await;
    is_done(&a, Order::Freeze { on: false }).await;
    is_done(&a, Order::TryAgain { module: "search".into() }).await;
    is_done(&a, Order::GoOn).await;
    let lines = history(&b).await;
    let people = lines.iter().filter(|line| line.by == "user ada");
    let said: Vec<_> =
        people.map(|line| (line.what, &*line.at, &*line.of, &*line.before, &*line.after)).collect();
    assert_eq!(
        said,
        [
            (What::Move, "a", "catalog", "anywhere", "b"),
            (What::Scale, "b", "search", "as the program says", "2"),
            (What::Cordon, "a", "b", "given things", "given nothing more"),
            (What::Freeze, "a", "", "things move", "nothing moves that need not"),
            (What::Unfreeze, "a", "", "nothing moves that need not", "things move"),
            (What::TryAgain, "a", "search", "", ""),
            (What::GoOn, "a", "", "nothing held back", ""),
        ]
    );
    let numbers: Vec<_> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>(), "without a gap");
    assert!(lines.iter().all(|line| line.at_ms > 0));
    // What the leader did: where everything was put at first.
    let placed = |of: &str| lines.iter().find(|line| line.what == What::Placed && line.of == of).cloned();
    let carts = placed("carts").expect("it was put somewhere");
    assert_eq!((&*carts.by, &*carts.before, &*carts.why), ("leader", "1024 shards of nobody", "new"));
    assert!(placed("search").is_some_and(|line| line.before == "nowhere"), "{lines:#?}");
    // None of it is there without a line of the same step.
    let told: BTreeSet<_> = changed(&stage, HISTORY).await.into_values().collect();
    let places = ["place/catalog", "place/search"];
    for prefix in ["pin/", "scale/", "cordon/", "again/", "brake"].into_iter().chain(places) {
        let said = changed(&stage, prefix).await;
        assert!(
            !said.is_empty() && said.values().all(|revision| told.contains(revision)),
            "{said:?}: {told:?}"
        );
    }
    // Where so much is written that it takes several steps, the line is in the first.
    let first = changed(&stage, "own/carts/").await.into_values().min();
    assert!(first.is_some_and(|first| told.contains(&first)), "{first:?}: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_lost_is_told_of_and_where_what_it_had_has_gone() {
    let stage = shop();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    a.sees_owners("carts", &["a", "b"]).await;
    is_done(&a, to("catalog", &[&b])).await;
    is_done(&a, to("catalog", &[])).await;
    a.sees_serving("catalog", &["b"]).await;
    let since = history(&a).await.last().expect("something was ordered").number;
    drop(b);
    a.sees_serving("catalog", &["a"]).await;
    a.sees_owners("carts", &["a"]).await;
    let of =
        |what, of: &'static str| move |line: &Line| line.number > since && line.what == what && line.of == of;
    let lost = told(&a, "a loss", of(What::Lost, "b")).await;
    assert_eq!((&*lost.by, &*lost.at, &*lost.why), ("leader", "a", "its lease has ended"));
    let catalog = told(&a, "catalog", of(What::Placed, "catalog")).await;
    assert_eq!((&*catalog.before, &*catalog.after, &*catalog.why), ("b", "a", "repair"));
    let carts = told(&a, "carts", of(What::Placed, "carts")).await;
    assert!(carts.before.ends_with(" shards of b") && carts.after.ends_with(" shards of a"), "{carts:?}");
    // One that says that it leaves is not lost.
    let c = stage.node("c").await;
    use skybox_node::control::{Control, Report};
    c.member.leaves_by_itself();
    a.sees("c draining", |plan| plan.nodes.get(&c.name).is_some_and(|node| node.draining)).await;
    // Before the leader has seen that, it would be one that is gone without a word.
    let key = skybox_cloud::records::of_life("assign/", c.life);
    let seen = async {
        loop {
            let listed = stage.store.list(&key).await.expect("it is there");
            if listed.entries.iter().any(|entry| entry.value.contains(r#""draining":true"#)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(stage::PATIENCE, seen).await.expect("the leader sees that it leaves");
    c.member.report(Report::Drained);
    told(&a, "a leave", of(What::Left, "c")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_nodes_are_held_back_is_told_once_and_when_it_is_over() {
    let stage = shop().calm();
    let (a, b, c, d, e) =
        tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"), stage.node("d"), stage.node("e"));
    a.sees_owners("carts", &["a", "b", "c", "d", "e"]).await;
    let leader = match order(&a, Order::Show).await {
        Done::Shown { leader, .. } => leader.expect("somebody leads"),
        other => panic!("{other:?}"),
    };
    let (left, mut lost): (Vec<_>, Vec<_>) =
        [a, b, c, d, e].into_iter().partition(|node| node.name == leader);
    let names: Vec<_> = lost.iter().map(|node| node.name.to_string()).collect();
    let keys: Vec<_> =
        lost.iter().map(|node| Op::Delete(skybox_cloud::records::of_life(NODE, node.life))).collect();
    lost.clear();
    stage.store.commit(Txn::of(keys)).await.expect("it is there");
    let held = told(&left[0], "what is held back", |line| line.what == What::HeldBack).await;
    assert_eq!((&*held.by, held.after), ("leader", names.join(", ")));
    is_done(&left[0], Order::GoOn).await;
    told(&left[0], "that it is over", |line| line.what == What::HeldNoMore).await;
    let lines = history(&left[0]).await;
    let count = |what| lines.iter().filter(|line| line.what == what).count();
    assert_eq!((count(What::HeldBack), count(What::HeldNoMore), count(What::GoOn)), (1, 1, 1), "{lines:#?}");
    let go_on = lines.iter().find(|line| line.what == What::GoOn).expect("just counted");
    assert_eq!(go_on.before, format!("{} held back", names.join(", ")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_taken_back_one_before_the_other_and_by_number() {
    let stage = shop().calm();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    a.sees_owners("carts", &["a", "b"]).await;
    let nothing = undo(&a, None).await.expect_err("nothing was ordered");
    assert!(nothing.contains("nothing that was ordered is left"), "{nothing}");
    is_done(&a, to("catalog", &[&a])).await;
    is_done(&a, to("catalog", &[&b])).await;
    is_done(&a, scale("2")).await;
    a.sees_serving("search", &["a", "b"]).await;
    is_done(&a, Order::Cordon { node: b.name.clone(), on: true }).await;
    let number = |what| {
        let a = &a;
        async move { told(a, "an order", move |line| line.what == what && line.by == "user ada").await.number }
    };
    let (first_move, scaled) = (number(What::Move).await, number(What::Scale).await);
    let undone = undo(&b, Some(scaled)).await.expect("nobody has changed it since");
    assert_eq!((undone.undoes, &*undone.before, &*undone.after), (Some(scaled), "2", "as the program says"));
    a.sees("one of search", |plan| serving(plan, "search").len() == 1).await;
    let refused = undo(&b, Some(scaled)).await.expect_err("it is taken back");
    assert!(
        refused.contains(&format!("{scaled} has been taken back already, by {}", undone.number)),
        "{refused}"
    );
    let refused = undo(&a, Some(first_move)).await.expect_err("it was moved again");
    assert!(refused.contains("has changed the same thing since, from `a` to `b`"), "{refused}");
    // The cordon, then both moves.
    let cordon = undo(&a, None).await.expect("it can be");
    assert_eq!((cordon.what, &*cordon.of, &*cordon.after), (What::Undo, "b", "given things"));
    let back = undo(&a, None).await.expect("it can be");
    assert_eq!((&*back.of, &*back.before, &*back.after), ("catalog", "b", "a"));
    a.sees_serving("catalog", &["a"]).await;
    let back = undo(&a, None).await.expect("it can be");
    assert_eq!((back.undoes, &*back.after), (Some(first_move), "anywhere"));
    assert!(changed(&stage, "pin/").await.is_empty() && changed(&stage, "cordon/").await.is_empty());
    let nothing = undo(&a, None).await.expect_err("all is taken back");
    assert!(nothing.contains("nothing that was ordered is left"), "{nothing}");
    // One that was taken back is ordered again by taking that back.
    let again = undo(&a, Some(undone.number)).await.expect("nobody has changed it since");
    assert_eq!(again.after, "2");
    a.sees_serving("search", &["a", "b"]).await;
    // What cannot be.
    is_done(&a, Order::GoOn).await;
    let go_on = number(What::GoOn).await;
    let refused = undo(&a, Some(go_on)).await.expect_err("it cannot be");
    assert!(refused.contains(&format!("{go_on} is a go-on, and cannot be taken back")), "{refused}");
    let refused = undo(&a, Some(1)).await.expect_err("the leader did it");
    assert!(refused.contains("1 is no order: the leader did it"), "{refused}");
    let refused = undo(&a, Some(99_999)).await.expect_err("there is none");
    assert!(refused.contains("there is no 99999: the history goes from 1 to"), "{refused}");
    // Somebody has been at the store.
    stage.store.commit(Txn::of([Op::Delete("scale/search".into())])).await.expect("it is there");
    let refused = undo(&a, Some(again.number)).await.expect_err("it is something else now");
    assert!(refused.contains("changed since by no order: it is `as the program says` now"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_put_back_onto_nodes_that_are_gone() {
    let stage = shop();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    a.sees_owners("carts", &["a", "b"]).await;
    is_done(&a, to("catalog", &[&b])).await;
    is_done(&a, to("catalog", &[&a])).await;
    let name = b.name.clone();
    drop(b);
    a.sees("b gone", |plan| !plan.nodes.contains_key(&name)).await;
    let refused = undo(&a, None).await.expect_err("b is gone");
    assert!(refused.contains("`catalog` would belong on b again, which is gone"), "{refused}");
    a.sees_serving("catalog", &["a"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_order_at_once_each_has_its_line() {
    let stage = shop().calm();
    let (a, b) = tokio::join!(stage.node("a"), stage.node("b"));
    a.sees_owners("carts", &["a", "b"]).await;
    const EACH: u32 = 20;
    let many = |node: &Node, from: u32| {
        let member = node.member.clone();
        tokio::spawn(async move {
            for n in from..from + EACH {
                let wanted = serde_json::to_value(scale(&n.to_string())).expect("plain data");
                use skybox_node::control::Control;
                member.order(wanted, "user ada").await.expect("it is done");
            }
        })
    };
    let all = [many(&a, 100), many(&b, 200), many(&a, 300)];
    for one in all {
        one.await.expect("it does not panic");
    }
    let lines = history(&a).await;
    let numbers: Vec<_> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>());
    let mut scales = lines.iter().filter(|line| line.what == What::Scale);
    let mut before = "as the program says";
    assert!(scales.clone().count() == 3 * EACH as usize);
    // Each has what the one before it has left.
    assert!(scales.all(|line| std::mem::replace(&mut before, &line.after) == line.before), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_lines_go() {
    let stage = shop().calm();
    let a = stage.node("a").await;
    a.sees_owners("carts", &["a"]).await;
    for n in 0..LINES_MAX + 7 {
        is_done(&a, Order::Freeze { on: n % 2 == 0 }).await;
    }
    let entries = stage.store.list(HISTORY).await.expect("it is there").entries;
    assert_eq!(entries.len() as u64, LINES_MAX);
    let lines = history(&a).await;
    let (first, last) = (lines[0].number, lines[lines.len() - 1].number);
    assert_eq!((lines.len() as u64, last - first), (LINES_MAX, LINES_MAX - 1));
    assert!(
        last > LINES_MAX && lines.iter().all(|line| line.by == "user ada"),
        "those of the leader are gone"
    );
    let gone = undo(&a, Some(1)).await.expect_err("it is forgotten");
    assert!(gone.contains(&format!("the history goes from {first} to {last}")), "{gone}");
}

async fn outlook(
    node: &Node,
    moves: &[(&str, &[&Node])],
    scales: &[(&str, &str)],
    cordons: &[&Node],
) -> Outlook {
    let names = |nodes: &[&Node]| nodes.iter().map(|node| node.name.clone()).collect::<Vec<NodeName>>();
    let wanted = Order::TryOut {
        moves: moves.iter().map(|(module, nodes)| ((*module).to_owned(), names(nodes))).collect(),
        scales: scales.iter().map(|(module, n)| ((*module).to_owned(), (*n).to_owned())).collect(),
        cordons: names(cordons),
    };
    match order(node, wanted).await {
        Done::Foreseen(outlook) => *outlook,
        other => panic!("it was asked what would be: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_foreseen_is_what_happens_and_nothing_before_that() {
    let stage = shop().calm();
    let (a, b, c) = tokio::join!(stage.node("a"), stage.node("b"), stage.node("c"));
    a.sees_owners("carts", &["a", "b", "c"]).await;
    is_done(&a, to("catalog", &[&a])).await;
    a.sees("one of search", |plan| serving(plan, "search").len() == 1).await;
    assert_eq!(outlook(&a, &[], &[], &[]).await, Outlook::default(), "nothing is about to move");
    let before = changed(&stage, "").await;
    let foreseen = outlook(&b, &[("catalog", &[&b]), ("carts", &[&c])], &[], &[]).await;
    let catalog = &foreseen.moves.iter().find(|one| one.module == "catalog").expect("it would move");
    assert_eq!((&catalog.from, &catalog.to), (&Some(a.name.clone()), &Some(b.name.clone())));
    assert_eq!((catalog.shards, catalog.reason), (0, Reason::Command));
    let carts: Vec<_> = foreseen.moves.iter().filter(|one| one.module == "carts").collect();
    let shards: u32 = carts.iter().map(|one| u32::from(one.shards)).sum();
    assert!(carts.iter().all(|one| one.to.as_ref() == Some(&c.name)) && carts.len() == 2, "{carts:?}");
    let (owners, _) = stage.owners("carts").await;
    assert_eq!(shards as usize, owners["a"] + owners["b"]);
    assert!(foreseen.unplaced.is_empty());
    // More than there are nodes for, of which none may take anything.
    let foreseen = outlook(&b, &[], &[("search", "3")], &[&a, &b, &c]).await;
    let [search] = &foreseen.unplaced[..] else { panic!("one cannot be met: {foreseen:?}") };
    assert_eq!((&*search.module, search.missing), ("search", 2));
    assert!(search.why.contains("cordoned"), "{}", search.why);
    assert!(changed(&stage, "").await == before, "nothing was written");
    // It comes as it was said.
    is_done(&a, to("catalog", &[&b])).await;
    let line =
        told(&a, "the move", |line| line.what == What::Placed && line.of == "catalog" && line.before == "a")
            .await;
    assert_eq!((&*line.after, &*line.why), ("b", "command"));
    for (wanted, why) in [
        (r#"{"try-out": {"moves": {"cart": []}, "scales": {}, "cordons": []}}"#, "no module `cart`"),
        (
            r#"{"try-out": {"moves": {"carts": ["z"]}, "scales": {}, "cordons": []}}"#,
            "no node `z`; there are a, b, c",
        ),
        (r#"{"try-out": {"moves": {}, "scales": {"carts": "2"}, "cordons": []}}"#, "`carts` is keyed"),
        (r#"{"try-out": {"moves": {}, "scales": {"search": "x"}, "cordons": []}}"#, "`x`"),
        (r#"{"try-out": {"moves": {}, "scales": {}, "cordons": ["z"]}}"#, "no node `z`"),
    ] {
        let refused = a.order_raw(serde_json::from_str(wanted).expect("JSON")).await;
        assert!(matches!(&refused, Done::Refused(said) if said.contains(why)), "{refused:?}");
    }
}
