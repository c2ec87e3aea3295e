//! Reading from a socket: into the buffer, and what is long to where it belongs.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use skybox_wire::frame::FRAME_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::stream::Incoming;

/// Room made when there is not enough left. Payloads share the buffer, so a fresh one is needed each time it is
/// used up: it is large, and holds thousands of small frames.
const BUFFER_BYTES: usize = 256 * 1024;
/// Room that is enough for a read.
const ROOM_BYTES: usize = 16 * 1024;
/// Bytes of a read that looks for the next item's head, where one was read past the buffer: what stands behind the head
/// is copied.
const HEAD_BYTES: usize = 4 * 1024;
/// Bytes of items after which the reader lets other tasks run, so that they read what has arrived and ask for more.
const TURN_BYTES: usize = 256 * 1024;

/// Reading items to where they belong, past the buffer.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// An item was read, and the next one's head is likely to come next.
    expects_head: bool,
    /// Bytes of items since other tasks had their turn.
    bytes: usize,
}

impl Past {
    /// Reads what comes next into the buffer, and says `heard`. `false` if nothing comes any more.
    pub(super) async fn read_on<R: AsyncRead + Unpin>(
        &mut self,
        socket: &mut R,
        buffer: &mut BytesMut,
        heard: impl Fn(),
    ) -> io::Result<bool> {
        make_room(buffer);
        let read = if std::mem::take(&mut self.expects_head) {
            socket.read_buf(&mut buffer.limit(HEAD_BYTES)).await?
        } else {
            socket.read_buf(buffer).await?
        };
        heard();
        Ok(read > 0)
    }

    /// Reads the rest of a frame. `false` if the connection ends before.
    pub(super) async fn read_item<R: AsyncRead + Unpin>(
        &mut self,
        socket: &mut R,
        buffer: &mut BytesMut,
        begun: ItemBegun,
        heard: impl Fn(),
    ) -> io::Result<bool> {
        let ItemBegun { reader, mut left } = begun;
        let len = left;
        let Some((incoming, mut bytes)) = reader else {
            while left > 0 {
                make_room(buffer);
                let room = left.min(BUFFER_BYTES);
                let read = fill(socket, buffer, room, &heard).await?;
                buffer.clear();
                if !read {
                    return Ok(false);
                }
                left -= room;
            }
            return Ok(true);
        };
        if !fill(socket, &mut bytes, left, &heard).await? {
            return Ok(false);
        }
        incoming.give_back(bytes);
        self.expects_head = true;
        self.bytes += len;
        if self.bytes >= TURN_BYTES {
            self.bytes = 0;
            tokio::task::yield_now().await;
        }
        Ok(true)
    }
}

/// Reads so many bytes. Says `heard` with each read: who sends steadily is not silent, however slow it is. `false` if
/// the connection ends before.
async fn fill<R: AsyncRead + Unpin>(
    socket: &mut R,
    bytes: &mut impl BufMut,
    mut left: usize,
    heard: impl Fn(),
) -> io::Result<bool> {
    while left > 0 {
        match socket.read_buf(&mut (&mut *bytes).limit(left)).await? {
            0 => return Ok(false),
            read => left -= read,
        }
        heard();
    }
    Ok(true)
}

/// An item of which the beginning has arrived.
pub(super) struct ItemBegun {
    /// Who reads it, and what it has lent. `None` if nobody does any more.
    pub(super) reader: Option<(Arc<Incoming>, Vec<u8>)>,
    /// Bytes of its frame that come next.
    pub(super) left: usize,
}

