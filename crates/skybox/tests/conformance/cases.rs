//! The cases, by what the sentences they pin speak of.

pub mod awake;
pub mod cancellation;
pub mod context;
pub mod crashes;
pub mod deadlines;
pub mod delivery;
pub mod errors;
pub mod failures;
pub mod handles;
pub mod holds;
pub mod interfaces;
pub mod itself;
pub mod kills;
pub mod links;
pub mod names;
pub mod order;
pub mod reentrancy;
pub mod silence;
pub mod spawned;
pub mod stops;
pub mod streams;
pub mod supervisors;
pub mod values;
pub mod versions;
