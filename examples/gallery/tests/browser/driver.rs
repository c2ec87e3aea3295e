//! Chromium, driven through the few commands of the WebDriver protocol that the test needs.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Long enough for a machine that builds something else meanwhile; what is waited for takes a second.
const WAIT: Duration = Duration::from_secs(180);

/// A browser that is not gone by then hangs.
const END_WAIT: Duration = Duration::from_secs(10);

/// How often the page looks at a condition, in milliseconds.
const LOOK_EVERY_MS: u32 = 50;

/// What chromedriver says before the number of its port.
const STARTED: &str = "successfully on port ";

/// The picture's size on paper, and how many pixels a point has.
const WINDOW: &str = "--window-size=1360,800";
const DENSITY: &str = "--force-device-scale-factor=1.25";

/// What the browser leaves to the demo.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Yields {
    ALittle,
    Wholly,
}

pub(crate) struct Browser {
    driver: Child,
    /// Kept open, so that the driver can go on talking.
    _output: Lines<BufReader<ChildStdout>>,
    /// `http://127.0.0.1:<port>/session/<id>`, once there is a session.
    session: String,
    profile: PathBuf,
}

impl Browser {
    /// Starts a browser with a profile of its own. It draws on the demo's own processors, so it yields: a little in
    /// a test, which must come to its end beside a build; wholly when a picture of the figures is taken.
    pub(crate) fn start(yields: Yields) -> Browser {
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("profile-{}", std::process::id()));
        let (program, priority) = match yields {
            Yields::ALittle => ("nice", ["-n", "15"]),
            Yields::Wholly => ("chrt", ["--idle", "0"]),
        };
        let mut driver = Command::new(program)
            .args(priority)
            .args(["chromedriver", "--port=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("`nice` and `chrt` are on every Linux");
        let mut output = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = output.by_ref().map_while(Result::ok).find_map(|line| port(line.split_once(STARTED)?.1));
        let port = port.expect("chromedriver starts; Debian has it in the package chromium-driver");
        let mut browser =
            Browser { driver, _output: output, session: format!("http://127.0.0.1:{port}/session"), profile };
        let created = browser.command("", Some(browser.capabilities()));
        let id = created["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("{}/{id}", browser.session);
        browser.command("/timeouts", Some(json!({ "script": WAIT.as_millis() as u64 })));
        browser
    }

    fn capabilities(&self) -> Value {
        let profile = format!("--user-data-dir={}", self.profile.display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            WINDOW,
            DENSITY,
            &profile,
        ];
        json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } })
    }

    pub(crate) fn open(&self, url: &str) {
        self.command("/url", Some(json!({ "url": url })));
    }

    /// The value of an expression in the page.
    pub(crate) fn eval(&self, expression: &str) -> Value {
        self.command("/execute/sync", Some(json!({ "script": format!("return {expression};"), "args": [] })))
    }

    /// Waits, in the page, until the expression is true.
    pub(crate) fn wait(&self, what: &str, expression: &str) {
        let give_up_ms = WAIT.as_millis() / 2;
        let script = format!(
            "const done = arguments[0], began = performance.now();
             const look = () => {{
               let good = false, trouble = null;
               try {{ good = Boolean({expression}); }} catch (error) {{ trouble = String(error); }}
               if (good) return done(null);
               if (performance.now() - began > {give_up_ms}) return done([trouble, document.body.innerText]);
               setTimeout(look, {LOOK_EVERY_MS});
             }};
             look();"
        );
        let last = self.command("/execute/async", Some(json!({ "script": script, "args": [] })));
        assert!(last.is_null(), "{what}: it did not come to `{expression}`; the page says {last:#}");
    }

    pub(crate) fn click(&self, selector: &str) {
        let using = json!({ "using": "css selector", "value": selector });
        let element = self.command("/element", Some(using));
        let id = element.as_object().and_then(|element| element.values().next()).and_then(Value::as_str);
        self.command(&format!("/element/{}/click", id.expect("an element has an id")), Some(json!({})));
    }

    /// The window as PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let text = self.command("/screenshot", None);
        base64(text.as_str().expect("a screenshot is a text in base 64"))
    }

    /// What the page's own code complained of.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.command("/se/log", Some(json!({ "type": "browser" })));
        let entries = log.as_array().into_iter().flatten();
        entries.filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    /// A command of the session: POST with a body, GET without.
    fn command(&self, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.session);
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(WAIT)).build();
        let agent = ureq::Agent::new_with_config(config);
        let answer = match body {
            Some(body) => agent.post(&url).send_json(body),
            None => agent.get(&url).call(),
        };
        let mut answer =
            answer.unwrap_or_else(|error| panic!("chromedriver does not answer {path}: {error}"));
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let mut value: Value = body.read_json().unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(answer.status().is_success(), "{path}: {}", value["value"]["message"]);
        value["value"].take()
    }
}

/// More than any screenshot.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

impl Drop for Browser {
    fn drop(&mut self) {
        let config = ureq::Agent::config_builder().timeout_global(Some(END_WAIT)).build();
        // The end of the session is the end of the browser. Whether it succeeds, nobody asks any more.
        let _ = ureq::Agent::new_with_config(config).delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// The number with which a text begins.
fn port(text: &str) -> Option<u16> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let bits =
            four.iter().enumerate().fold(0, |bits, (at, digit)| bits | u32::from(*digit) << (18 - 6 * at));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
