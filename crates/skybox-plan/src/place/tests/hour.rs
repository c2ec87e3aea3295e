//! An hour of figures that are never quite right.

use std::collections::BTreeMap;

use super::super::Traffic;
use super::super::trials::Draw;
use super::*;

/// A tenth more or less, and now and then four times as much for one decision.
fn noisy(draw: &mut Draw, truth: u64) -> u64 {
    let jitter = truth * (90 + draw.below(21)) / 100;
    if draw.percent(2) { jitter * 4 } else { jitter }
}

struct Truth {
    /// From each host to the database, in microseconds.
    to_db_us: Vec<u64>,
    load_milli: u64,
    calls_per_s: u64,
}

/// Eight nodes, with modules near, ranged and moved by traffic, and what is measured of the truth.
struct Hour {
    facts: Facts,
    draw: Draw,
    /// When each module left a node, and for what reason.
    left: BTreeMap<(String, NodeName), u64>,
    optional: Vec<(u64, String)>,
    returns: Vec<String>,
}

impl Hour {
    fn new(seed: u64) -> Hour {
        let mut facts = nodes(8);
        facts.rules.moves_max = 4;
        facts.modules = vec![
            Module { near: Some("db".into()), ..cores("near", 2, 1) },
            Module { replicas: Replicas::Range { min: 1, max: 6 }, ..cores("range", 1, 1) },
            Module { auto_place: true, ..cores("called", 2, 1) },
            cores("calling", 2, 1),
            Module {
                replicas: Replicas::Range { min: 1, max: 4 },
                near: Some("db".into()),
                auto_place: true,
                ..cores("all", 1, 1)
            },
        ];
        Hour {
            facts,
            draw: Draw::new(seed),
            left: BTreeMap::new(),
            optional: Vec::new(),
            returns: Vec::new(),
        }
    }

    /// So many minutes of it, decided on every five seconds.
    fn pass(&mut self, truth: &Truth, minutes: u64) {
        for _ in 0..minutes * 12 {
            self.facts.now_ms += 5_000;
            for (n, us) in (1..).zip(&truth.to_db_us) {
                let us = noisy(&mut self.draw, *us);
                self.facts.to_resources.insert((format!("host-{n}"), "db".into()), us);
            }
            let load = noisy(&mut self.draw, truth.load_milli);
            (self.facts.modules[1].load_milli, self.facts.modules[4].load_milli) =
                (Some(load), Some(load / 2));
            let mut calls = |from: &str, to: &str, share| Traffic {
                from: from.into(),
                to: to.into(),
                calls_per_s: noisy(&mut self.draw, truth.calls_per_s) / share,
            };
            self.facts.traffic =
                vec![calls("calling", "called", 1), calls("range", "called", 2), calls("all", "calling", 3)];
            let decision = place(&self.facts);
            self.note(&decision);
            self.facts.before = decision.placement;
        }
    }

    fn note(&mut self, decision: &Decision) {
        let now_ms = self.facts.now_ms;
        for (step, told) in decision.moves.iter().zip(moves(decision)) {
            if matches!(step.reason, Reason::Scale | Reason::Near | Reason::Traffic) {
                self.optional.push((now_ms, told.clone()));
            }
            if let Some(to) = &step.to
                && self.left.contains_key(&(step.module.clone(), to.clone()))
            {
                self.returns.push(told);
            }
            if let Some(from) = &step.from {
                self.left.insert((step.module.clone(), from.clone()), now_ms);
            }
        }
    }

    fn check_budget(&self) {
        let Rules { moves_max, window_ms, .. } = self.facts.rules;
        for (at, _) in &self.optional {
            let in_window =
                self.optional.iter().filter(|(other, _)| other >= at && other - at < window_ms).count();
            assert!(in_window <= moves_max, "{in_window} moves in a window: {:?}", self.optional);
        }
    }
}

use super::super::Rules;

#[test]
fn an_hour_of_noise_swings_nothing() {
    for seed in 0..10 {
        let mut hour = Hour::new(seed);
        let first = Truth {
            to_db_us: vec![5_000, 5_200, 4_900, 800, 850, 5_000, 5_100, 20_000],
            load_milli: 1_600,
            calls_per_s: 900,
        };
        hour.pass(&first, 60);
        assert_eq!(hour.returns, [""; 0], "seed {seed}: {:?}", hour.optional);
        hour.check_budget();
        // What there is to do: ranges to their size, and each of the movable to its place, once.
        assert!(hour.optional.len() <= 12, "seed {seed}: {:?}", hour.optional);
        let settled = hour.optional.len();
        hour.pass(&first, 60);
        assert_eq!(hour.optional.len(), settled, "seed {seed}: {:?}", hour.optional);
        // The truth changes, and that is seen.
        let second = Truth { to_db_us: vec![800, 850, 5_000, 5_100, 5_000, 5_200, 20_000, 5_000], ..first };
        hour.left.clear();
        hour.pass(&second, 60);
        assert!(hour.optional.len() > settled, "seed {seed}: nothing came closer");
        assert_eq!(hour.returns, [""; 0], "seed {seed}: {:?}", hour.optional);
        hour.check_budget();
    }
}
