//! A cloud of real processes that agree through a real etcd: nodes find each other, what they run is placed and moved while
//! calls go on, and nodes are killed, stopped and drained.
//!
//! Each test starts its own binary again for every node, told to run that one test; there [`node::play`] makes the process
//! a node.

#![expect(unreachable_pub, reason = "`pub` is what makes a method part of a module's interface")]

mod balanced;
mod balancer;
mod deaths;
mod distance;
mod etcd;
mod hosts;
mod ledger;
mod node;
mod outages;
mod pauses;
#[allow(dead_code, reason = "two tests use it, each a part of it")]
mod played;
mod ranges;
mod runs;

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
    user: String,
    instance: String,
    total: u64,
}

#[skybox::module(keyed)]
impl Cart {
    async fn start(app: &App, user: &str) -> skybox::Result<Cart> {
        let instance = runs::instance(app.node());
        Ok(Cart { node: app.node().to_string(), user: user.to_owned(), instance, total: 0 })
    }

    /// What is in it now, and where that is.
    pub async fn add(&mut self, n: u64) -> skybox::Result<(u64, String)> {
        runs::note(&self.instance, &self.user);
        self.total += n;
        Ok((self.total, self.node.clone()))
    }
}

/// As a cart, whatever becomes of the store.
#[derive(Debug)]
pub struct Saved {
    total: u64,
}

#[skybox::module(keyed, on_store_loss = "continue")]
impl Saved {
    async fn start(_app: &App, _user: &str) -> skybox::Result<Saved> {
        Ok(Saved { total: 0 })
    }

    pub async fn add(&mut self, n: u64) -> skybox::Result<u64> {
        self.total += n;
        Ok(self.total)
    }
}

/// On every node.
#[skybox::task(replicas = "per-node")]
pub async fn double(n: u64) -> skybox::Result<u64> {
    Ok(2 * n)
}
