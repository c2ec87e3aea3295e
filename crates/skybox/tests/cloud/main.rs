//! A cloud of real processes that agree through a real etcd: nodes find each other, what they run is placed and moved while
//! calls go on, and nodes are killed, stopped and drained.
//!
//! Each test starts its own binary again for every node, told to run that one test; there [`node::play`] makes the process
//! a node.

#![expect(unreachable_pub, reason = "`pub` is what makes a method part of a module's interface")]

mod deaths;
mod etcd;
mod node;
#[path = "../played/mod.rs"]
mod played;

use skybox::App;

/// Two instances, wherever there is room; any of them answers.
#[derive(Debug)]
pub struct Catalog {
    node: String,
}

#[skybox::module(replicas = 2)]
impl Catalog {
    async fn start(app: &App) -> skybox::Result<Catalog> {
        Ok(Catalog { node: app.node().to_string() })
    }

    /// May be asked twice.
    #[idempotent]
    pub async fn page(&self, n: u64) -> skybox::Result<(u64, String)> {
        Ok((n, self.node.clone()))
    }

    /// May not.
    pub async fn order(&self, n: u64) -> skybox::Result<u64> {
        tokio::task::yield_now().await;
        Ok(n)
    }
}

/// One instance for each name.
#[derive(Debug)]
pub struct Cart {
    node: String,
    total: u64,
}

#[skybox::module(keyed)]
impl Cart {
    async fn start(app: &App, _user: &str) -> skybox::Result<Cart> {
        Ok(Cart { node: app.node().to_string(), total: 0 })
    }

    /// What is in it now, and where that is.
    pub async fn add(&mut self, n: u64) -> skybox::Result<(u64, String)> {
        self.total += n;
        Ok((self.total, self.node.clone()))
    }
}

/// On every node.
#[skybox::task(replicas = "per-node")]
pub async fn double(n: u64) -> skybox::Result<u64> {
    Ok(2 * n)
}
