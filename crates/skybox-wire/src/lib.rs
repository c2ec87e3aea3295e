//! .

pub mod codec;
