use skybox::{App, Result};

#[skybox::module]
trait Payments {
    async fn pay(&self) -> Result<u32>;
}

struct Stripe;

impl Payments for Stripe {
    async fn pay(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {
    let _ = App::builder().candidate::<Stripe>();
}
