//! What every store does.

use std::collections::BTreeMap;
use std::task::Poll;
use std::time::Duration;

use skybox_cloud::store::{Change, Condition, OPS_MAX, Op, Revision, StoreError, TXN_BYTES_MAX, Txn};

use crate::stage::{Stage, TTL, absent, changes};

pub(crate) async fn what_is_written_is_read(stage: Stage) {
    assert_eq!(stage.list("node/").await.entries, []);
    let first = stage.put("node/b", "1").await;
    let second = stage.put("node/a", "2").await;
    stage.put("nodes", "of another prefix").await;
    let third = stage.put("node/b", "\u{20ac} 3\n\"quoted\"").await;
    assert!(first < second && second < third);
    let listed = stage.list("node/").await;
    assert_eq!(listed.revision, third);
    let [a, b] = &listed.entries[..] else { panic!("{listed:?}") };
    assert_eq!(
        (a.key.as_str(), a.value.as_str(), a.created, a.changed, a.lease),
        ("node/a", "2", second, second, None)
    );
    assert_eq!((b.key.as_str(), b.value.as_str()), ("node/b", "\u{20ac} 3\n\"quoted\""));
    assert_eq!((b.created, b.changed), (first, third));
    // Once deleted, it is another one that has the key.
    let deleted = stage.store.commit(Txn::of([Op::Delete("node/b".into())])).await.unwrap();
    assert_eq!(deleted.revision, third.next());
    let again = stage.put("node/b", "4").await;
    let b = stage.list("node/b").await.entries.remove(0);
    assert_eq!((b.created, b.changed), (again, again));
}

pub(crate) async fn a_transaction_is_carried_out_wholly_or_not_at_all(stage: Stage) {
    let store = &stage.store;
    let made = stage.put("leader", "a").await;
    let changed = stage.put("leader", "b").await;
    let written = |when: Vec<Condition>| {
        Txn::when(
            when,
            [Op::put("x", "1"), Op::put("y", "1"), Op::Get("x".into()), Op::Get("nowhere".into())],
        )
        .otherwise([Op::Get("leader".into()), Op::put("missed", "1")])
    };
    // One that does not hold is enough.
    let key = || "leader".to_owned();
    for wrong in [Condition::CreatedAt(key(), changed), Condition::ChangedAt(key(), made), absent("leader")] {
        let when = vec![Condition::CreatedAt(key(), made), wrong, absent("x")];
        let missed = store.commit(written(when)).await.unwrap();
        assert!(!missed.met);
        let [Some(leader)] = &missed.got[..] else { panic!("{missed:?}") };
        assert_eq!((leader.value.as_str(), leader.created, leader.changed), ("b", made, changed));
    }
    // What is compared of a key that is not there does not hold, and that it is not there has its own condition.
    let of_none = Condition::ChangedAt("x".to_owned(), made);
    assert!(!store.commit(Txn::when([of_none], [])).await.unwrap().met);
    let of_nothing = Txn::when([Condition::ChangedAt("x".to_owned(), Revision(0))], []);
    assert!(matches!(store.commit(of_nothing).await, Err(StoreError::Invalid { .. })));
    assert_eq!(stage.all("x").await, []);
    let when = vec![Condition::CreatedAt(key(), made), Condition::ChangedAt(key(), changed), absent("x")];
    let met = store.commit(written(when)).await.unwrap();
    assert!(met.met);
    let [Some(x), None] = &met.got[..] else { panic!("{met:?}") };
    // It sees what comes before in the same transaction.
    assert_eq!((x.value.as_str(), x.created), ("1", met.revision));
    let y = stage.list("y").await.entries.remove(0);
    assert_eq!(y.created, met.revision, "one step");
}

pub(crate) async fn what_changes_nothing_is_no_step(stage: Stage) {
    let before = stage.put("a", "1").await;
    let store = &stage.store;
    for nothing in [
        Txn::of([Op::Delete("b".into())]),
        Txn::of([Op::Get("a".into())]),
        Txn::when([absent("a")], [Op::put("a", "2")]),
        Txn::default(),
    ] {
        assert_eq!(store.commit(nothing).await.unwrap().revision, before);
    }
    assert_eq!(stage.list("").await.revision, before);
    assert_eq!(stage.put("a", "1").await, before.next(), "the same value again is a step");
}

