use std::io;

use skybox::{Result, Stream};

#[skybox::task]
async fn read(lines: Stream<String, io::Error>) -> Result<()> {
    drop(lines);
    Ok(())
}

fn main() {}
