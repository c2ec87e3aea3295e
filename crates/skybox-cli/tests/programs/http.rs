//! As much of an HTTP client as the tests need: one connection, one request after the other.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A server that has not answered after this long never will.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// A connection that is kept.
pub(crate) struct Http(BufReader<TcpStream>);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Http {
    pub(crate) fn connect(to: SocketAddr) -> Result<Http> {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        Ok(Http(BufReader::new(stream)))
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        self.send("GET", path)?;
        self.answer()
    }

    /// Sends a request whose answer is read later.
    pub(crate) fn send(&mut self, method: &str, path: &str) -> Result<()> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())
    }

    pub(crate) fn answer(&mut self) -> Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        let mut length = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// A header's line; empty at the end of the headers, an error at the end of the connection.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One request over a connection of its own.
pub(crate) fn get(to: SocketAddr, path: &str) -> Result<Answer> {
    Http::connect(to)?.get(path)
}