pub(crate) async fn one_of_many_wins(stage: Stage) {
    for round in 0..10 {
        let key = format!("leader-{round}");
        let tries: Vec<_> = (0..16)
            .map(|n| {
                let (store, key) = (stage.store.clone(), key.clone());
                tokio::spawn(async move {
                    let txn =
                        Txn::when([Condition::Absent(key.clone())], [Op::put(key.clone(), n.to_string())])
                            .otherwise([Op::Get(key)]);
                    let committed = store.commit(txn).await.unwrap();
                    (committed.met.then(|| n.to_string()), committed.got)
                })
            })
            .collect();
        let (mut winners, mut losers) = (Vec::new(), Vec::new());
        for tried in tries {
            let (won, got) = tried.await.unwrap();
            winners.extend(won);
            losers.extend(got.into_iter().map(|seen| seen.expect("who lost sees who won").value));
        }
        assert_eq!((winners.len(), losers.len()), (1, 15));
        assert!(losers.iter().all(|seen| *seen == winners[0]), "{winners:?} {losers:?}");
    }
}

pub(crate) async fn a_number_that_many_count_up_misses_none(stage: Stage) {
    const EACH: usize = 25;
    stage.put("count", "0").await;
    let counting: Vec<_> = (0..8)
        .map(|_| {
            let store = stage.store.clone();
            tokio::spawn(async move {
                let mut counted = 0;
                while counted < EACH {
                    let entry = store.list("count").await.unwrap().entries.remove(0);
                    let next = entry.value.parse::<usize>().unwrap() + 1;
                    let when = Condition::ChangedAt("count".to_owned(), entry.changed);
                    let txn = Txn::when([when], [Op::put("count", next.to_string())]);
                    counted += usize::from(store.commit(txn).await.unwrap().met);
                }
            })
        })
        .collect();
    for counting in counting {
        counting.await.unwrap();
    }
    assert_eq!(stage.all("count").await, [("count".to_owned(), (8 * EACH).to_string())]);
}

pub(crate) async fn a_watch_tells_all_from_a_revision_on(stage: Stage) {
    stage.put("own/a", "0").await;
    let first = stage.put("own/a", "1").await;
    stage.put("other", "1").await;
    let both = Txn::of([Op::put("own/b", "2"), Op::put("own/c", "2"), Op::put("other", "2")]);
    let second = stage.store.commit(both).await.unwrap().revision;
    let third = stage.store.commit(Txn::of([Op::Delete("own/b".into())])).await.unwrap().revision;
    let mut watch = stage.watch("own/", first).await;
    let told = changes(&mut *watch, 4).await;
    let keys: Vec<_> = told
        .iter()
        .flat_map(|told| &told.changes)
        .map(|change| (change.key.as_str(), change.revision))
        .collect();
    assert_eq!(keys, [("own/a", first), ("own/b", second), ("own/c", second), ("own/b", third)]);
    for changes in &told {
        let last = changes.changes.last().unwrap().revision;
        assert!(changes.revision >= last);
        // What one transaction has changed is not torn.
        let of_second = changes.changes.iter().filter(|change| change.revision == second).count();
        assert!(of_second == 0 || of_second == 2, "{told:?}");
    }
    let last = told.iter().flat_map(|told| &told.changes).next_back().unwrap();
    assert_eq!(last, &Change { key: "own/b".into(), revision: third, entry: None });
    // And from then on what happens, in order, however fast.
    let store = stage.store.clone();
    let writing = tokio::spawn(async move {
        for n in 0..200 {
            store.commit(Txn::of([Op::put(format!("own/{}", n % 3), n.to_string())])).await.unwrap();
        }
    });
    let told = changes(&mut *watch, 200).await;
    writing.await.unwrap();
    let values: Vec<_> = told
        .iter()
        .flat_map(|told| &told.changes)
        .map(|change| change.entry.as_ref().unwrap().value.parse::<u32>().unwrap())
        .collect();
    assert_eq!(values, (0..200).collect::<Vec<_>>());
    // One that begins after all is told nothing of it.
    let now = stage.list("").await.revision;
    let mut late = stage.watch("own/", now.next()).await;
    let next = stage.put("own/z", "1").await;
    assert_eq!(changes(&mut *late, 1).await[0].changes[0].revision, next);
}

