//! A ledger in another process: a line for each question, a line for each answer, over an abstract socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;

use skybox::cloud::testing::Nodes;

use super::Inner;

/// Tells nodes and cells the socket's name.
const SOCKET_ENV: &str = "CONFORMANCE_LEDGER";

/// Whom to ask.
#[derive(Clone)]
pub(super) struct Asked {
    socket: String,
}

impl Asked {
    pub(super) fn from_environment() -> Option<Asked> {
        std::env::var(SOCKET_ENV).ok().map(|socket| Asked { socket })
    }

    /// Answers for a ledger as long as this process lives.
    pub(super) fn serve(ledger: Arc<Inner>) -> Asked {
        let socket = format!("skybox-ledger-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&socket).expect("a short name");
        let listener = UnixListener::bind_addr(&address).expect("nobody else has this process's number");
        std::thread::spawn(move || {
            for asker in listener.incoming().flatten() {
                let ledger = ledger.clone();
                // Whoever has gone hears no answer.
                std::thread::spawn(move || drop(answer(&ledger, asker)));
            }
        });
        Asked { socket }
    }

    pub(super) fn shared_with(&self, nodes: Nodes) -> Nodes {
        nodes.env(SOCKET_ENV, &self.socket)
    }

    pub(super) fn note(&self, what: &str) -> u64 {
        self.ask("note", what).parse().expect("a count")
    }

    pub(super) fn count(&self, what: &str) -> u64 {
        self.ask("count", what).parse().expect("a count")
    }

    pub(super) fn all(&self) -> BTreeMap<String, u64> {
        serde_json::from_str(&self.ask("all", "")).expect("counts by name")
    }

    pub(super) fn wait_for(&self, what: &str) {
        self.ask("wait", what);
    }

    pub(super) async fn noted(&self, what: &str) {
        let mut stream = tokio::net::UnixStream::from_std({
            let stream = self.question("wait", what);
            stream.set_nonblocking(true).expect("a socket of one's own");
            stream
        })
        .expect("a runtime");
        let mut answer = Vec::new();
        drop(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await);
    }

    fn question(&self, verb: &str, what: &str) -> UnixStream {
        let address = SocketAddr::from_abstract_name(&self.socket).expect("a short name");
        let mut stream = UnixStream::connect_addr(&address).expect("the test's process answers");
        stream.write_all(format!("{verb} {what}\n").as_bytes()).expect("the test's process answers");
        stream
    }

    fn ask(&self, verb: &str, what: &str) -> String {
        let mut answer = String::new();
        let asked = BufReader::new(self.question(verb, what)).read_line(&mut answer);
        asked.expect("the test's process answers");
        answer.trim_end().to_owned()
    }
}

fn answer(ledger: &Inner, asker: UnixStream) -> std::io::Result<()> {
    let mut question = String::new();
    BufReader::new(&asker).read_line(&mut question)?;
    let (verb, what) = question.trim_end_matches('\n').split_once(' ').unwrap_or_default();
    let answer = match verb {
        "note" => ledger.note(what).to_string(),
        "count" => ledger.count(what).to_string(),
        "all" => serde_json::to_string(&*ledger.counts())?,
        _ => {
            ledger.wait_for(what);
            String::new()
        }
    };
    writeln!(&asker, "{answer}")
}
