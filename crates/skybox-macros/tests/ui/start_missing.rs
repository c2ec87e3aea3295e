use skybox::Result;

struct Counter {
    count: u32,
}

#[skybox::module]
impl Counter {
    pub async fn count(&self) -> Result<u32> {
        Ok(self.count)
    }
}

fn main() {}
