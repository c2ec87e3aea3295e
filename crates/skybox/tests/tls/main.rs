//! TLS between nodes that are real processes: who is let in, what each refusal says on both sides, certificates that
//! change under load, and those who only knock.
//!
//! Each test starts its own binary again for every node, told to run that one test; there [`node::play`] makes the
//! process a node. Nodes know each other by hand; `a` has the module that `b` calls.

#![expect(unreachable_pub, reason = "`pub` is what makes a method part of a module's interface")]

mod certs;
mod half_open;
mod hostile;
mod node;
mod operators;
#[allow(dead_code, reason = "two tests use it, each a part of it")]
#[path = "../cloud/played.rs"]
mod played;
mod refusals;
mod rotation;
mod stranger;
mod strangers;

/// What `b` calls.
#[derive(Debug, Default)]
pub struct Echo;

#[skybox::module]
impl Echo {
    pub async fn echo(&self, n: u64) -> skybox::Result<u64> {
        Ok(n)
    }
}
