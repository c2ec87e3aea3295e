//! A value whose bytes say how it goes on, for every check of the codec.

use serde::{Deserialize, Serialize};

/// A recursive type, of which a byte makes a node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Tree {
    Leaf,
    Number(i32),
    Text(String),
    Branch(Box<Tree>, Box<Tree>),
    Many(Vec<Tree>),
    Next { next: Option<Box<Tree>> },
}
