use skybox::Result;

#[derive(Default)]
struct Generous;

#[skybox::module]
impl Generous {
    pub async fn len(&self) -> Result<u32> {
        Ok(0)
    }

    async fn stop(self) -> u32 {
        0
    }
}

fn main() {}