pub(crate) async fn a_watch_that_hears_nothing_says_so(stage: Stage) {
    let at = stage.put("own/a", "0").await;
    let mut watch = stage.watch("own/", at.next()).await;
    for _ in 0..3 {
        let word = watch.next().await.unwrap();
        assert!(word.changes.is_empty() && word.revision >= at, "{word:?}");
    }
    // Dropping the future loses nothing, at whatever moment.
    let mut beside = stage.watch("own/", at.next()).await;
    for n in 0..20 {
        let changed = {
            let mut next = watch.next();
            let _ = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_ready())).await;
            let changed = stage.put("own/a", &n.to_string()).await;
            changes(&mut *beside, 1).await;
            changed
        };
        assert_eq!(changes(&mut *watch, 1).await[0].changes[0].revision, changed);
    }
}

pub(crate) async fn a_watch_beside_which_much_happens_says_how_far_it_is(stage: Stage) {
    let at = stage.put("own/a", "0").await;
    let mut watch = stage.watch("own/", at.next()).await;
    let writing = async {
        for n in 0.. {
            stage.put("other", &n.to_string()).await;
            // A store in memory has nothing to wait for.
            tokio::task::yield_now().await;
        }
    };
    let hearing = async {
        for _ in 0..3 {
            assert!(watch.next().await.unwrap().changes.is_empty());
        }
    };
    tokio::select! {
        () = writing => {}
        () = hearing => {}
    }
}

pub(crate) async fn a_watch_from_the_beginning_tells_all(stage: Stage) {
    let first = stage.put("own/a", "0").await;
    let second = stage.put("own/b", "0").await;
    for from in [Revision(0), Revision(1), first] {
        let mut watch = stage.watch("own/", from).await;
        let told = changes(&mut *watch, 2).await;
        let told: Vec<_> = told.iter().flat_map(|told| &told.changes).map(|change| change.revision).collect();
        assert_eq!(told, [first, second]);
    }
}

pub(crate) async fn large_values_are_read_and_told(stage: Stage) {
    // More than a line of the embedded store holds, and with signs that take six times their place there.
    let large = format!("{}{}", "v".repeat(400_000), "\u{1}".repeat(100_000));
    let at = stage.list("").await.revision;
    for n in 0..40 {
        stage.put(&format!("own/{n:02}"), &large).await;
    }
    let listed = stage.list("own/").await;
    assert_eq!(listed.entries.len(), 40);
    assert!(listed.entries.iter().all(|entry| entry.value == large));
    assert!(listed.entries.is_sorted_by(|one, other| one.key < other.key));
    let mut watch = stage.watch("own/", at.next()).await;
    let told = changes(&mut *watch, 40).await;
    assert!(
        told.iter()
            .flat_map(|told| &told.changes)
            .all(|change| change.entry.as_ref().unwrap().value == large)
    );
}

pub(crate) async fn a_watch_whose_beginning_is_forgotten_says_so(stage: Stage) {
    let first = stage.put("own/a", "0").await;
    for n in 1..10 {
        stage.put("own/a", &n.to_string()).await;
    }
    stage.put("own/b", "0").await;
    let last = stage.store.commit(Txn::of([Op::Delete("own/b".into())])).await.unwrap().revision;
    stage.compact(last).await;
    // Also the last of what is forgotten, which was a deletion.
    for forgotten in [first, last] {
        let mut watch = stage.watch("own/", forgotten).await;
        let error = watch.next().await.unwrap_err();
        assert_eq!(error, StoreError::Compacted { oldest: last.next() });
        assert!(watch.next().await.is_err(), "there is nothing more");
    }
    // From what the keys are now on, nothing is missing.
    let mut watch = stage.watch("own/", last.next()).await;
    let next = stage.put("own/a", "10").await;
    assert_eq!(changes(&mut *watch, 1).await[0].changes[0].revision, next);
}

