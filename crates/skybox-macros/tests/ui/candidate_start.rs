use skybox::{App, Result};

#[skybox::module]
trait Payments {
    async fn pay(&self) -> Result<u32>;
}

#[skybox::module(keyed = str)]
trait Accounts {
    async fn balance(&self) -> Result<u32>;
}

struct Nothing(u32);

#[skybox::module]
impl Payments for Nothing {
    async fn pay(&self) -> Result<u32> {
        Ok(self.0)
    }
}

struct Other(u32);

impl Other {
    async fn start(_app: &App) -> Result<u32> {
        Ok(0)
    }
}

#[skybox::module]
impl Payments for Other {
    async fn pay(&self) -> Result<u32> {
        Ok(self.0)
    }
}

struct KeyUnknown(u32);

#[skybox::module(keyed)]
impl Accounts for KeyUnknown {
    async fn balance(&self) -> Result<u32> {
        Ok(self.0)
    }
}

fn main() {}
