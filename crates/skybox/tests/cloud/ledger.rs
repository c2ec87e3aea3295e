//! A module that makes transactions of four round trips, where its database is closest.

use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicUsize, Ordering};

use skybox::App;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// Connections of one instance: as many calls are under way beside one another.
const CONNECTIONS: usize = 40;

/// Transactions in a real Postgres.
#[derive(Debug)]
pub struct Ledger {
    node: String,
    connections: Vec<Mutex<TcpStream>>,
    next: AtomicUsize,
}

#[skybox::module(near = "db")]
impl Ledger {
    async fn start(app: &App) -> skybox::Result<Ledger> {
        let node = app.node().to_string();
        // The other tests here have no database, and call nothing of it.
        let Ok(address) = std::env::var("SKYBOX_RESOURCES__DB__ADDRESS") else {
            return Ok(Ledger { node, connections: Vec::new(), next: AtomicUsize::new(0) });
        };
        let address = address.to_socket_addrs()?.next().ok_or_else(|| skybox::Error::msg("no address"))?;
        let connecting = (0..CONNECTIONS).map(|_| tokio::spawn(connect(address)));
        let mut connections = Vec::new();
        for connection in connecting.collect::<Vec<_>>() {
            connections.push(Mutex::new(connection.await??));
        }
        Ok(Ledger { node, connections, next: AtomicUsize::new(0) })
    }

    /// One transaction; says where it was made.
    #[idempotent]
    pub async fn pay(&self) -> skybox::Result<String> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let mut connection = self.connections[at].lock().await;
        for query in ["BEGIN", "SELECT 1", "SELECT 2", "COMMIT"] {
            ask(&mut connection, query).await?;
        }
        Ok(self.node.clone())
    }
}

async fn connect(address: std::net::SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // https://www.postgresql.org/docs/15/protocol-message-formats.html: StartupMessage, version 3.0.
    let parameters = b"user\0postgres\0database\0postgres\0\0";
    let mut hello = (8 + parameters.len() as u32).to_be_bytes().to_vec();
    hello.extend_from_slice(&196_608u32.to_be_bytes());
    hello.extend_from_slice(parameters);
    stream.write_all(&hello).await?;
    until_ready(&mut stream).await?;
    Ok(stream)
}

async fn ask(stream: &mut TcpStream, query: &str) -> std::io::Result<()> {
    let mut message = vec![b'Q'];
    message.extend_from_slice(&(5 + query.len() as u32).to_be_bytes());
    message.extend_from_slice(query.as_bytes());
    message.push(0);
    stream.write_all(&message).await?;
    until_ready(stream).await
}

/// Reads messages up to `ReadyForQuery`.
async fn until_ready(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_u32().await?;
        let mut body = vec![0; length.saturating_sub(4) as usize];
        stream.read_exact(&mut body).await?;
        match kind {
            b'Z' => return Ok(()),
            b'E' => return Err(std::io::Error::other(String::from_utf8_lossy(&body).into_owned())),
            _ => {}
        }
    }
}
