//! What tests change in etcd, through the door that it has for tools without its client.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::etcd::Etcd;

/// Deletes the records of nodes of a program, in one step.
pub(crate) fn forget(etcd: &Etcd, program: &str, nodes: &[&str]) {
    let prefix = format!("/skybox/{program}/node/");
    // The key behind all that begin so.
    let end = format!("/skybox/{program}/node0");
    let range = json!({ "key": encoded(&prefix), "range_end": encoded(&end) });
    let listed = post(etcd, "/v3/kv/range", &range);
    let is_of = |entry: &&Value| {
        let value = decoded(entry["value"].as_str().unwrap_or_default());
        let node: Value = serde_json::from_str(&value).expect("a record is JSON");
        nodes.iter().any(|name| node["name"] == *name)
    };
    let found: Vec<_> = listed["kvs"].as_array().into_iter().flatten().filter(is_of).collect();
    assert_eq!(found.len(), nodes.len(), "{listed:#}");
    let delete = |entry: &Value| json!({ "requestDeleteRange": { "key": entry["key"] } });
    let deletes: Vec<_> = found.into_iter().map(delete).collect();
    let said = post(etcd, "/v3/kv/txn", &json!({ "success": deletes }));
    assert_eq!(said["succeeded"], true, "{said:#}");
}

fn post(etcd: &Etcd, path: &str, body: &Value) -> Value {
    let address = etcd.address();
    let address = address.trim_start_matches("etcd://").split(',').next().expect("it has members");
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("HTTP: {answer}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// In base64, as its JSON has keys and values.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for part in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(part.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= part.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn decoded(text: &str) -> String {
    let digit = |byte: u8| DIGITS.iter().position(|digit| *digit == byte);
    let digits: Vec<_> = text.bytes().map_while(digit).collect();
    let bytes = digits.chunks(4).flat_map(|part| {
        let bits = (0..4).fold(0, |bits, at| bits << 6 | part.get(at).copied().unwrap_or(0));
        (1..part.len()).map(move |at| (bits >> (24 - 8 * at) & 255) as u8)
    });
    String::from_utf8(bytes.collect()).expect("values are text")
}
