use skybox::{App, Result};

#[skybox::module]
trait Payments {
    async fn pay(&self) -> Result<u32>;
}

#[skybox::module(keyed = str)]
trait Accounts {
    async fn balance(&self) -> Result<u32>;
}

struct Stripe;

impl Stripe {
    fn start(_app: &App, _key: &()) -> Stripe {
        Stripe
    }
}

#[skybox::module(keyed)]
impl Payments for Stripe {
    async fn pay(&self) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
struct Ledger;

#[skybox::module]
impl Accounts for Ledger {
    async fn balance(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
