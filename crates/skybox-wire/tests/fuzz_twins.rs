//! The fuzz targets' checks on a stable compiler: over their seeds, over seeds that were damaged, and over bytes that
//! begin like something. `fuzz/README.md` says how they run for longer.
//!
//! The seeds are made here, from the golden vectors and from values of each type: `WRITE_SEEDS=1` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::CallId;
use skybox_wire::codec::{Proof, encode};
use skybox_wire::frame::{
    Beat, Credit, ItemHead, PayloadOf, StreamId, encode_cancel, encode_credit, encode_drain, encode_item,
    encode_item_chunk, encode_ping, encode_pong, encode_reset,
};

#[path = "../../../fuzz/check/codec.rs"]
mod codec;
#[path = "../../../fuzz/check/frame.rs"]
mod frame;
#[path = "../../../fuzz/check/handshake.rs"]
mod handshake;
#[path = "../../../fuzz/check/memory.rs"]
mod memory;
#[path = "../../../fuzz/check/stream.rs"]
mod stream;
#[path = "../../../fuzz/check/tree.rs"]
mod tree;
#[path = "golden/vector.rs"]
mod vector;

use vector::golden;

/// The seeds of one target, by file name.
type Seeds = BTreeMap<&'static str, Vec<u8>>;

fn frame_seeds() -> Seeds {
    ["call_full", "call_in_chunks", "call_plain", "control", "replies", "streams", "verdicts"]
        .map(|name| (name, golden(name).to_vec()))
        .into()
}

fn handshake_seeds() -> Seeds {
    ["welcome", "refusal"].map(|answer| (answer, [golden("hello"), golden(answer)].concat())).into()
}

/// The steps of both programs and of the peer, as `check/stream.rs` reads them.
fn stream_seeds() -> Seeds {
    let id = StreamId { of: PayloadOf::Reply, call: CallId(7), position: 0 };
    let (head, beat) = (ItemHead { stream: id, is_error: false, form: 0 }, Beat { nonce: 0, clock_us: 0 });
    let mut out = BytesMut::new();
    encode_pong(&mut out, beat);
    encode_item(&mut out, &head, b"whole");
    encode_ping(&mut out, beat);
    // An item of six bytes, of which two come behind the others: no writer cuts one as short as that.
    out.extend_from_slice(&[0x0b, 0, 0, 0, 0x10, 0x21, 7, 0, 0, 6, b'i', b'n', b' ', b't', b'w']);
    encode_item_chunk(&mut out, id, b"o");
    encode_ping(&mut out, beat);
    encode_credit(&mut out, id, Credit { items: 2, bytes: 10 });
    encode_drain(&mut out, CallId(11));
    encode_credit(&mut out, id, Credit { items: 0, bytes: 2 });
    encode_drain(&mut out, CallId(1));
    encode_reset(&mut out, id);
    encode_cancel(&mut out, CallId(7));
    [("both_ends", out.to_vec()), ("streams", golden("streams").to_vec())].into()
}

/// One value as the codec writes it, behind the byte that chooses its form and type.
fn codec_seed<T: Serialize + DeserializeOwned>(number: u8, names: bool, value: &T) -> Vec<u8> {
    let (mut out, proof) = (BytesMut::new(), Proof::new());
    if names {
        proof.use_names();
    }
    let form = encode::<T, T>(value, &proof, &mut out).expect("a value that crosses");
    [&[number << 2 | form as u8], &out[..]].concat()
}

fn codec_seeds() -> Seeds {
    use codec::{Containers, Flat, Loose, Scalars};
    use tree::Tree;
    let tree = Tree::Many(vec![
        Tree::Text("text".into()),
        Tree::Next { next: Some(Box::new(Tree::Number(-70_000))) },
        Tree::Branch(Box::new(Tree::Leaf), Box::new(Tree::Many(vec![]))),
    ]);
    let loose = Loose::Many(vec![Loose::Flag(true), Loose::Number(-1), Loose::Text("text".into())]);
    let loose = Loose::Map([("key".to_owned(), loose)].into());
    let flat =
        Flat { id: Some(7), rest: [("other".to_owned(), serde_json::json!([1, null, "text"]))].into() };
    let scalars = Scalars {
        unsigned: (u8::MAX, 300, 70_000, u64::MAX, u128::MAX),
        signed: (i8::MIN, -300, -70_000, i64::MIN, i128::MIN),
        others: (true, 'ß', f32::NAN, -0.0),
    };
    let item = ("text".to_owned(), Bytes::from_static(b"\0bytes"), Some(None));
    let containers: Containers = [(1, vec![item]), (70_000, vec![])].into();
    [
        ("tree_compact", codec_seed(0, false, &tree)),
        ("tree_named", codec_seed(0, true, &tree)),
        ("tree_json", [b"\x02", &serde_json::to_vec(&tree).expect("JSON")[..]].concat()),
        ("loose", codec_seed(1, false, &loose)),
        ("flat", codec_seed(2, false, &flat)),
        ("flat_json", [b"\x0a", &serde_json::to_vec(&flat).expect("JSON")[..]].concat()),
        ("scalars_compact", codec_seed(3, false, &scalars)),
        ("scalars_named", codec_seed(3, true, &scalars)),
        ("containers_compact", codec_seed(4, false, &containers)),
        ("containers_named", codec_seed(4, true, &containers)),
        ("nothing", vec![5 << 2, 0]),
    ]
    .into()
}

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

