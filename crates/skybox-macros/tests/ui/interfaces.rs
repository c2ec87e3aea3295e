use skybox::Result;

#[skybox::module]
trait Generic<T> {
    async fn get(&self) -> Result<u32>;
}

#[skybox::module]
trait Members {
    type Item;
    const SIZE: u32;
    async fn get(&self) -> Result<u32>;
}

#[skybox::module]
trait Signatures {
    fn sync(&self) -> Result<u32>;
    fn future(&self) -> impl Future<Output = Result<u32>> + Send;
    async fn nothing(&self);
    async fn merge(&mut self, other: Self) -> Result<u32>;
    async fn split(&mut self) -> Result<Box<Self>>;
    async fn make() -> Result<u32>;
    async fn with(&self) -> Result<u32>;
    async fn start(&self) -> Result<u32>;
    async fn stop(&self) -> Result<u32>;
}

#[skybox::module]
trait Cloned: Clone {
    async fn get(&self) -> Result<u32>;
}

#[skybox::module(replicas = 2)]
trait Many {
    async fn get(&self) -> Result<u32>;
}

#[skybox::module(keyed)]
trait Keyed {
    async fn get(&self) -> Result<u32>;
}

trait Plain {
    async fn get(&self) -> Result<u32>;
}

struct Marked;

#[skybox::module]
impl Plain for Marked {
    #[idempotent]
    async fn get(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
