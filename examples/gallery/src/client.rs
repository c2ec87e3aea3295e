//! The smallest HTTP client that can measure a page: one request on a new connection, read to its end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Process;

/// Several times what a page takes when thumbnails leave it no processor: an answer that is still missing
/// then is lost, and not late.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A button is answered when what it asks for is done, and a move waits for the thumbnails that are being made: on a
/// machine with other work to do, one of the worker's, which yields to everybody, takes longer than a page ever does.
const ORDER_TIMEOUT: Duration = Duration::from_secs(180);

/// More than the page and any JSON of this program.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The one status whose answers end with their headers, length or not.
const NO_CONTENT: u16 = 204;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Who answered, if the headers name it.
    pub(crate) process: Option<Process>,
}

/// Asks `address` for `path`: GET without a body, POST with one.
pub(crate) async fn ask(address: SocketAddr, path: &str, json: Option<&str>) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(request(address, path, json).as_bytes()).await?;
        let mut bytes = Vec::with_capacity(8 * 1024);
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await?;
        parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
    };
    let timeout = if json.is_some() { ORDER_TIMEOUT } else { TIMEOUT };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {timeout:?}"))),
    }
}

fn request(address: SocketAddr, path: &str, json: Option<&str>) -> String {
    let head = format!("{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    match json {
        None => format!("GET {head}\r\n"),
        Some(json) => {
            let length = json.len();
            format!("POST {head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{json}")
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = &bytes[end + 4..];
    let mut lines = head.lines();
    let status: u16 = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header =
        |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|&(_, value)| value);
    // A connection that breaks in the middle ends like one that is done, but for the length.
    let length: usize = match header("content-length") {
        Some(length) => length.parse().ok()?,
        None if status == NO_CONTENT => 0,
        None => return None,
    };
    let process = match (header("x-node"), header("x-pid").and_then(|pid| pid.parse().ok())) {
        (Some(node), Some(pid)) => Some(Process { node: node.to_owned(), pid }),
        _ => None,
    };
    (length == body.len()).then(|| Answer { status, body: body.to_vec(), process })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-node: node-2\r\nX-Pid: 17\r\n\r\nhi";
        let answer = parse(whole).expect("an answer");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hi"[..]));
        assert_eq!(answer.process, Some(Process { node: "node-2".into(), pid: 17 }));
        for broken in [&whole[..whole.len() - 1], b"", b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-x\r\n\r\n"] {
            assert!(parse(broken).is_none(), "{}", String::from_utf8_lossy(broken));
        }
    }
}
