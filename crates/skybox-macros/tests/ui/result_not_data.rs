use skybox::Result;

struct Socket;

#[derive(Default)]
struct Sockets;

#[skybox::module]
impl Sockets {
    pub async fn open(&self) -> Result<Socket> {
        Ok(Socket)
    }
}

fn main() {}
