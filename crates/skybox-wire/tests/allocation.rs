//! What a hostile peer can make this side allocate: never more than the bounds, whatever it announces.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{BufMut, Bytes, BytesMut};
use skybox_core::{CallId, Incarnation, NodeName};
use skybox_wire::frame::{Decoder, FRAME_BYTES_MAX, Limits, Payload, Progress, Reassembly};
use skybox_wire::handshake::{HELLO_BYTES_MAX, Handshake, Hello, MAGIC, Role};

thread_local! {
    /// The largest single allocation of this thread since it was last set to zero.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Watched;

// SAFETY: every call goes to the system's allocator unchanged; the cell is not allocated and has no destructor.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.with(|largest| largest.set(largest.get().max(layout.size())));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and `at` comes from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.with(|largest| largest.set(largest.get().max(size)));
        // SAFETY: the caller keeps `realloc`'s contract, and `at` comes from `System`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The largest allocation that `run` makes.
fn largest_of(run: impl FnOnce()) -> usize {
    LARGEST.set(0);
    run();
    LARGEST.get()
}

#[test]
fn allocations_are_seen() {
    assert_eq!(largest_of(|| drop(std::hint::black_box(vec![0u8; 12_345]))), 12_345);
}

#[test]
fn a_frame_reserves_its_own_bound_at_most() {
    for len in [0u32, 1, 1000, FRAME_BYTES_MAX as u32, FRAME_BYTES_MAX as u32 + 1, 1 << 30, u32::MAX] {
        for kind in 0..0x14u8 {
            for fill in [0x00u8, 0x01, 0x7f, 0x80, 0xff] {
                let mut buffer = BytesMut::with_capacity(256);
                buffer.put_u32_le(len);
                buffer.put_u8(kind);
                buffer.put_bytes(fill, 200);
                let largest =
                    largest_of(
                        || while let Ok(Some(_)) = Decoder::new(Limits::default()).next(&mut buffer) {},
                    );
                assert!(largest <= FRAME_BYTES_MAX + 4, "{len} {kind} {fill:#x}: {largest} bytes");
            }
        }
    }
}

#[test]
fn an_announced_payload_reserves_nothing() {
    let limits = Limits { payload_bytes_max: usize::MAX, ..Limits::default() };
    let mut reassembly = Reassembly::new(limits);
    let largest = largest_of(|| {
        for call in 1..=100 {
            let payload = Payload { total: usize::MAX as u64, first: Bytes::from_static(b"first") };
            assert_eq!(reassembly.begin(CallId(call), (), payload).unwrap(), Progress::Waiting);
            assert_eq!(reassembly.push(CallId(call), b"second").unwrap(), Progress::Waiting);
        }
    });
    assert!(largest < 4096, "{largest} bytes for 1,100 that arrived");
}

#[test]
fn a_growing_payload_reserves_at_most_twice_what_arrived_and_never_beyond_its_length() {
    let total = 5_000_000;
    let chunk = vec![0; 60_000];
    let mut reassembly = Reassembly::new(Limits::default());
    let first = Payload { total, first: Bytes::from_static(b"0123456789") };
    reassembly.begin(CallId(1), (), first).unwrap();
    let mut arrived = 10;
    while arrived < total as usize {
        let piece = &chunk[..chunk.len().min(total as usize - arrived)];
        let largest = largest_of(|| drop(reassembly.push(CallId(1), piece).unwrap()));
        arrived += piece.len();
        assert!(largest <= (2 * arrived).min(total as usize), "{largest} bytes where {arrived} arrived");
    }
    assert_eq!(reassembly.bytes_held(), 0);
}

#[test]
fn a_hello_reserves_no_more_than_arrived() {
    let ours = Hello {
        protocols: Hello::PROTOCOLS,
        role: Role::Node,
        incarnation: Incarnation(1),
        clock_us: 0,
        program: "shop".into(),
        build: String::new(),
        node: NodeName::new("node-1"),
        modules: Vec::new(),
    };
    for len in [60, HELLO_BYTES_MAX as u32, HELLO_BYTES_MAX as u32 + 1, u32::MAX] {
        for fill in [0x01, 0x7f, 0x80, 0xff] {
            let (mut input, mut out) = (BytesMut::new(), BytesMut::with_capacity(8192));
            input.put_slice(&MAGIC);
            input.put_u32_le(len);
            input.put_slice(&[1, 0, 1, 0, 0]);
            input.put_bytes(fill, 100);
            let mut side = Handshake::new(ours.clone(), &mut BytesMut::new()).unwrap();
            let largest = largest_of(|| drop(side.feed(&mut input, &mut out)));
            assert!(largest < 8192, "{len} {fill:#x}: {largest} bytes");
        }
    }
}
