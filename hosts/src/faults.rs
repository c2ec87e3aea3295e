//! What is wrong with the network, and the rules that make it so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The faults of one network.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Hosts that reach no other.
    pub(crate) cut: BTreeSet<usize>,
    /// Pairs that do not reach each other, the lower one first.
    pub(crate) between: BTreeSet<(usize, usize)>,
    /// How many of a hundred packets of a host's are lost.
    pub(crate) drops: BTreeMap<usize, u8>,
}

impl Faults {
    /// The whole ruleset for so many hosts: it takes the place of the one before in a single step, so that no packet
    /// meets half of it.
    ///
    /// Requests for addresses pass: without answers the kernel would say "no route to host", which is not what hosts
    /// of different networks hear from each other.
    pub(crate) fn rules(&self, hosts: usize) -> String {
        let mut rules = String::from(
            "table bridge faults\ndelete table bridge faults\ntable bridge faults {\nchain forward {\n\
             type filter hook forward priority 0; policy accept;\nether type arp accept\n",
        );
        let all = || 0..hosts;
        let mut between = |one: &[usize], others: &[usize], verdict: &str| {
            if !others.is_empty() {
                for (from, to) in [(one, others), (others, one)] {
                    let _ = writeln!(rules, "iifname {} oifname {} {verdict}", ports(from), ports(to));
                }
            }
        };
        for host in &self.cut {
            let others: Vec<_> = all().filter(|other| other != host).collect();
            between(&[*host], &others, "drop");
        }
        for (one, other) in &self.between {
            between(&[*one], &[*other], "drop");
        }
        for (host, percent) in &self.drops {
            let others: Vec<_> = all().filter(|other| other != host).collect();
            // nftables refuses a comparison that is always true.
            let verdict = match percent {
                100.. => "drop".to_owned(),
                percent => format!("numgen random mod 100 < {percent} drop"),
            };
            between(&[*host], &others, &verdict);
        }
        rules.push_str("}\n}\n");
        rules
    }
}

/// The ports behind which these hosts are: a host's own, or that of its relay once it has one.
fn ports(hosts: &[usize]) -> String {
    let ports: Vec<_> = hosts.iter().map(|host| format!("\"host-{host}\", \"relay-{host}\"")).collect();
    format!("{{ {} }}", ports.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_a_rule_for_each_direction() {
        let body = |faults: &Faults| {
            let rules = faults.rules(3);
            let after = rules.split_once("arp accept\n").unwrap().1.trim_end_matches("}\n}\n");
            after.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut faults = Faults::default();
        assert!(body(&faults).is_empty());
        faults.between.insert((0, 1));
        assert_eq!(
            body(&faults),
            [
                r#"iifname { "host-0", "relay-0" } oifname { "host-1", "relay-1" } drop"#,
                r#"iifname { "host-1", "relay-1" } oifname { "host-0", "relay-0" } drop"#
            ]
        );
        faults.cut.insert(2);
        faults.drops.insert(1, 30);
        let rules = body(&faults);
        assert_eq!(rules.len(), 6);
        assert!(
            rules[0]
                .starts_with(r#"iifname { "host-2", "relay-2" } oifname { "host-0", "relay-0", "host-1""#)
        );
        assert!(rules[5].ends_with(r#"oifname { "host-1", "relay-1" } numgen random mod 100 < 30 drop"#));
    }

    #[test]
    fn one_host_has_nobody_to_be_cut_off_from() {
        let faults = Faults { cut: BTreeSet::from([0]), ..Faults::default() };
        assert!(!faults.rules(1).contains("iifname"));
    }
}
