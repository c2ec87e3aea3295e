//! A client of the service.

use std::net::TcpStream;

use serde_json::{Value, json};

use super::WAIT_MAX;

/// Sends requests to one address, each over a connection of its own: where several processes serve one port,
/// each request may meet another of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// Host and port.
    pub(crate) address: String,
}

impl Client {
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a listening program takes connections");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("the time-out is not zero");
        stream
    }

    pub(crate) fn get(&self, path: &str, token: Option<&str>) -> Reply {
        let mut request = agent().get(self.url(path));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Reply::read(request.call())
    }

    pub(crate) fn post(&self, path: &str, token: Option<&str>, body: Value) -> Reply {
        let mut request = agent().post(self.url(path));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Reply::read(request.send_json(body))
    }

    pub(crate) fn sign_up(&self, name: &str, password: &str) -> Reply {
        self.post("/signup", None, json!({ "name": name, "password": password }))
    }

    pub(crate) fn log_in(&self, name: &str, password: &str) -> Reply {
        self.post("/login", None, json!({ "name": name, "password": password }))
    }

    pub(crate) fn add_note(&self, token: &str, text: &str) -> Reply {
        self.post("/notes", Some(token), json!({ "text": text }))
    }

    /// Signs up and logs in; the token.
    pub(crate) fn new_user(&self, name: &str, password: &str) -> String {
        self.sign_up(name, password).expect(201);
        self.log_in(name, password).token()
    }

    /// The texts of a user's notes, newest first.
    pub(crate) fn notes(&self, token: &str) -> Vec<String> {
        let reply = self.get("/notes", Some(token)).expect(200);
        let notes = reply.body.as_array().expect("a list of notes");
        notes.iter().map(|note| note["text"].as_str().expect("a text").to_owned()).collect()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after_secs: Option<u64>,
    /// The text itself where it is no JSON.
    pub(crate) body: Value,
}

impl Reply {
    fn read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Reply {
        let mut response = result.expect("an answer");
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after_secs = header.map(|value| value.parse().expect("whole seconds"));
        let text = response.body_mut().read_to_string().expect("a whole body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Reply { status: response.status().as_u16(), retry_after_secs, body }
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn token(self) -> String {
        let reply = self.expect(200);
        reply.body["token"].as_str().expect("a token").to_owned()
    }
}

/// Each request has a new agent, and with it a new connection.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(WAIT_MAX))
        .build()
        .into()
}
