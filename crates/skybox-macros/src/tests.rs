//! Expansions as a reader would see them, and refusals as a user would.

mod expansions;
mod refusals;
