//! Who has which name: one instance for each, in the whole program.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skybox_core::{Incarnation, InstanceId, NodeName};

/// Bytes of a name, at most; at least there is one.
pub const NAME_BYTES_MAX: usize = 255;
/// Names of one program: beyond, registering is refused. At their longest they take 200 MiB of whoever keeps them.
pub const NAMES_MAX: usize = 1 << 18;
/// Names of the instances of one node: half of all, so that a node which forgets to free some leaves room for the others.
pub const NODE_NAMES_MAX: usize = NAMES_MAX / 2;
/// Ends that one message tells of at most: more go into the next one.
pub const ENDED_MAX: usize = 1024;
/// Instances of which one message asks for the names at most, and names of each that are told.
pub const OF_MAX: usize = 1024;
/// See [`OF_MAX`].
pub const NAMES_OF_ONE_MAX: usize = 16;

/// The instance that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which one, and in which life of its node.
    pub instance: InstanceId,
    /// Of which module.
    pub module: String,
    /// Where it lives.
    pub node: NodeName,
}

/// What can be asked of the names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameAsk {
    /// This instance wants the name: asked by its node, which says later that it has ended.
    Register {
        /// The name.
        name: String,
        /// The instance.
        holder: Holder,
    },
    /// Who has it?
    Whereis {
        /// The name.
        name: String,
    },
    /// Nobody is to have it.
    Unregister {
        /// The name.
        name: String,
    },
    /// Nothing is left of these instances: told by their node.
    Ended {
        /// Which ones, at most [`ENDED_MAX`].
        instances: Vec<InstanceId>,
    },
    /// Which names have these?
    Of {
        /// Which ones, at most [`OF_MAX`].
        instances: Vec<InstanceId>,
    },
}

impl NameAsk {
    /// Checks what has come over a wire, from a life of a node. Nobody speaks for the instances of another one.
    ///
    /// # Errors
    /// What is answered instead.
    pub fn check(&self, node: &NodeName, life: Incarnation) -> Result<(), NameAnswer> {
        let refused = |why: String| Err(NameAnswer::Refused { why });
        match self {
            NameAsk::Register { holder, .. } if holder.node != *node || holder.instance.node != life => {
                refused(format!("{node} names an instance of {} in another life or elsewhere", holder.node))
            }
            NameAsk::Register { holder, .. } if check_name(&holder.module).is_err() => {
                refused(format!("{node} names an instance of what cannot be a module"))
            }
            NameAsk::Ended { instances } if instances.len() > ENDED_MAX => {
                refused(format!("{node} tells of more than {ENDED_MAX} ends at once"))
            }
            NameAsk::Ended { instances } if instances.iter().any(|instance| instance.node != life) => {
                refused(format!("{node} tells of ends that are not its own"))
            }
            NameAsk::Of { instances } if instances.len() > OF_MAX => {
                refused(format!("{node} asks for the names of more than {OF_MAX} instances at once"))
            }
            _ => Ok(()),
        }
    }

    /// The name that is spoken of.
    fn name(&self) -> Option<&str> {
        match self {
            NameAsk::Register { name, .. } | NameAsk::Whereis { name } | NameAsk::Unregister { name } => {
                Some(name)
            }
            NameAsk::Ended { .. } | NameAsk::Of { .. } => None,
        }
    }
}

/// Whether a name is one.
///
/// # Errors
/// Its length, which is none of a name.
pub fn check_name(name: &str) -> Result<(), usize> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        bytes => Err(bytes),
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameAnswer {
    /// The instance has the name, maybe since before; or what was to be freed is free.
    Done,
    /// Another one has it.
    Taken(Holder),
    /// There are too many names.
    Full,
    /// The node's instances have too many.
    NodeFull,
    /// Who has it, or has had it until it was unregistered.
    Holder(Option<Holder>),
    /// The names of each that has some, at most [`NAMES_OF_ONE_MAX`].
    Of(Vec<(InstanceId, Vec<String>)>),
    /// It is no name.
    NotAName {
        /// Its length.
        bytes: usize,
    },
    /// Whoever asks may not ask that, and nothing was done.
    Refused {
        /// Why.
        why: String,
    },
}

