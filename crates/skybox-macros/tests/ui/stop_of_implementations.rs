use skybox::{App, Result};

#[skybox::module]
trait Scales {
    async fn weigh(&self) -> Result<u32>;
}

#[derive(Default)]
struct Silent;

#[skybox::module(stop_wait = "30s")]
impl Scales for Silent {
    async fn weigh(&self) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
struct Generous;

impl Generous {
    async fn stop(self) -> u32 {
        0
    }
}

#[skybox::module]
impl Scales for Generous {
    async fn weigh(&self) -> Result<u32> {
        Ok(0)
    }
}

#[derive(Default)]
struct Curious;

impl Curious {
    async fn stop(self, _app: &App, _why: &str) {}
}

#[skybox::module]
impl Scales for Curious {
    async fn weigh(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
