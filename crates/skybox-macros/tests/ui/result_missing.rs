#[derive(Default)]
struct Counter {
    count: u32,
}

#[skybox::module]
impl Counter {
    pub fn count(&self) -> u32 {
        self.count
    }
}

fn main() {}