/// The names of a program.
#[derive(Debug, Default)]
pub struct Names {
    holders: BTreeMap<String, Holder>,
    /// The same, to be found when an instance or a node's life is over.
    by_instance: BTreeSet<(InstanceId, String)>,
    /// How many there are for each life of a node that has some.
    by_life: BTreeMap<Incarnation, usize>,
}

impl Names {
    /// Does what is asked.
    pub fn answer(&mut self, ask: NameAsk) -> NameAnswer {
        if let Some(Err(bytes)) = ask.name().map(check_name) {
            return NameAnswer::NotAName { bytes };
        }
        match ask {
            NameAsk::Register { name, holder } => self.register(name, holder),
            NameAsk::Whereis { name } => NameAnswer::Holder(self.holders.get(&name).cloned()),
            NameAsk::Unregister { name } => NameAnswer::Holder(self.unregister(name)),
            NameAsk::Ended { instances } => {
                for instance in instances {
                    self.free(instance, |of| of == instance);
                }
                NameAnswer::Done
            }
            NameAsk::Of { instances } => {
                let with_names = instances.into_iter().map(|instance| (instance, self.names_of(instance)));
                NameAnswer::Of(with_names.filter(|(_, names)| !names.is_empty()).collect())
            }
        }
    }

    /// A life of a node is over, and so is all that lived in it.
    pub fn life_over(&mut self, life: Incarnation) {
        self.free(InstanceId { node: life, count: 0 }, |of| of.node == life);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    fn register(&mut self, name: String, holder: Holder) -> NameAnswer {
        match self.holders.get(&name) {
            // Whoever did not hear the answer asks again.
            Some(has) if has.instance == holder.instance => NameAnswer::Done,
            Some(has) => NameAnswer::Taken(has.clone()),
            None if self.holders.len() >= NAMES_MAX => NameAnswer::Full,
            None if self.by_life.get(&holder.instance.node).is_some_and(|count| *count >= NODE_NAMES_MAX) => {
                NameAnswer::NodeFull
            }
            None => {
                *self.by_life.entry(holder.instance.node).or_default() += 1;
                self.by_instance.insert((holder.instance, name.clone()));
                self.holders.insert(name, holder);
                NameAnswer::Done
            }
        }
    }

    fn unregister(&mut self, name: String) -> Option<Holder> {
        let had = self.holders.remove(&name)?;
        self.remove(&(had.instance, name));
        Some(had)
    }

    /// Takes one out of all tables but the first.
    fn remove(&mut self, held: &(InstanceId, String)) {
        let life = held.0.node;
        if self.by_instance.remove(held)
            && let Some(count) = self.by_life.get_mut(&life)
        {
            *count -= 1;
            if *count == 0 {
                self.by_life.remove(&life);
            }
        }
    }

    fn names_of(&self, instance: InstanceId) -> Vec<String> {
        let from = self.by_instance.range((instance, String::new())..);
        let of_it = from.take_while(|(of, _)| *of == instance).take(NAMES_OF_ONE_MAX);
        of_it.map(|(_, name)| name.clone()).collect()
    }

    /// Frees all names of the instances that are meant, which are next to one another from the first one on.
    fn free(&mut self, first: InstanceId, is_meant: impl Fn(InstanceId) -> bool) {
        let from = self.by_instance.range((first, String::new())..);
        let held: Vec<_> = from.take_while(|(instance, _)| is_meant(*instance)).cloned().collect();
        for held in held {
            self.holders.remove(&held.1);
            self.remove(&held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(life: u64, count: u64) -> InstanceId {
        InstanceId { node: Incarnation(life), count }
    }

    /// An instance of `room` in a life of `node-1`.
    fn holder(life: u64, count: u64) -> Holder {
        Holder { instance: instance(life, count), module: "room".to_owned(), node: NodeName::new("node-1") }
    }

    fn register(names: &mut Names, name: &str, holder: Holder) -> NameAnswer {
        names.answer(NameAsk::Register { name: name.to_owned(), holder })
    }

    fn whereis(names: &mut Names, name: &str) -> Option<Holder> {
        match names.answer(NameAsk::Whereis { name: name.to_owned() }) {
            NameAnswer::Holder(holder) => holder,
            other => panic!("{other:?}"),
        }
    }

    fn unregister(names: &mut Names, name: &str) -> NameAnswer {
        names.answer(NameAsk::Unregister { name: name.to_owned() })
    }

    fn ended(names: &mut Names, instances: &[InstanceId]) -> NameAnswer {
        names.answer(NameAsk::Ended { instances: instances.to_vec() })
    }

    #[test]
    fn the_first_who_asks_has_the_name() {
        let mut names = Names::default();
        let rows = [
            ("lobby", holder(1, 1), NameAnswer::Done),
            ("lobby", holder(1, 2), NameAnswer::Taken(holder(1, 1))),
            // Of the same count, in another life.
            ("lobby", holder(2, 1), NameAnswer::Taken(holder(1, 1))),
            ("lobby", holder(1, 1), NameAnswer::Done),
            ("hall", holder(1, 1), NameAnswer::Done),
            ("Lobby", holder(1, 2), NameAnswer::Done),
        ];
        for (name, asks, answer) in rows {
            assert_eq!(register(&mut names, name, asks.clone()), answer, "{name} for {asks:?}");
        }
        assert_eq!(whereis(&mut names, "lobby"), Some(holder(1, 1)));
        assert_eq!(whereis(&mut names, "Lobby"), Some(holder(1, 2)));
        assert_eq!(whereis(&mut names, "attic"), None);
        assert_eq!(names.len(), 3, "asking twice takes no further place");
    }

    #[test]
    fn a_name_that_is_free_again_can_be_taken() {
        let free: [fn(&mut Names); 3] = [
            |names| assert_eq!(unregister(names, "lobby"), NameAnswer::Holder(Some(holder(1, 1)))),
            |names| assert_eq!(ended(names, &[instance(1, 1)]), NameAnswer::Done),
            |names| names.life_over(Incarnation(1)),
        ];
        for free in free {
            let mut names = Names::default();
            assert_eq!(register(&mut names, "lobby", holder(1, 1)), NameAnswer::Done);
            free(&mut names);
            assert_eq!((whereis(&mut names, "lobby"), names.is_empty()), (None, true));
            assert_eq!(register(&mut names, "lobby", holder(2, 1)), NameAnswer::Done);
            // The end of the one that had it takes nothing from the one that has it.
            ended(&mut names, &[instance(1, 1)]);
            names.life_over(Incarnation(1));
            assert_eq!(whereis(&mut names, "lobby"), Some(holder(2, 1)));
            assert_eq!((names.by_instance.len(), names.by_life.len()), (1, 1));
        }
    }

    #[test]
    fn an_end_frees_all_names_of_those_that_ended_and_no_others() {
        let mut names = Names::default();
        let of = [("a", 1, 1), ("b", 1, 2), ("c", 1, 2), ("d", 1, 3), ("e", 2, 2), ("f", 3, 1)];
        for (name, life, count) in of {
            register(&mut names, name, holder(life, count));
        }
        let left = |names: &mut Names| {
            let is_left = |(name, _, _): &(&'static str, u64, u64)| whereis(names, name).map(|_| *name);
            of.iter().filter_map(is_left).collect::<String>()
        };
        ended(&mut names, &[instance(9, 9), instance(1, 2)]);
        assert_eq!(left(&mut names), "adef");
        names.life_over(Incarnation(2));
        assert_eq!(left(&mut names), "adf");
        names.life_over(Incarnation(1));
        assert_eq!(left(&mut names), "f");
        assert_eq!(unregister(&mut names, "a"), NameAnswer::Holder(None));
        assert_eq!((names.len(), names.by_instance.len(), names.by_life.len()), (1, 1, 1));
    }

    #[test]
    fn names_are_bounded_for_each_node_and_for_all_and_the_next_one_waits_for_a_free_one() {
        let mut names = Names::default();
        let half = NODE_NAMES_MAX as u64;
        for count in 0..half {
            assert_eq!(register(&mut names, &count.to_string(), holder(1, count)), NameAnswer::Done);
        }
        assert_eq!(register(&mut names, "lobby", holder(1, 1)), NameAnswer::NodeFull);
        // What it has it may ask for again, and others have their room.
        assert_eq!(register(&mut names, "7", holder(1, 7)), NameAnswer::Done);
        for count in half..2 * half {
            assert_eq!(register(&mut names, &count.to_string(), holder(2, count)), NameAnswer::Done);
        }
        assert_eq!(names.len(), NAMES_MAX);
        assert_eq!(register(&mut names, "lobby", holder(3, 1)), NameAnswer::Full);
        assert_eq!(register(&mut names, "7", holder(3, 1)), NameAnswer::Taken(holder(1, 7)));
        ended(&mut names, &[instance(1, 7)]);
        assert_eq!(register(&mut names, "lobby", holder(1, 1)), NameAnswer::Done);
        names.life_over(Incarnation(1));
        assert_eq!(register(&mut names, "hall", holder(4, 1)), NameAnswer::Done);
    }

    #[test]
    fn what_comes_over_a_wire_is_checked() {
        let (node, life) = (NodeName::new("node-1"), Incarnation(1));
        let named = |name: &str, holder: Holder| NameAsk::Register { name: name.to_owned(), holder };
        let elsewhere = Holder { node: NodeName::new("node-2"), ..holder(1, 1) };
        let unknown = Holder { module: "cellar".repeat(NAME_BYTES_MAX), ..holder(1, 1) };
        let many = |count: usize| vec![instance(1, 1); count];
        let rows = [
            (named("lobby", holder(1, 1)), None),
            (named("lobby", holder(2, 1)), Some("in another life")),
            (named("lobby", elsewhere), Some("node-2")),
            (named("lobby", unknown), Some("what cannot be a module")),
            (NameAsk::Unregister { name: "lobby".to_owned() }, None),
            (NameAsk::Ended { instances: many(ENDED_MAX) }, None),
            (NameAsk::Ended { instances: many(ENDED_MAX + 1) }, Some("1024 ends")),
            (NameAsk::Ended { instances: vec![instance(1, 1), instance(2, 1)] }, Some("not its own")),
            (NameAsk::Of { instances: vec![instance(2, 1); OF_MAX] }, None),
            (NameAsk::Of { instances: many(OF_MAX + 1) }, Some("1024 instances")),
        ];
        for (ask, refused) in rows {
            let why = match ask.check(&node, life) {
                Ok(()) => None,
                Err(NameAnswer::Refused { why }) => Some(why),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(why.is_some(), refused.is_some(), "{ask:?}: {why:?}");
            assert!(why.unwrap_or_default().contains(refused.unwrap_or_default()), "{ask:?}");
        }
        let mut names = Names::default();
        for name in ["", &"s".repeat(NAME_BYTES_MAX + 1)] {
            let not = NameAnswer::NotAName { bytes: name.len() };
            let asks = [named(name, holder(1, 1)), NameAsk::Whereis { name: name.to_owned() }];
            for ask in asks.into_iter().chain([NameAsk::Unregister { name: name.to_owned() }]) {
                assert_eq!(names.answer(ask), not);
            }
        }
        assert!(names.is_empty());
    }

    #[test]
    fn the_names_of_an_instance_are_told_up_to_a_bound() {
        let mut names = Names::default();
        for (name, count) in [("hall", 1), ("lobby", 1), ("attic", 3)] {
            register(&mut names, name, holder(1, count));
        }
        for n in 0..2 * NAMES_OF_ONE_MAX {
            register(&mut names, &format!("door {n}"), holder(1, 2));
        }
        let asked = NameAsk::Of { instances: [1, 2, 4].map(|count| instance(1, count)).to_vec() };
        let NameAnswer::Of(told) = names.answer(asked) else { panic!("names are told") };
        assert_eq!(told[0], (instance(1, 1), vec!["hall".to_owned(), "lobby".to_owned()]));
        assert_eq!((told[1].0, told[1].1.len(), told.len()), (instance(1, 2), NAMES_OF_ONE_MAX, 2));
    }
}
