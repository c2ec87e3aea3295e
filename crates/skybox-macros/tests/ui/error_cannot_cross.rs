#[derive(Default)]
struct Files;

#[skybox::module]
impl Files {
    pub async fn len(&self, path: &str) -> Result<u64, std::io::Error> {
        Ok(path.len() as u64)
    }
}

fn main() {}
