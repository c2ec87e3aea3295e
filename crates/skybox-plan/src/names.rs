//! Who has which name: one instance for each, in the whole program.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skybox_core::{Incarnation, InstanceId, NodeName};

/// Bytes of a name, at most; at least there is one.
pub const NAME_BYTES_MAX: usize = 255;
/// Names of one program: beyond, registering is refused. At their longest they take 200 MiB of whoever keeps them.
pub const NAMES_MAX: usize = 1 << 18;

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
    /// Nothing is left of this instance.
    Ended {
        /// Which one.
        instance: InstanceId,
    },
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
    /// Who has it, or has had it until it was unregistered.
    Holder(Option<Holder>),
}

/// The names of a program.
#[derive(Debug, Default)]
pub struct Names {
    holders: BTreeMap<String, Holder>,
    /// The same, to be found when an instance or a node's life is over.
    by_instance: BTreeSet<(InstanceId, String)>,
}

impl Names {
    /// Does what is asked.
    pub fn answer(&mut self, ask: NameAsk) -> NameAnswer {
        match ask {
            NameAsk::Register { name, holder } => self.register(name, holder),
            NameAsk::Whereis { name } => NameAnswer::Holder(self.holders.get(&name).cloned()),
            NameAsk::Unregister { name } => NameAnswer::Holder(self.unregister(name)),
            NameAsk::Ended { instance } => {
                self.free(instance, |of| of == instance);
                NameAnswer::Done
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

    /// Frees all names of the instances that are meant, which are next to one another from the first one on.
    fn free(&mut self, first: InstanceId, is_meant: impl Fn(InstanceId) -> bool) {
        let from = self.by_instance.range((first, String::new())..);
        let held: Vec<_> = from.take_while(|(instance, _)| is_meant(*instance)).cloned().collect();
        for held in held {
            self.holders.remove(&held.1);
            self.by_instance.remove(&held);
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
            |names| assert_eq!(names.answer(NameAsk::Ended { instance: instance(1, 1) }), NameAnswer::Done),
            |names| names.life_over(Incarnation(1)),
        ];
        for free in free {
            let mut names = Names::default();
            assert_eq!(register(&mut names, "lobby", holder(1, 1)), NameAnswer::Done);
            free(&mut names);
            assert_eq!((whereis(&mut names, "lobby"), names.is_empty()), (None, true));
            assert_eq!(register(&mut names, "lobby", holder(2, 1)), NameAnswer::Done);
            // The end of the one that had it takes nothing from the one that has it.
            names.answer(NameAsk::Ended { instance: instance(1, 1) });
            names.life_over(Incarnation(1));
            assert_eq!(whereis(&mut names, "lobby"), Some(holder(2, 1)));
            assert_eq!(names.by_instance.len(), 1);
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
        names.answer(NameAsk::Ended { instance: instance(1, 2) });
        assert_eq!(left(&mut names), "adef");
        names.life_over(Incarnation(2));
        assert_eq!(left(&mut names), "adf");
        names.life_over(Incarnation(1));
        assert_eq!(left(&mut names), "f");
        assert_eq!(unregister(&mut names, "a"), NameAnswer::Holder(None));
        assert_eq!((names.len(), names.by_instance.len()), (1, 1));
    }

    #[test]
    fn names_are_bounded_and_the_next_one_waits_for_a_free_one() {
        let mut names = Names::default();
        for count in 0..NAMES_MAX as u64 {
            assert_eq!(register(&mut names, &count.to_string(), holder(1, count)), NameAnswer::Done);
        }
        assert_eq!(register(&mut names, "lobby", holder(2, 1)), NameAnswer::Full);
        assert_eq!(register(&mut names, "7", holder(2, 1)), NameAnswer::Taken(holder(1, 7)));
        names.answer(NameAsk::Ended { instance: instance(1, 7) });
        assert_eq!(register(&mut names, "lobby", holder(2, 1)), NameAnswer::Done);
    }
}
