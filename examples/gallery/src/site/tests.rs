//! The routes, over real connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::{self, Answer};
use crate::headless::{self, Scenario};
use crate::load;
use crate::show::Opening;
use crate::stage::{Alone, Staging};

/// A site on a free port, closed when dropped.
struct Served {
    address: SocketAddr,
    site: Site,
    close: watch::Sender<bool>,
}

async fn serve(stage: Arc<dyn Stage>, load_per_s: u32) -> Served {
    let (close, closing) = watch::channel(false);
    let show = Handle::of(Show::new(Opening { load_per_s, place: Place::Pages }));
    let site = Site::new(show, stage, closing);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (routes, ended) = (routes(site.clone()), site.clone());
    tokio::spawn(
        axum::serve(listener, routes)
            .with_graceful_shutdown(async move { ended.closing().await })
            .into_future(),
    );
    Served { address, site, close }
}

impl Served {
    async fn get(&self, path: &str) -> Answer {
        client::ask(self.address, path, None).await.expect("an answer")
    }

    async fn post(&self, path: &str, json: &str) -> Answer {
        client::ask(self.address, path, Some(json)).await.expect("an answer")
    }

    async fn snapshot(&self) -> Snapshot {
        serde_json::from_slice(&self.get("/snapshot").await.body).expect("a snapshot")
    }
}

#[tokio::test]
async fn every_answer_says_who_gave_it() {
    let served = serve(Arc::new(Alone), 0).await;
    for path in ["/", "/page-probe", "/healthz", "/snapshot", "/thumb/3?w=64", "/picture/3"] {
        let answer = served.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.process.as_ref(), Some(Process::here()), "{path}");
    }
}

#[tokio::test]
async fn thumbnails_are_counted_and_faults_have_a_status() {
    let served = serve(Arc::new(Alone), 0).await;
    for (path, status) in [
        ("/thumb/0?w=100", 200),
        ("/thumb/0", 200),
        ("/thumb/24", 404),
        ("/thumb/0?w=1", 400),
        ("/thumb/zero", 400),
        ("/picture/24", 404),
        ("/nowhere", 404),
    ] {
        assert_eq!(served.get(path).await.status, status, "{path}");
    }
    let totals = served.site.tally().report(Instant::now()).totals;
    assert_eq!((totals.thumbnails, totals.failures), (2, 2));
}

#[tokio::test]
async fn the_slider_sets_the_load_within_bounds() {
    let served = serve(Arc::new(Alone), 10).await;
    assert_eq!(served.post("/load", r#"{"per_s":25}"#).await.status, 204);
    assert_eq!(served.post("/load", r#"{"per_s":100000}"#).await.status, 400);
    assert_eq!(served.post("/load", r#"{"per_s":-1}"#).await.status, 422);
    let snapshot = served.snapshot().await;
    assert_eq!(snapshot.load_per_s, 25);
    assert_eq!(snapshot.events.len(), 1);
}

/// A stage that writes down what it is asked for, and whose worker cannot be killed.
#[derive(Default)]
struct Recorder(Mutex<Vec<Place>>);

impl Stage for Recorder {
    fn place(&self, place: Place) -> Staging<'_> {
        self.0.lock().expect("no test panics while it holds this").push(place);
        Box::pin(async move {
            Ok(Staged { text: format!("moved to {place:?}"), place: Some(place), killed: None })
        })
    }

    fn kill_worker(&self) -> Staging<'_> {
        Box::pin(async { Err(AppError::Stage { message: "the worker is immortal".to_owned() }) })
    }

    fn crash(&self, kind: Crash) -> Staging<'_> {
        Box::pin(async move { Ok(Staged { text: format!("{kind:?}"), place: None, killed: None }) })
    }
}

#[tokio::test]
async fn buttons_reach_the_stage_and_the_log() {
    let stage = Arc::new(Recorder::default());
    let served = serve(stage.clone(), 0).await;
    assert_eq!(served.post("/place", r#"{"where":"worker"}"#).await.status, 200);
    assert_eq!(served.snapshot().await.place, Place::Worker);
    assert_eq!(served.post("/place", r#"{"where":"pages"}"#).await.status, 200);
    assert_eq!(served.post("/place", r#"{"where":"moon"}"#).await.status, 422);
    assert_eq!(served.post("/kill", "{}").await.status, 409);
    assert_eq!(served.post("/crash", r#"{"kind":"abort"}"#).await.status, 200);
    assert_eq!(served.post("/crash", r#"{"kind":"hunger"}"#).await.status, 422);
    assert_eq!(*stage.0.lock().expect("as above"), [Place::Worker, Place::Pages]);
    let snapshot = served.snapshot().await;
    assert_eq!(snapshot.place, Place::Pages);
    let texts: Vec<&str> = snapshot.events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(texts, ["moved to Worker", "moved to Pages", "the worker is immortal", "Abort"]);
}

#[tokio::test]
async fn figures_stream_until_the_site_closes() {
    let served = serve(Arc::new(Alone), 7).await;
    let mut stream = TcpStream::connect(served.address).await.expect("connected");
    stream.write_all(b"GET /stats HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut lines = BufReader::new(stream).lines();
    let mut seen = 0;
    while let Some(line) = lines.next_line().await.expect("read") {
        let Some(json) = line.strip_prefix("data: ") else { continue };
        let figures: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(figures["load_per_s"], 7);
        assert_eq!(figures["served_by"]["pid"], std::process::id());
        seen += 1;
        if seen == 2 {
            served.close.send_replace(true);
        }
    }
    assert!(seen >= 2, "the stream ended by itself after {seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_show_plays_without_a_browser_and_without_a_failure() {
    let served = serve(Arc::new(Alone), 0).await;
    tokio::task::spawn_blocking(pictures::draw_all).await.expect("no panic").expect("drawn");
    load::start(served.site.clone(), served.address).expect("a thread");
    let scenario = Scenario { load_per_s: 20, act: Duration::from_secs(1) };
    let outcome = headless::play(served.address, scenario).await.expect("played");
    assert!(outcome.good(), "{outcome}");
    assert_eq!(outcome.acts.len(), 3);
    assert!(outcome.acts.iter().all(|act| act.p99_ms >= act.p50_ms), "{outcome}");
    let table = outcome.to_string();
    assert!(table.contains("no call failed"), "{table}");
}
