//! Nodes behind a balancer that obeys `/readyz`: all of them are replaced, one after the other, and no request fails.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Signal;
use skybox::App;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::balancer::{Balancer, get};
use crate::etcd::Etcd;
use crate::node::Node;
use crate::played::{PATIENCE, be, play, say};
use crate::{Cart, Catalog, double};

/// Visitors, and the pause of each between two requests: some 400 a second in all.
const VISITORS: u64 = 12;
const PAUSE: Duration = Duration::from_millis(20);
/// Requests that are to be answered between two replacements.
const BETWEEN: u64 = 300;

/// A node that serves pages until it has left, as a program with a web framework does: what it has taken, it answers.
fn be_a_server() -> ! {
    be(async |app| {
        let listener = app.listen("http").await.expect("its address is its own");
        say("there");
        let mut requests = JoinSet::new();
        let mut draining = std::pin::pin!(app.draining());
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.expect("there are descriptors");
                    requests.spawn(answer(app.clone(), stream));
                }
                Some(_) = requests.join_next() => {}
                () = &mut draining => break,
            }
        }
        drop(listener);
        while requests.join_next().await.is_some() {}
        say("drained");
    })
}

/// Answers one request: with who has answered, or why nobody has.
async fn answer(app: App, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (what, n) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let n: u64 = n.parse().unwrap_or_default();
    let done = match what {
        "page" => app.get::<Catalog>().page(n).await.map(drop),
        "order" => app.get::<Catalog>().order(n).await.map(drop),
        "double" => app.enter(double(n)).await.map(drop),
        _ => app.at::<Cart>(&format!("user-{}", n % 256)).add(1).await.map(drop),
    };
    let (status, said) = match done {
        Ok(()) => ("200 OK", format!("{} {}", app.node(), std::process::id())),
        Err(error) => ("500 Internal Server Error", format!("{} {what}: {error:#}", app.node())),
    };
    let length = said.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{said}").as_bytes()).await?;
    stream.shutdown().await
}

/// What visitors have seen.
#[derive(Debug, Default)]
struct Seen {
    well: u64,
    /// Each life that has answered.
    by: BTreeSet<String>,
    failed: Vec<String>,
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("nobody panics under it")
}

/// Asks for pages without end, each over a connection of its own.
async fn visit(balancer: std::net::SocketAddr, first: u64, seen: Arc<Mutex<Seen>>) {
    let kinds = ["page", "order", "double", "cart"];
    for n in (first..).step_by(VISITORS as usize) {
        let path = format!("/{}/{n}", kinds[n as usize / VISITORS as usize % kinds.len()]);
        let answered = tokio::time::timeout(PATIENCE, get(balancer, &path)).await;
        let answered = answered.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        {
            let mut seen = lock(&seen);
            match answered {
                Ok((200, who)) => {
                    seen.well += 1;
                    seen.by.insert(who);
                }
                other => seen.failed.push(format!("{path}: {other:?}")),
            }
        }
        // Sleeps because that is how often it asks.
        tokio::time::sleep(PAUSE).await;
    }
}

/// An address of this machine that no other process has.
fn address_of(at: usize) -> String {
    let pid = std::process::id();
    format!("127.{}.{}.{}", 128 + at, pid >> 8 & 0xff, pid & 0xff)
}

fn begin(etcd: &Etcd, at: usize, name: &str) -> Node {
    let further = [("SKYBOX_LISTENERS__HTTP__ADDRESS", 8080), ("SKYBOX_ADMIN__ADDRESS", 9600)];
    let further = further.map(|(name, port)| (name.to_owned(), format!("{}:{port}", address_of(at))));
    Node::begin_with(etcd, name, &further)
}

#[test]
fn behind_a_balancer_all_nodes_are_replaced_and_no_request_fails() {
    play(
        || be_a_server(),
        || {
            let etcd = Etcd::start();
            let names = ["a", "b", "c"];
            let mut nodes: Vec<_> =
                names.iter().enumerate().map(|(at, name)| begin(&etcd, at, name)).collect();
            nodes.iter_mut().for_each(Node::is_there);
            nodes[0].sees_settled(&names);
            let runtime = tokio::runtime::Runtime::new().expect("a test has threads");
            let servers = (0..names.len()).map(|at| {
                let of = |port: u16| format!("{}:{port}", address_of(at)).parse().expect("an address");
                (of(8080), of(9600))
            });
            let balancer = runtime.block_on(Balancer::start(servers.collect()));
            nodes[0].waits("all to be ready", || balancer.ready().len() == names.len());
            let seen = Arc::<Mutex<Seen>>::default();
            for first in 0..VISITORS {
                runtime.spawn(visit(balancer.address(), first, seen.clone()));
            }
            let more = |node: &Node| {
                let until = lock(&seen).well + BETWEEN;
                node.waits("pages", || lock(&seen).well >= until || !lock(&seen).failed.is_empty());
            };
            more(&nodes[0]);
            for (at, name) in names.iter().enumerate() {
                let node = &mut nodes[at];
                node.signal(Signal::TERM);
                assert_eq!(node.answer(), "drained", "{:#?}", node.log());
                assert!(node.end().success());
                *node = begin(&etcd, at, name);
                node.is_there();
                node.sees_settled(&names);
                node.waits("it to be ready", || balancer.ready().contains(&at));
                more(node);
            }
            let seen = lock(&seen);
            println!(
                "{} requests went well, {} connections were refused and sent on",
                seen.well,
                balancer.sent_on()
            );
            assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
            let lives = seen.by.len();
            assert_eq!(lives, 2 * names.len(), "each life has answered: {:?}", seen.by);
        },
    );
}
