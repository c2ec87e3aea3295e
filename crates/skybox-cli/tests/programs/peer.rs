//! A peer that speaks the wire by hand: it sends what no node would.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use bytes::BytesMut;
use skybox_core::{CallId, Chain, Incarnation, NodeName};
use skybox_wire::frame::{
    Beat, CallHead, Decoder, Frame, Limits, MethodNumber, ModuleNumber, encode_call, encode_ping,
};
use skybox_wire::handshake::{Agreed, Handshake, Hello, Role};

/// A connection to a node, with a finished handshake.
pub(crate) struct Peer {
    stream: UnixStream,
    node: Hello,
    decoder: Decoder,
    input: BytesMut,
    calls: u64,
}

impl Peer {
    /// Shakes hands as an operator of the shop.
    pub(crate) fn shake(mut stream: UnixStream) -> Peer {
        let hello = Hello {
            protocols: Hello::PROTOCOLS,
            role: Role::Operator,
            incarnation: Incarnation(1),
            clock_us: 0,
            program: "shop".to_owned(),
            build: "test".to_owned(),
            node: NodeName::new("peer"),
            modules: Vec::new(),
        };
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let mut handshake = Handshake::new(hello, &mut output).expect("a short hello");
        loop {
            stream.write_all(&output.split()).expect("the node reads");
            receive(&mut stream, &mut input);
            if let Some(Agreed { peer: node, .. }) =
                handshake.feed(&mut input, &mut output).expect("it welcomes operators")
            {
                stream.write_all(&output.split()).expect("the node reads");
                return Peer { stream, node, decoder: Decoder::new(Limits::default()), input, calls: 0 };
            }
        }
    }

    /// The connection alone, for bytes that are no frames.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// The node's number of a module.
    pub(crate) fn module(&self, name: &str) -> u16 {
        let place = self.node.modules.iter().position(|module| module.name == name);
        place.and_then(|place| u16::try_from(place).ok()).expect("every node has every module")
    }

    /// Calls a method by its numbers, with a payload of whatever form.
    pub(crate) fn call(&mut self, module: u16, method: u16, form: u8, payload: &[u8]) -> CallId {
        self.calls += 1;
        let head = CallHead {
            call: CallId(self.calls),
            module: ModuleNumber(module),
            method: MethodNumber(method),
            form,
            key: None,
            deadline_us: None,
            trace: None,
            chain: &Chain::default(),
            caller: None,
        };
        let mut output = BytesMut::new();
        let first = encode_call(&mut output, &head, payload).expect("a short head");
        assert_eq!(first, payload.len(), "a payload of one frame");
        self.stream.write_all(&output).expect("the node reads");
        head.call
    }

    /// Asks whether the node is there.
    pub(crate) fn ping(&mut self, nonce: u64) {
        let mut output = BytesMut::new();
        encode_ping(&mut output, Beat { nonce, clock_us: 0 });
        self.stream.write_all(&output).expect("the node reads");
    }

    /// The next frame that is no ping.
    pub(crate) fn frame(&mut self) -> Frame {
        loop {
            match self.decoder.next(&mut self.input).expect("a node sends frames") {
                None => receive(&mut self.stream, &mut self.input),
                Some(Frame::Ping(_)) => {}
                Some(frame) => return frame,
            }
        }
    }
}

fn receive(stream: &mut UnixStream, input: &mut BytesMut) {
    let mut bytes = [0; 4096];
    let n = stream.read(&mut bytes).expect("the node answers");
    assert!(n > 0, "the node closed the connection");
    input.extend_from_slice(&bytes[..n]);
}
