//! Who has which name: one instance for each, in the whole program.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skybox_core::{InstanceId, NodeName};

/// Bytes of a name, at most; at least there is one.
pub const NAME_BYTES_MAX: usize = 255;
/// Names of the instances of one node: beyond, registering is refused. At their longest they take 100 MiB of the node.
pub const NAMES_MAX: usize = 1 << 17;
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
    /// This instance wants the name: asked by its node.
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
    /// Which names have these?
    Of {
        /// Which ones, at most [`OF_MAX`].
        instances: Vec<InstanceId>,
    },
}

impl NameAsk {
    /// The name that is spoken of.
    fn name(&self) -> Option<&str> {
        match self {
            NameAsk::Register { name, .. } | NameAsk::Whereis { name } | NameAsk::Unregister { name } => {
                Some(name)
            }
            NameAsk::Of { .. } => None,
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
    /// The node's instances have too many.
    Full,
    /// Who has it, or has had it until it was unregistered.
    Holder(Option<Holder>),
    /// The names of each that has some, at most [`NAMES_OF_ONE_MAX`].
    Of(Vec<(InstanceId, Vec<String>)>),
    /// It is no name.
    NotAName {
        /// Its length.
        bytes: usize,
    },
}

/// The names of a program that is one process.
#[derive(Debug, Default)]
pub struct Names {
    holders: BTreeMap<String, Holder>,
    /// The same, to be found when an instance has ended.
    by_instance: BTreeSet<(InstanceId, String)>,
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
            NameAsk::Of { instances } => {
                let with_names = instances.into_iter().map(|instance| (instance, self.names_of(instance)));
                NameAnswer::Of(with_names.filter(|(_, names)| !names.is_empty()).collect())
            }
        }
    }

    /// Nothing is left of this instance: its names are free.
    pub fn ended(&mut self, instance: InstanceId) {
        let from = self.by_instance.range((instance, String::new())..);
        let held: Vec<_> = from.take_while(|(of, _)| *of == instance).cloned().collect();
        for held in held {
            self.holders.remove(&held.1);
            self.by_instance.remove(&held);
        }
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
            None => {
                self.by_instance.insert((holder.instance, name.clone()));
                self.holders.insert(name, holder);
                NameAnswer::Done
            }
        }
    }

    fn unregister(&mut self, name: String) -> Option<Holder> {
        let had = self.holders.remove(&name)?;
        self.by_instance.remove(&(had.instance, name));
        Some(had)
    }

    fn names_of(&self, instance: InstanceId) -> Vec<String> {
        let from = self.by_instance.range((instance, String::new())..);
        let of_it = from.take_while(|(of, _)| *of == instance).take(NAMES_OF_ONE_MAX);
        of_it.map(|(_, name)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use skybox_core::Incarnation;

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
        let free: [fn(&mut Names); 2] = [
            |names| assert_eq!(unregister(names, "lobby"), NameAnswer::Holder(Some(holder(1, 1)))),
            |names| names.ended(instance(1, 1)),
        ];
        for free in free {
            let mut names = Names::default();
            assert_eq!(register(&mut names, "lobby", holder(1, 1)), NameAnswer::Done);
            free(&mut names);
            assert_eq!((whereis(&mut names, "lobby"), names.is_empty()), (None, true));
            assert_eq!(register(&mut names, "lobby", holder(1, 2)), NameAnswer::Done);
            // The end of the one that had it takes nothing from the one that has it.
            names.ended(instance(1, 1));
            assert_eq!(whereis(&mut names, "lobby"), Some(holder(1, 2)));
            assert_eq!(names.by_instance.len(), 1);
        }
    }

    #[test]
    fn an_end_frees_all_names_of_the_one_that_ended_and_no_others() {
        let mut names = Names::default();
        let of = [("a", 1), ("b", 2), ("c", 2), ("d", 3)];
        for (name, count) in of {
            register(&mut names, name, holder(1, count));
        }
        names.ended(instance(9, 9));
        names.ended(instance(1, 2));
        let left = of.iter().filter_map(|(name, _)| whereis(&mut names, name).map(|_| *name));
        assert_eq!(left.collect::<String>(), "ad");
        assert_eq!(unregister(&mut names, "b"), NameAnswer::Holder(None));
        assert_eq!((names.len(), names.by_instance.len()), (2, 2));
    }

    #[test]
    fn names_are_bounded_and_the_next_one_waits_for_a_free_one() {
        let mut names = Names::default();
        for count in 0..NAMES_MAX as u64 {
            assert_eq!(register(&mut names, &count.to_string(), holder(1, count)), NameAnswer::Done);
        }
        assert_eq!(register(&mut names, "lobby", holder(1, 1)), NameAnswer::Full);
        // What it has it may ask for again.
        assert_eq!(register(&mut names, "7", holder(1, 7)), NameAnswer::Done);
        assert_eq!(register(&mut names, "7", holder(1, 1)), NameAnswer::Taken(holder(1, 7)));
        names.ended(instance(1, 7));
        assert_eq!(register(&mut names, "lobby", holder(1, 1)), NameAnswer::Done);
    }

    #[test]
    fn what_is_no_name_is_not_taken_for_one() {
        let mut names = Names::default();
        for name in ["", &"s".repeat(NAME_BYTES_MAX + 1)] {
            let not = NameAnswer::NotAName { bytes: name.len() };
            assert_eq!(register(&mut names, name, holder(1, 1)), not);
            assert_eq!(names.answer(NameAsk::Whereis { name: name.to_owned() }), not);
            assert_eq!(unregister(&mut names, name), not);
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
