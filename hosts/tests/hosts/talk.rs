//! Two hosts that talk over TCP.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use skybox_hosts::Host;

/// Bounds what would hang.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Longer than anything takes that arrives at all: silence is known by it.
const SILENCE: Duration = Duration::from_secs(1);

/// A listener in a host.
pub(crate) fn listen(host: &Host) -> (TcpListener, SocketAddr) {
    let listener = host.inside(|| TcpListener::bind((host.address(), 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A connection between two hosts: the end of each.
pub(crate) fn connect(from: &Host, to: &Host) -> (TcpStream, TcpStream) {
    let (listener, address) = listen(to);
    let near = from.inside(|| TcpStream::connect_timeout(&address, LONG)).unwrap().unwrap();
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
    }
    (near, far)
}

/// Whether a host can connect to this address; if not, it must be because nobody answers.
pub(crate) fn reaches(from: &Host, address: SocketAddr) -> bool {
    match from.inside(|| TcpStream::connect_timeout(&address, SILENCE)).unwrap() {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "it was told something: {error}");
            false
        }
    }
}

/// Sends a line, which has to arrive.
pub(crate) fn say(from: &mut TcpStream, to: &mut TcpStream, line: &str) {
    from.write_all(line.as_bytes()).unwrap();
    assert_eq!(hear(to, line.len()), line);
}

pub(crate) fn hear(to: &mut TcpStream, length: usize) -> String {
    let mut heard = vec![0; length];
    to.read_exact(&mut heard).unwrap();
    String::from_utf8(heard).unwrap()
}

/// Sends a line, which must not arrive while nothing changes. Neither end may be told.
pub(crate) fn say_in_vain(from: &mut TcpStream, to: &mut TcpStream, line: &str) {
    from.write_all(line.as_bytes()).unwrap();
    to.set_read_timeout(Some(SILENCE)).unwrap();
    let heard = to.read(&mut [0]);
    assert!(
        heard.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "it heard something, or was told: {heard:?}"
    );
    to.set_read_timeout(Some(LONG)).unwrap();
}
