use skybox::Result;

struct Socket;

#[skybox::task]
async fn send(socket: Socket) -> Result<()> {
    drop(socket);
    Ok(())
}

fn main() {}
