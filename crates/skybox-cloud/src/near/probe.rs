//! Probes: what is asked of a resource when no connection of the program tells how far away it is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skybox_node::config::Probe;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Method, Unknown, kernel};

/// So many addresses of a name are tried, in the order in which they were given.
const ADDRESSES_TRIED_MAX: usize = 4;

/// Between connecting and asking Postgres. It starts a process for each connection, which takes a millisecond or more:
/// with this pause the answer takes as long as the way there and back, not as that.
const UNTIL_IT_LISTENS: Duration = Duration::from_millis(50);

/// Asks Postgres whether it would encrypt by GSSAPI; it answers with one letter, before it knows who asks. Beside this
/// there is the question for TLS; a server that has said yes to that writes a line to its log when nothing follows.
const GSSAPI: [u8; 8] = ((8_u64 << 32) + 80_877_104).to_be_bytes();
/// For what is older than that question, which came with Postgres 12, and closes the connection.
const TLS: [u8; 8] = ((8_u64 << 32) + 80_877_103).to_be_bytes();

/// How long a probe waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// For the addresses of a name. 5 s.
    pub name: Duration,
    /// For one address to accept a connection. 2 s.
    pub connect: Duration,
    /// For an answer over it. 2 s.
    pub answer: Duration,
}

impl Default for Wait {
    fn default() -> Wait {
        let two = Duration::from_secs(2);
        Wait { name: Duration::from_secs(5), connect: two, answer: two }
    }
}

/// Asks one of these addresses: the first that can be connected to.
///
/// # Errors
/// [`Unknown`], of the address that was tried last.
///
/// # Cancel safety
/// Dropping the future closes the connection.
pub(super) async fn ask(
    addresses: &[SocketAddr],
    probe: Probe,
    wait: Wait,
) -> Result<(Method, Duration), Unknown> {
    let mut unknown = Unknown::NotYet;
    for address in addresses.iter().take(ADDRESSES_TRIED_MAX) {
        match connect(*address, wait.connect).await {
            Ok((stream, handshake)) => return talk(stream, *address, handshake, probe, wait).await,
            Err(error) => unknown = error,
        }
    }
    Err(unknown)
}

async fn talk(
    stream: TcpStream,
    address: SocketAddr,
    handshake: Duration,
    probe: Probe,
    wait: Wait,
) -> Result<(Method, Duration), Unknown> {
    match probe {
        Probe::None => Err(Unknown::NoConnections),
        Probe::Tcp => Ok((Method::Tcp, handshake)),
        Probe::Postgres => match question(stream, address, &GSSAPI, wait.answer).await {
            Err(Unknown::Closed { .. }) => {
                let (stream, _) = connect(address, wait.connect).await?;
                question(stream, address, &TLS, wait.answer).await
            }
            asked => asked,
        }
        .map(|round_trip| (Method::Postgres, round_trip)),
    }
}

/// A connection, and how long its handshake took: by the kernel, which no busy thread delays, else by this process's
/// clock.
async fn connect(address: SocketAddr, wait: Duration) -> Result<(TcpStream, Duration), Unknown> {
    let begun = Instant::now();
    let connected = tokio::time::timeout(wait, TcpStream::connect(address)).await;
    let took = begun.elapsed();
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(Unknown::Refused { address });
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
            return Err(Unknown::NotConnected { address, after: took });
        }
        Ok(Err(error)) => return Err(Unknown::Broken { address, why: text(&error) }),
        Err(_) => return Err(Unknown::NotConnected { address, after: wait }),
    };
    // What the kernel is asked for is one entry of a table, which is as fast as any other system call.
    let by_kernel = match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => kernel::of_one(local, peer).ok().flatten(),
        _ => None,
    };
    Ok((stream, by_kernel.unwrap_or(took)))
}

async fn question(
    mut stream: TcpStream,
    address: SocketAddr,
    question: &[u8],
    wait: Duration,
) -> Result<Duration, Unknown> {
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Unknown::Closed { address },
        _ => Unknown::Broken { address, why: text(&error) },
    };
    tokio::time::sleep(UNTIL_IT_LISTENS).await;
    let mut answer = [0];
    let asked = Instant::now();
    let asking = async {
        stream.write_all(question).await?;
        stream.read(&mut answer).await
    };
    let answered = tokio::time::timeout(wait, asking).await;
    let round_trip = asked.elapsed();
    let bytes = answered.map_err(|_| Unknown::NoAnswer { address, after: wait })?.map_err(broken)?;
    match answer {
        _ if bytes == 0 => Err(Unknown::Closed { address }),
        // Yes, no, or an error of its own, which is an answer as well.
        [b'G' | b'S' | b'N' | b'E'] => Ok(round_trip),
        _ => Err(Unknown::NotPostgres { address }),
    }
}

fn text(error: &io::Error) -> Arc<str> {
    error.to_string().into()
}
