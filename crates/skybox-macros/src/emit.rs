//! [`crate::model`] to tokens: statics that describe, functions that forward, no logic.
//!
//! Names of what is written here end in a way that users' own names seldom do (`GET_CALL`, `CatalogProxy`,
//! `skybox_rt`), because items have no hygiene: one called `rt` or `Task` would hide the user's. Paths into the
//! standard library are written out for the same reason.

mod annotations;
mod candidate;
mod interface;
mod method;
mod module;
mod task;
mod test;
mod wire_error;

pub(crate) use candidate::candidate;
pub(crate) use interface::interface;
pub(crate) use module::module;
pub(crate) use task::task;
pub(crate) use test::test;
pub(crate) use wire_error::wire_error;
