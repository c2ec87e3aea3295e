//! Clouds to try the plan on, and what would be best on small ones: for tests and `cargo xtask bench plan`.

mod clouds;
mod optimum;

pub use clouds::{Draw, large, small};
pub use optimum::{Measure, gap_percent, measure, optimum};
