use serde::{Deserialize, Serialize};
use skybox::{Result, Stream};

#[derive(Serialize, Deserialize)]
struct Upload {
    name: String,
    body: Stream<Vec<u8>>,
}

#[skybox::task]
async fn store(upload: Upload) -> Result<()> {
    drop((upload.name, upload.body));
    Ok(())
}

fn main() {}