/// The files are the seeds, and each passes its check.
fn seeds_pass(target: &str, seeds: &Seeds, check: fn(&[u8])) {
    let directory = directory(target);
    let writes = std::env::var_os("WRITE_SEEDS").is_some();
    if writes {
        std::fs::create_dir_all(&directory).expect("a directory for seeds");
    }
    for (name, seed) in seeds {
        let path = directory.join(name);
        if writes {
            std::fs::write(&path, seed).expect("a seed");
        }
        let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(&found, seed, "{} is another seed: WRITE_SEEDS=1 writes it anew", path.display());
        check(seed);
    }
    let files = std::fs::read_dir(&directory).expect("the seeds").count();
    assert_eq!(files, seeds.len(), "{} holds files that no seed accounts for", directory.display());
}

/// One thing that happens to bytes on their way here.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
    Append(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), interesting()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        4 => (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        2 => (at(), vec(interesting(), 1..8)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => (at(), 1..8usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        2 => (at(), 1..64usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        1 => at().prop_map(Damage::Cut),
        1 => at().prop_map(Damage::Append),
    ]
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>, seeds: &Seeds) {
        if bytes.is_empty() {
            return;
        }
        let upto = |at: usize, len: usize| at..(at + len).min(bytes.len());
        match self {
            Damage::Set(at, byte) => *at.get_mut(bytes) = byte,
            Damage::Flip(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
            Damage::Insert(at, inserted) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, inserted);
            }
            Damage::Remove(at, len) => drop(bytes.drain(upto(at.index(bytes.len()), len))),
            Damage::Repeat(at, len) => {
                let span = upto(at.index(bytes.len()), len);
                let repeated = bytes[span.clone()].to_vec();
                bytes.splice(span.end..span.end, repeated);
            }
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Append(seed) => bytes.extend(chosen(seeds, seed)),
        }
    }
}

fn chosen(seeds: &Seeds, at: Index) -> Vec<u8> {
    seeds.values().nth(at.index(seeds.len())).expect("an index below the length").clone()
}

/// Bytes around which numbers, lengths and markers change their meaning, and any others.
fn interesting() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), 0..0x18u8, 0x7e..0x83u8, 0x90..0x94u8, 0xc0..=0xffu8, Just(0xff)]
}

/// A few hundred inputs for one check, most of them near to what it accepts.
fn inputs_pass(seeds: &Seeds, check: fn(&[u8])) -> Result<(), proptest::test_runner::TestError<Input>> {
    let input = prop_oneof![
        8 => (any::<Index>(), vec(damage(), 1..6)).prop_map(|(seed, damages)| Input::Damaged(seed, damages)),
        1 => vec(interesting(), 0..300).prop_map(Input::Bytes),
    ];
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config).run(&input, |input| {
        check(&input.into_bytes(seeds));
        Ok(())
    })
}

#[derive(Clone, Debug)]
enum Input {
    Damaged(Index, Vec<Damage>),
    Bytes(Vec<u8>),
}

impl Input {
    fn into_bytes(self, seeds: &Seeds) -> Vec<u8> {
        match self {
            Input::Damaged(seed, damages) => {
                let mut bytes = chosen(seeds, seed);
                damages.into_iter().for_each(|damage| damage.apply(&mut bytes, seeds));
                bytes
            }
            Input::Bytes(bytes) => bytes,
        }
    }
}

fn run(target: &str, seeds: Seeds, check: fn(&[u8])) {
    seeds_pass(target, &seeds, check);
    inputs_pass(&seeds, check).unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[test]
fn frames() {
    run("frame", frame_seeds(), frame::check);
}

#[test]
fn payloads() {
    run("codec", codec_seeds(), codec::check);
}

#[test]
fn handshakes() {
    run("handshake", handshake_seeds(), handshake::check);
}

#[test]
fn streams() {
    run("stream", stream_seeds(), stream::check);
}
