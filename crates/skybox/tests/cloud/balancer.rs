//! A balancer as programs have one before them: it asks each server whether it is ready, and gives new connections to those
//! that are.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How often each server is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long an answer may take.
const ASK_WAIT: Duration = Duration::from_secs(2);

/// A running balancer. It goes on until its runtime ends.
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Where each serves pages, and where it says whether it is ready.
    servers: Vec<(SocketAddr, SocketAddr)>,
    ready: Mutex<BTreeSet<usize>>,
    next: AtomicUsize,
    sent_on: AtomicU64,
}

impl Balancer {
    /// Starts one for these servers: where each serves pages, and where it says whether it is ready.
    pub async fn start(servers: Vec<(SocketAddr, SocketAddr)>) -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            servers,
            ready: Mutex::default(),
            next: AtomicUsize::default(),
            sent_on: AtomicU64::default(),
        });
        for at in 0..shared.servers.len() {
            tokio::spawn(ask(shared.clone(), at));
        }
        let accepting = shared.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("there are descriptors");
                tokio::spawn(accepting.clone().carry(stream));
            }
        });
        Balancer { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who is ready.
    pub fn ready(&self) -> BTreeSet<usize> {
        self.shared.ready().clone()
    }

    /// Connections that one server has refused, and another one has taken.
    pub fn sent_on(&self) -> u64 {
        self.shared.sent_on.load(Ordering::Relaxed)
    }
}

/// Asks a server without end.
async fn ask(shared: Arc<Shared>, at: usize) {
    loop {
        let answered = tokio::time::timeout(ASK_WAIT, get(shared.servers[at].1, "/readyz")).await;
        if matches!(answered, Ok(Ok((200, _)))) {
            shared.ready().insert(at);
        } else {
            shared.ready().remove(&at);
        }
        // Sleeps because that is how often it asks.
        tokio::time::sleep(ASK_EVERY).await;
    }
}

impl Shared {
    fn ready(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.ready.lock().expect("nobody panics under it")
    }

    /// Gives a connection to one that is ready, in turn; to the next one if that refuses it. Nothing has been sent then.
    async fn carry(self: Arc<Shared>, mut from: TcpStream) {
        let ready: Vec<_> = self.ready().iter().copied().collect();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for n in 0..ready.len() {
            let at = ready[(first + n) % ready.len()];
            if let Ok(mut to) = TcpStream::connect(self.servers[at].0).await {
                self.sent_on.fetch_add(u64::from(n > 0), Ordering::Relaxed);
                // Whichever end breaks off, the visitor sees it.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                return;
            }
        }
    }
}

/// Asks for a page: its status, and what it says.
pub async fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let no_answer = || std::io::Error::other(format!("it has answered {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_answer)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(no_answer)?;
    Ok((status, body.to_owned()))
}
