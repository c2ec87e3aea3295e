use std::cell::Cell;

use skybox::Result;

#[derive(Default)]
struct Counter {
    count: Cell<u32>,
}

#[skybox::module]
impl Counter {
    pub async fn add(&self) -> Result<u32> {
        self.count.set(self.count.get() + 1);
        Ok(self.count.get())
    }
}

fn main() {}