pub(crate) async fn a_lease_that_is_not_renewed_takes_its_keys_along(stage: Stage) {
    let lease = stage.store.grant(TTL).await.unwrap();
    assert!(lease.ttl >= TTL, "{lease:?}");
    let on_it = Txn::of([
        Op::put_on(lease.id, "node/1", "a"),
        Op::put_on(lease.id, "node/2", "b"),
        Op::put("kept", "c"),
    ]);
    let at = stage.store.commit(on_it).await.unwrap().revision;
    assert_eq!(stage.list("node/1").await.entries[0].lease, Some(lease.id));
    let mut watch = stage.watch("node/", at.next()).await;
    let gone = changes(&mut *watch, 2).await;
    let [changes] = &gone[..] else { panic!("they go in one step: {gone:?}") };
    assert!(
        changes.changes.iter().all(|change| change.entry.is_none() && change.revision == at.next()),
        "{gone:?}"
    );
    assert_eq!(stage.all("").await, [("kept".to_owned(), "c".to_owned())]);
    assert_eq!(stage.store.renew(lease.id).await, Err(StoreError::LeaseGone(lease.id)));
    // It ends once.
    assert_eq!(stage.store.revoke(lease.id).await, Ok(()));
}

pub(crate) async fn a_lease_that_is_renewed_stays(stage: Stage) {
    let [kept, lost] = [stage.store.grant(TTL).await.unwrap(), stage.store.grant(TTL).await.unwrap()];
    let both = Txn::of([Op::put_on(kept.id, "kept", "1"), Op::put_on(lost.id, "lost", "1")]);
    stage.store.commit(both).await.unwrap();
    let renewing = async {
        loop {
            assert_eq!(stage.store.renew(kept.id).await, Ok(()));
            // Sleeps because a lease is a matter of time.
            tokio::time::sleep(kept.ttl / 5).await;
        }
    };
    // It lasts much longer than it would, while others end.
    let began = tokio::time::Instant::now();
    let losing = async {
        while began.elapsed() < kept.ttl * 2 {
            stage.is_gone("lost").await;
            let next = stage.store.grant(TTL).await.unwrap();
            stage.store.commit(Txn::of([Op::put_on(next.id, "lost", "2")])).await.unwrap();
        }
    };
    tokio::select! {
        () = renewing => {}
        () = losing => {}
    }
    assert_eq!(stage.all("kept").await, [("kept".to_owned(), "1".to_owned())]);
    stage.is_gone("kept").await;
}

pub(crate) async fn a_revoked_lease_is_gone_at_once(stage: Stage) {
    let lease = stage.store.grant(Duration::from_secs(600)).await.unwrap();
    let on_it = Txn::of([Op::put_on(lease.id, "a", "1"), Op::put_on(lease.id, "b", "1")]);
    stage.store.commit(on_it).await.unwrap();
    stage.store.revoke(lease.id).await.unwrap();
    assert_eq!(stage.all("").await, []);
    assert_eq!(stage.store.renew(lease.id).await, Err(StoreError::LeaseGone(lease.id)));
}

pub(crate) async fn nothing_is_put_on_a_lease_that_has_ended(stage: Stage) {
    let lease = stage.store.grant(TTL).await.unwrap();
    stage.store.revoke(lease.id).await.unwrap();
    let on_none = Txn::of([Op::put("a", "1"), Op::put_on(lease.id, "b", "1")]);
    assert_eq!(stage.store.commit(on_none).await, Err(StoreError::LeaseGone(lease.id)));
    assert_eq!(stage.all("").await, [], "nothing of it is done");
}

pub(crate) async fn a_key_goes_with_its_last_lease_alone(stage: Stage) {
    let [first, second] = [600, 600].map(Duration::from_secs);
    let (first, second) = (stage.store.grant(first).await.unwrap(), stage.store.grant(second).await.unwrap());
    let on_first = ["a", "b", "c"].map(|key| Op::put_on(first.id, key, "1"));
    stage.store.commit(Txn::of(on_first)).await.unwrap();
    stage.store.commit(Txn::of([Op::put_on(second.id, "b", "2"), Op::put("c", "2")])).await.unwrap();
    stage.store.revoke(first.id).await.unwrap();
    let keys = |all: Vec<(String, String)>| all.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(stage.all("").await), ["b", "c"]);
    stage.store.revoke(second.id).await.unwrap();
    assert_eq!(keys(stage.all("").await), ["c"]);
}

