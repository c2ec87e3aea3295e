use serde::{Deserialize, Serialize};
use skybox::Result;

#[derive(Serialize, Deserialize)]
struct Stream {
    name: String,
}

type Lines = skybox::Stream<String>;

#[skybox::task]
async fn follow(stream: Stream) -> Result<()> {
    drop(stream.name);
    Ok(())
}

#[skybox::task]
async fn read(lines: Lines) -> Result<()> {
    drop(lines);
    Ok(())
}

fn main() {}