/// Makes room for the next read: all of a frame that has begun, or a good deal of what may come.
fn make_room(buffer: &mut BytesMut) {
    let begun = buffer.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    // The decoder has refused a longer one before it came here.
    let missing = begun.min(FRAME_BYTES_MAX).saturating_sub(buffer.len());
    if buffer.capacity() - buffer.len() < missing.max(ROOM_BYTES) {
        buffer.reserve(BUFFER_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::sync::Weak;
    use std::task::Poll;
    use std::time::Duration;

    use bytes::Bytes;
    use skybox_core::{CallId, Incarnation, NodeName};
    use skybox_wire::frame::{CHUNK_BYTES_MAX, ItemHead, PayloadOf, StreamId, split_item};
    use skybox_wire::handshake::{Hello, Role};
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::conn::open::{Opening, agree};
    use crate::conn::proof::Proof;
    use crate::conn::socket::WriteHalf;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.unwrap() });
    }

    async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
        poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
    }

    #[test]
    fn a_peer_that_sends_a_long_item_slowly_is_heard_with_each_read() {
        run(async {
            for is_read in [true, false] {
                let (mut peer, mut socket) = tokio::io::duplex(64);
                let reader = is_read.then(|| (Arc::new(Incoming::default()), Vec::new()));
                let (mut past, mut buffer, heard) = (Past::default(), BytesMut::new(), Cell::new(0));
                let hear = || heard.set(heard.get() + 1);
                let begun = ItemBegun { reader, left: 100 };
                let mut reading = pin!(past.read_item(&mut socket, &mut buffer, begun, hear));
                for reads in 1..=3 {
                    peer.write_all(&[7; 10]).await.unwrap();
                    assert!(is_pending(&mut reading).await);
                    assert_eq!(heard.get(), reads);
                }
                drop(peer);
                assert!(!reading.await.unwrap(), "the connection has ended before the item");
            }
        });
    }

    fn hello(node: &str) -> Hello {
        Hello {
            protocols: Hello::PROTOCOLS,
            role: Role::Node,
            incarnation: Incarnation(1),
            clock_us: 0,
            program: "program".to_owned(),
            build: "build".to_owned(),
            node: NodeName::new(node),
            modules: Vec::new(),
        }
    }

    #[test]
    fn a_chunk_that_is_longer_than_its_item_is_a_bad_frame_wherever_it_is_read_to() {
        const STREAM: StreamId = StreamId { of: PayloadOf::Reply, call: CallId(1), position: 0 };
        run(async {
            let (here, there) = UnixStream::pair().unwrap();
            let (read, write) = here.into_split();
            let runtime = tokio::runtime::Handle::current();
            let opening = Opening {
                runtime,
                app: Weak::new(),
                ours: hello("here"),
                expected: None,
                kin: crate::conn::Kin::Peer,
            };
            let shaking = opening.shake(Proof::SameUser, read, WriteHalf::Unix(write));
            let (mut read, write) = there.into_split();
            let (write, mut input) = (WriteHalf::Unix(write), BytesMut::new());
            let peer = agree(hello("there"), None, &Proof::SameUser, &mut read, &write, &mut input);
            let (conn, agreed) = tokio::join!(shaking, peer);
            let (conn, _) = (conn.unwrap(), agreed.unwrap());

            let mut inlet = conn.streams.attach_receiving(STREAM).unwrap();
            // It asks for an item.
            assert!(poll_fn(|cx| Poll::Ready(inlet.poll_item(cx).is_pending())).await);
            let head = ItemHead { stream: STREAM, is_error: false, form: 0 };
            let item = |len| {
                let mut frame = BytesMut::new();
                let (first, rest) = split_item(&mut frame, &head, &[], Bytes::from(vec![7; len]));
                frame.extend_from_slice(&first);
                (frame, rest)
            };
            let (mut frames, _) = item(CHUNK_BYTES_MAX + 1);
            let (_, mut of_a_longer_one) = item(2 * CHUNK_BYTES_MAX);
            let mut chunk = BytesMut::new();
            of_a_longer_one.as_mut().unwrap().write_chunk(&mut chunk);
            // The rest of it would be read past the buffer.
            frames.extend_from_slice(&chunk[..1000]);
            write.write_all(&mut frames).await.unwrap();
            conn.wait_closed().await;
            let why = conn.closed.get().unwrap();
            assert!(why.contains("there sent a bad frame"), "{why}");
        });
    }
}
