//! What the codec costs beside bare postcard, as ratios of one run.
//!
//! `cargo run --release -p skybox-wire --example codec_cost`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skybox_wire::codec::{Proof, decode, encode};

#[derive(Clone, Serialize, Deserialize)]
struct Echo {
    id: u64,
    name: String,
    tags: [u32; 8],
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: Option<String>,
    coupon: Option<u32>,
    lines: Vec<Line>,
    state: State,
}

#[derive(Clone, Serialize, Deserialize)]
struct Line {
    item: u32,
    count: u16,
    gift: Option<bool>,
}

#[derive(Clone, Serialize, Deserialize)]
enum State {
    New,
    Paid { cents: i64 },
    Sent(String),
}

/// An ordinary type but for one attribute, which postcard cannot read back.
#[derive(Clone, Serialize, Deserialize)]
struct Skips {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
    tags: Vec<u32>,
}

/// Rounds of each subject, alternating, of which the fastest counts.
const ROUNDS: usize = 21;
/// So long that reading the clock does not count, so short that a round often meets no interruption.
const ROUND: Duration = Duration::from_millis(2);

/// ns per call of the fastest round of each.
fn race(subjects: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; subjects.len()];
    let calls: Vec<u32> = subjects.iter_mut().map(|subject| calls_per_round(subject)).collect();
    for _ in 0..ROUNDS {
        for ((subject, &calls), best) in subjects.iter_mut().zip(&calls).zip(&mut best) {
            let start = Instant::now();
            for _ in 0..calls {
                subject();
            }
            *best = best.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
        }
    }
    best
}

fn calls_per_round(subject: &mut dyn FnMut()) -> u32 {
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < ROUND {
        subject();
        calls += 1;
    }
    calls
}

fn measure<T: Serialize + DeserializeOwned>(title: &str, value: &T) {
    let proof = Proof::new();
    let mut out = BytesMut::with_capacity(1 << 17);
    let form = encode::<T, T>(value, &proof, &mut out).expect("it crosses");
    let ours = out.clone();
    let bare = postcard::to_allocvec(value).expect("it is written");
    let mut slice = vec![0; 1 << 17];
    let mut bare_out = BytesMut::with_capacity(1 << 17);
    let reads_bare = postcard::from_bytes::<T>(&bare).is_ok();

    let encoded = race(&mut [
        &mut || {
            out.clear();
            black_box(encode::<T, T>(black_box(value), &proof, &mut out)).expect("it crosses");
        },
        &mut || {
            bare_out.clear();
            let flavor = Extend(&mut bare_out);
            black_box(postcard::serialize_with_flavor::<T, _, _>(black_box(value), flavor))
                .expect("it is written");
        },
        &mut || {
            black_box(postcard::to_slice(black_box(value), &mut slice)).expect("it is written");
        },
    ]);
    let decoded = race(&mut [
        &mut || drop(black_box(decode::<T>(form, black_box(&ours)).expect("it was written"))),
        &mut || drop(black_box(postcard::from_bytes::<T>(black_box(&bare)))),
    ]);
    let bare_decoded = if reads_bare { format!("{:.2}", decoded[0] / decoded[1]) } else { "–".to_owned() };
    println!(
        "{title:28} {form:8} {:5} bytes | encode {:8.1} ns = {:.2} x postcard into BytesMut, {:.2} x into a slice | decode {:8.1} ns = {bare_decoded} x",
        ours.len(),
        encoded[0],
        encoded[0] / encoded[1],
        encoded[0] / encoded[2],
        decoded[0],
    );
}

/// Bare postcard into the buffer that frames are written to.
struct Extend<'o>(&'o mut BytesMut);

impl postcard::ser_flavors::Flavor for Extend<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.extend_from_slice(&[byte]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

fn main() {
    let tags = std::array::from_fn(|index| 1_000 * index as u32);
    measure("echo", &Echo { id: 1 << 40, name: "sixteen letters.".into(), tags });
    let line = |item| Line { item, count: 2, gift: (item % 2 == 0).then_some(true) };
    let order = Order {
        id: 7,
        customer: Some("sixteen letters.".into()),
        coupon: None,
        lines: (0..8).map(line).collect(),
        state: State::Paid { cents: -5 },
    };
    if std::env::var("ONLY").is_ok() {
        let proof = Proof::new();
        let mut out = BytesMut::with_capacity(1 << 17);
        for _ in 0..30_000_000 {
            out.clear();
            black_box(encode::<Order, Order>(black_box(&order), &proof, &mut out)).expect("it crosses");
        }
        return;
    }
    measure("options and enums", &order);
    let states: Vec<State> = (0..100)
        .map(|n| match n % 3 {
            0 => State::New,
            1 => State::Paid { cents: n },
            _ => State::Sent("x".into()),
        })
        .collect();
    measure("100 enums", &states);
    measure("1,000 u32", &(0..1_000u32).collect::<Vec<_>>());
    measure("64 KiB as Vec<u8>", &vec![7u8; 1 << 16]);
    measure("64 KiB as Bytes", &bytes::Bytes::from(vec![7u8; 1 << 16]));
    measure("skip_serializing_if", &Skips { id: 7, note: None, tags: vec![1; 8] });
    measure(
        "serde_json::Value",
        &serde_json::json!({"id": 7, "name": "sixteen letters.", "tags": [1, 2, 3]}),
    );
}
