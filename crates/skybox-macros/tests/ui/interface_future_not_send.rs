use std::rc::Rc;

use skybox::{Handle, Result};

#[skybox::module]
trait Payments {
    async fn pay(&self) -> Result<u32>;
}

struct Fake;

impl Payments for Fake {
    async fn pay(&self) -> Result<u32> {
        let cents = Rc::new(1);
        std::future::ready(()).await;
        Ok(*cents)
    }
}

struct Stranger;

fn main() {
    Handle::<dyn Payments>::from_impl(Stranger);
}
