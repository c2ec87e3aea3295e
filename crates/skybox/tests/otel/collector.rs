//! A collector: OTLP with protobuf over HTTP/1.1, as much of it as the exporter speaks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use prost::Message;

/// The longest any wait may take. Generous: it only ends tests that would fail anyway.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// How a collector behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It takes what it gets.
    Takes,
    /// It reads, and never answers.
    Hangs,
    /// Nobody listens at its address.
    IsDown,
}

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub service: String,
    pub node: String,
    pub pid: String,
    pub name: String,
    pub kind: String,
    pub trace: u128,
    pub id: u64,
    pub parent: u64,
    pub failed: bool,
    /// The type of its error, or nothing.
    pub error: String,
}

#[derive(Default)]
struct Seen {
    requests: usize,
    spans: Vec<Received>,
}

pub struct Collector {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Collector {
    pub fn open(manner: Manner) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::<Mutex<Seen>>::default();
        let collector = Collector { address, seen: seen.clone() };
        if manner != Manner::IsDown {
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let seen = seen.clone();
                    std::thread::spawn(move || serve(&stream, manner, &seen));
                }
            });
        }
        collector
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn spans(&self) -> Vec<Received> {
        self.seen.lock().unwrap().spans.clone()
    }

    /// Waits for that many spans.
    pub async fn wait(&self, count: usize) -> Vec<Received> {
        until(async || self.spans().len() >= count).await;
        self.spans()
    }

    /// Waits until a batch has come.
    pub async fn asked(&self) {
        until(async || self.seen.lock().unwrap().requests > 0).await;
    }
}

/// Waits for something to be so.
pub async fn until(mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !so().await {
            // Sleeps because there is nothing to be woken by: what is waited for happens in other processes.
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is so in time");
}

fn serve(stream: &TcpStream, manner: Manner, seen: &Mutex<Seen>) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        seen.lock().unwrap().requests += 1;
        if manner == Manner::Hangs {
            // Kept open until the other side goes.
            let _ = reader.read_to_end(&mut Vec::new());
            return;
        }
        let batch = ExportTraceServiceRequest::decode(&body[..]).expect("it is OTLP");
        seen.lock().unwrap().spans.extend(read(batch));
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        let mut stream = stream;
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The body of the next request.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /v1/traces "), "{line}");
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(("content-length", value)) = line.split_once(": ") {
            length = value.parse().expect("a length is a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn read(batch: ExportTraceServiceRequest) -> Vec<Received> {
    let mut spans = Vec::new();
    for of_process in batch.resource_spans {
        let attributes = of_process.resource.expect("it says whose").attributes;
        let text = |key: &str| text(&attributes, key);
        for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Received {
                service: text("service.name"),
                node: text("skybox.node"),
                pid: text("process.pid"),
                kind: SpanKind::try_from(span.kind).unwrap().as_str_name().to_lowercase()
                    ["span_kind_".len()..]
                    .to_owned(),
                trace: u128::from_be_bytes(span.trace_id.try_into().expect("16 bytes")),
                id: u64::from_be_bytes(span.span_id.try_into().expect("8 bytes")),
                parent: span.parent_span_id.try_into().map_or(0, u64::from_be_bytes),
                error: optional(&span.attributes, "error.type").unwrap_or_default(),
                failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
                name: span.name,
            });
        }
    }
    spans
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    optional(attributes, key).unwrap_or_else(|| panic!("there is no `{key}`"))
}

fn optional(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("`{key}` is {other:?}"),
    }
}
