//! Somebody who opens connections and does not go on: in a process of its own, so that the machine's limits are not shared.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::node::PATIENCE;
use crate::stranger::client_hello;

/// Set in its process: what it does, as [`Attack`] is written.
const HOSTILE: &str = "SKYBOX_TEST_HOSTILE";
const SAYS: &str = "hostile says ";
/// Descriptors of the process that are no connections.
const OTHER_FILES: u64 = 100;
/// Between two bytes of a client that drips: all of its hello takes many times as long as a handshake may.
const DRIP: Duration = Duration::from_millis(100);

/// What its connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// They say nothing at all.
    Silent,
    /// They say the first word of TLS, and wait for ever.
    Hello,
    /// They say it byte by byte.
    Drip,
}

/// Who connects, to whom, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    pub habit: Habit,
    pub from: Ipv4Addr,
    pub clients: usize,
    /// After how long one that was closed comes again, in milliseconds; never if 0.
    pub again_ms: u64,
}

impl Attack {
    fn write(&self, to: &str) -> String {
        format!("{:?} {} {} {} {to}", self.habit, self.from, self.clients, self.again_ms)
    }

    fn parse(text: &str) -> (Attack, SocketAddr) {
        let parts: Vec<_> = text.split(' ').collect();
        let [habit, from, clients, again_ms, to] = parts[..] else { panic!("{text}?") };
        let habits = [Habit::Silent, Habit::Hello, Habit::Drip];
        let habit = habits.into_iter().find(|known| format!("{known:?}") == habit).expect("a habit");
        let attack = Attack {
            habit,
            from: from.parse().expect("an address"),
            clients: clients.parse().expect("a number"),
            again_ms: again_ms.parse().expect("a number"),
        };
        (attack, to.parse().expect("an address"))
    }
}

/// The process, until it is dropped.
pub struct Hostile {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Hostile {
    /// Starts it; it runs this very test.
    pub fn start(test: &str, attack: Attack, to: &str) -> Hostile {
        let mut child = Command::new(std::env::current_exe().expect("a test's own binary is known"))
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(HOSTILE, attack.write(to))
            .stdout(Stdio::piped())
            .spawn()
            .expect("a test's own binary can be started");
        let said = BufReader::new(child.stdout.take().expect("it was asked for as a pipe"));
        Hostile { child, said }
    }

    /// Waits for what it says next.
    pub fn says(&mut self) -> String {
        for line in self.said.by_ref().lines().map_while(Result::ok) {
            if let Some((_, said)) = line.split_once(SAYS) {
                return said.to_owned();
            }
        }
        panic!("it has ended: {:?}", self.child.wait());
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In its process, does what it is told until it is killed, or until its clients are done; elsewhere nothing.
pub fn be_hostile_if_told() {
    let Ok(told) = std::env::var(HOSTILE) else { return };
    let (attack, to) = Attack::parse(&told);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the operating system gives it a thread").block_on(attack_at(attack, to));
    std::process::exit(0);
}

/// How many connections this process may have: as many as the machine lets it, and no more than it wants.
fn room_for(clients: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let wanted = (clients as u64 + OTHER_FILES).min(most);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
        raised.expect("up to the highest it may be raised");
    }
    clients.min(usize::try_from(wanted - OTHER_FILES).unwrap_or(clients))
}

#[derive(Default)]
struct Tally {
    opened: AtomicUsize,
    closed: AtomicUsize,
    /// Clients that have said all that they had to say.
    done: AtomicUsize,
}

async fn attack_at(attack: Attack, to: SocketAddr) {
    let clients = room_for(attack.clients);
    say(&format!("{clients} clients"));
    let (tally, hello): (Arc<Tally>, Arc<[u8]>) = (Arc::default(), client_hello().into());
    let (closing, mut closed) = tokio::sync::mpsc::unbounded_channel();
    for client in 0..clients as u64 {
        let (tally, hello, closing) = (tally.clone(), hello.clone(), closing.clone());
        tokio::spawn(async move {
            // Sleeps because they are to come evenly, also when they come again.
            tokio::time::sleep(Duration::from_millis(attack.again_ms * client / clients as u64)).await;
            loop {
                // What cannot be opened now, for want of ports or of places with the listener, is tried again.
                if let Ok(stream) = connect(attack.from, to).await {
                    if tally.opened.fetch_add(1, SeqCst) + 1 == clients {
                        say(&format!("{clients} opened"));
                    }
                    hold(stream, attack.habit, &hello, &tally).await;
                    tally.closed.fetch_add(1, SeqCst);
                    let _ = closing.send(());
                    if attack.again_ms == 0 {
                        return;
                    }
                }
                // Sleeps because somebody who comes again at once would hardly leave this machine the time to answer.
                tokio::time::sleep(Duration::from_millis(attack.again_ms.max(100))).await;
            }
        });
    }
    for _ in 0..clients {
        closed.recv().await;
    }
    say(&format!("{clients} closed, {} done", tally.done.load(SeqCst)));
    std::future::pending::<()>().await;
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Has a connection until the other side closes it.
async fn hold(mut stream: TcpStream, habit: Habit, hello: &[u8], tally: &Tally) {
    let (mut read, mut write) = stream.split();
    let talking = async {
        match habit {
            Habit::Silent => {}
            Habit::Hello => drop(write.write_all(hello).await),
            Habit::Drip => {
                for byte in hello {
                    // Sleeps because dripping is what is tested.
                    tokio::time::sleep(DRIP).await;
                    if write.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
            }
        }
        tally.done.fetch_add(1, SeqCst);
        std::future::pending::<()>().await;
    };
    let listening = async {
        let mut heard = [0; 4096];
        // An answer is no end.
        while read.read(&mut heard).await.is_ok_and(|count| count > 0) {}
    };
    tokio::select! {
        () = talking => {}
        () = listening => {}
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // Its test may be over.
    let _ = writeln!(out, "{SAYS}{text}");
}

/// Asks again until the answer is as it should be. The last answer is in the panic.
#[track_caller]
pub fn until(mut ask: impl FnMut() -> String, is_it: impl Fn(&str) -> bool) -> String {
    let begun = std::time::Instant::now();
    loop {
        let answer = ask();
        if is_it(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?}, and it is still {answer}");
    }
}