pub(crate) async fn what_is_too_large_is_refused(stage: Stage) {
    let many = |count: usize| Txn::of((0..count).map(|n| Op::put(format!("k{n:03}"), "v")));
    stage.store.commit(many(OPS_MAX)).await.unwrap();
    let refused = stage.store.commit(many(OPS_MAX + 1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused}");
    let of_size = |size: usize| Txn::of([Op::put("k", "v".repeat(size))]);
    stage.store.commit(of_size(TXN_BYTES_MAX - 1)).await.unwrap();
    let refused = stage.store.commit(of_size(TXN_BYTES_MAX)).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused}");
    let twice = Txn::of([Op::put("k", "1"), Op::put("k", "2")]);
    assert!(matches!(stage.store.commit(twice).await, Err(StoreError::Invalid { .. })));
    assert_eq!(stage.list("k").await.entries.len(), OPS_MAX + 1);
    let large = stage.list("k").await.entries.into_iter().find(|entry| entry.key == "k").unwrap();
    assert_eq!(large.value.len(), TXN_BYTES_MAX - 1);
}

pub(crate) async fn many_keys_are_read_as_they_were_at_one_revision(stage: Stage) {
    const STEPS: usize = 12;
    let step = |round: usize, step: usize| {
        Txn::of(
            (0..OPS_MAX).map(move |n| Op::put(format!("own/{:05}", step * OPS_MAX + n), round.to_string())),
        )
    };
    for number in 0..STEPS {
        stage.store.commit(step(0, number)).await.unwrap();
    }
    let store = stage.store.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut stopped = stopped;
        for round in 1.. {
            for number in 0..STEPS {
                store.commit(step(round, number)).await.unwrap();
                if !matches!(stopped.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty)) {
                    return;
                }
            }
        }
    });
    for _ in 0..10 {
        let listed = stage.list("own/").await;
        assert_eq!(listed.entries.len(), STEPS * OPS_MAX);
        assert!(listed.entries.iter().all(|entry| entry.changed <= listed.revision));
        // Each step of a round has been taken by the next as well, or by none behind it.
        let values: Vec<u64> = listed.entries.iter().map(|entry| entry.value.parse().unwrap()).collect();
        assert!(
            values.windows(2).all(|pair| pair[0] >= pair[1]) && values[0] - values[values.len() - 1] <= 1,
            "torn"
        );
    }
    drop(stop);
    writing.await.unwrap();
}

pub(crate) async fn a_view_follows(stage: Stage) {
    let of_nothing = stage.follow("own/");
    assert!(of_nothing.at(Revision(0)).await.entries.is_empty());
    stage.put("own/a", "0").await;
    let followed = stage.follow("own/");
    let first = followed.at(Revision(0)).await;
    assert_eq!(first.entries.keys().collect::<Vec<_>>(), ["own/a"]);
    let mut expected = BTreeMap::new();
    let mut last = Revision(0);
    for n in 0..100 {
        let key = format!("own/{}", n % 7);
        let txn = match n % 5 {
            4 => {
                expected.remove(&key);
                Txn::of([Op::Delete(key)])
            }
            _ => {
                expected.insert(key.clone(), n.to_string());
                Txn::of([Op::put(key, n.to_string()), Op::put("other", n.to_string())])
            }
        };
        last = stage.store.commit(txn).await.unwrap().revision;
    }
    last = stage.put("own/a", "done").await.max(last);
    expected.insert("own/a".to_owned(), "done".to_owned());
    let view = followed.at(last).await;
    let seen: BTreeMap<_, _> =
        view.entries.iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect();
    assert_eq!(seen, expected);
    assert_eq!(view.entries.values().cloned().collect::<Vec<_>>(), stage.list("own/").await.entries);
    assert!(followed.age().1.is_none());
}

pub(crate) async fn a_view_outlives_its_connection(mut stage: Stage) {
    stage.put("own/a", "0").await;
    let followed = stage.follow("own/");
    followed.at(Revision(0)).await;
    for round in 1..3 {
        let lease = stage.store.grant(Duration::from_secs(600)).await.unwrap();
        stage.break_off().await;
        if stage.connects() {
            let failed = stage.store.list("own/").await.unwrap_err();
            assert!(matches!(failed, StoreError::Unreachable { .. }), "{failed}");
            // It says so, and shows what it knew.
            followed.in_trouble().await;
            assert_eq!(followed.at(Revision(0)).await.entries.len(), 1);
        }
        stage.mend().await;
        let value = round.to_string();
        let put = stage.put_at_last("own/a", &value).await;
        assert_eq!(followed.at(put).await.entries["own/a"].value, value);
        assert!(followed.age().1.is_none());
        assert_eq!(stage.store.renew(lease.id).await, Ok(()), "leases are the store's");
    }
}
