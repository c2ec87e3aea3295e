//! Each kind of crash, in the gallery as it is run: the pages keep answering, and the module is there again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Generous: it ends only a test that would fail anyway.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gallery as a single process, killed when it goes; the cells of a killed process end with it.
struct Gallery {
    child: Child,
    url: String,
}

impl Gallery {
    fn start() -> Gallery {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gallery"));
        let child = command.args(["--port", "0", "--load", "0"]).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("it was just built");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let url = out
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("gallery: ").map(|url| url.trim_end_matches('/').to_owned()));
        Gallery { child, url: url.expect("it says where it is") }
    }

    fn get(&self, path: &str) -> String {
        let mut answer = ureq::get(format!("{}{path}", self.url)).call().expect("the page answers");
        answer.body_mut().read_to_string().expect("to its end")
    }

    fn crash(&self, kind: &str) -> String {
        let wish = json!({ "kind": kind }).to_string();
        let request = ureq::post(format!("{}/crash", self.url)).header("content-type", "application/json");
        let mut answer = request.send(wish).unwrap_or_else(|error| panic!("{kind}: {error}"));
        answer.body_mut().read_to_string().expect("to its end")
    }

    fn snapshot(&self) -> Value {
        serde_json::from_str(&self.get("/snapshot")).expect("it is JSON")
    }
}

impl Drop for Gallery {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ends the visitor, also where an assertion fails.
struct Leave<'a>(&'a AtomicBool);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whatever_crashes_the_pages_keep_answering() {
    let gallery = Gallery::start();
    let (left, visits) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let leave = Leave(&left);
        let visitor = scope.spawn(|| {
            while !left.load(Ordering::Relaxed) {
                assert!(gallery.get("/page-probe").contains("<ul>"));
                visits.fetch_add(1, Ordering::Relaxed);
            }
        });
        for (kind, said) in [
            ("panic", "in the same process"),
            ("abort", "answers instead of"),
            ("stack", "answers instead of"),
            ("loop", "answers instead of"),
            ("memory", "answers instead of"),
        ] {
            let before = visits.load(Ordering::Relaxed);
            let text = gallery.crash(kind);
            assert!(text.contains(&format!("{kind}: ")) && text.contains(said), "{text}");
            // That none of them fails is the visitor's to say.
            let since = Instant::now();
            while visits.load(Ordering::Relaxed) == before {
                assert!(since.elapsed() < PATIENCE, "nobody is served any more");
                std::thread::yield_now();
            }
        }
        drop(leave);
        visitor.join().expect("every page was served");
    });
    let since = Instant::now();
    let snapshot = loop {
        let snapshot = gallery.snapshot();
        if snapshot["restarts"]["mortal"].as_u64() >= Some(5) || since.elapsed() > PATIENCE {
            break snapshot;
        }
    };
    assert_eq!(
        (&snapshot["restarts"], &snapshot["totals"]["failures"]),
        (&json!({ "mortal": 5 }), &json!(0))
    );
    let crashes =
        snapshot["events"].as_array().into_iter().flatten().filter(|event| event["kind"] == "crash");
    assert_eq!(crashes.count(), 5, "{snapshot}");
}
