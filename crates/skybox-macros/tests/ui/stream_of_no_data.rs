use std::net::TcpStream;

use skybox::{Result, Stream};

#[derive(Default)]
struct Pipes;

#[skybox::module]
impl Pipes {
    pub async fn connect(&self, _sockets: Stream<TcpStream>) -> Result<()> {
        Ok(())
    }

    pub async fn accept(&self) -> Result<Stream<TcpStream>> {
        Ok(Stream::channel(1).1)
    }
}

fn main() {}
