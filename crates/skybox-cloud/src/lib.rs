//! Nodes that form one cloud.
//!
//! Today that is the [`parent`] of one machine: it starts the same binary as several nodes, gives each listener's
//! one socket to those that serve it, plans what runs where, and replaces what dies. It is what `skybox run` and
//! `SKYBOX_NODES=3 ./program` are made of, and [`testing`] starts nodes from a test with it.
//!
//! What nodes of many machines are to agree on is in a [`store`].
//!
//! It carries no call: nodes talk to each other. A program whose parent is killed ends, so that nothing is left
//! behind that nobody plans for.

#[cfg(feature = "certs")]
pub mod certs;
pub mod client;
pub mod history;
mod leader;
pub mod member;
pub mod near;
pub mod parent;
pub mod records;
mod reports;
pub mod running;
pub mod runtime_dir;
pub mod store;
pub mod testing;

use std::sync::Arc;

use skybox_node::control::{Control, Membership};
use skybox_node::parenthood::{Family, Parenthood};

use member::Member;
use parent::{Launch, Parent, ParentConfig};

inventory::submit! {
    Parenthood { run: |family| Box::pin(run_this_program(family)) }
}

inventory::submit! {
    Membership { join: |joining| Box::pin(async move {
        let member = Member::enter(joining, any_part).await?;
        Ok(Arc::new(member) as Arc<dyn Control>)
    }) }
}

/// A number from 0 to 1 that differs from process to process and from moment to moment.
fn any_part() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0u8);
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// A node's name.
pub fn node_name(name: &str) -> skybox_core::NodeName {
    skybox_core::NodeName::new(name)
}

/// Runs this very program as several nodes; resolves when it has ended.
async fn run_this_program(family: Family) -> Result<i32, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("this program's own file is unknown: {error}"))?;
    let launch = Launch { program, arguments: std::env::args_os().skip(1).collect() };
    let config = ParentConfig::new(launch, family.nodes, family.config);
    let parent = Parent::start(config).await.map_err(|error| skybox_core::TextChain::of(&error).joined())?;
    Ok(parent.run_to_end().await)
}
