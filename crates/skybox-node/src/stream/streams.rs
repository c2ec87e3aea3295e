//! The streams of one connection, by the ids in their frames.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::{Bytes, BytesMut};
use skybox_core::{CallErrorKind, CallId};
use skybox_wire::codec::Form;
use skybox_wire::frame::{
    Decoder, Frame, FrameError, ItemHead, Limits, PayloadOf, StreamId, encode_stream_end, split_item,
};
use skybox_wire::stream::STREAMS_PER_CALL_MAX;
use tokio::runtime::Handle as Runtime;

use super::Outlets;
use super::receiving::{Incoming, Inlet};
use super::sending::{Outgoing, Sender};
use crate::conn::Conn;
use crate::host::lock;
use crate::metrics::Edge;

/// Streams that one side of a connection reads at once, and that it sends at once. Each may hold a window and one
/// item; a call with a further one is refused.
const STREAMS_MAX: usize = 4096;

/// The call's id where there is only one: in strict mode each call has streams of its own.
pub(crate) const STRICT_CALL: CallId = CallId(1);

/// The ends on this side of a connection.
pub(crate) struct Streams {
    way: Way,
    table: Mutex<Table>,
}

/// Where frames go.
enum Way {
    /// To the peer, once the connection has begun.
    Conn(OnceLock<(Weak<Conn>, Runtime)>),
    /// Back to this very table: strict mode has both ends in one process.
    Loop(Runtime),
}

#[derive(Default)]
struct Table {
    sending: BTreeMap<StreamId, Arc<Outgoing>>,
    receiving: BTreeMap<StreamId, Arc<Incoming>>,
    /// The connection is over, and why.
    closed: Option<String>,
}

impl Streams {
    /// Of a connection that [`begins`](Streams::begin) soon.
    pub(crate) fn of_conn() -> Arc<Streams> {
        Arc::new(Streams { way: Way::Conn(OnceLock::new()), table: Mutex::default() })
    }

    /// Of one call in strict mode.
    pub(crate) fn strict(runtime: Runtime) -> Arc<Streams> {
        Arc::new(Streams { way: Way::Loop(runtime), table: Mutex::default() })
    }

    pub(crate) fn begin(&self, conn: &Arc<Conn>, runtime: &Runtime) {
        if let Way::Conn(way) = &self.way {
            way.get_or_init(|| (Arc::downgrade(conn), runtime.clone()));
        }
    }

    fn runtime(&self) -> Option<&Runtime> {
        match &self.way {
            Way::Conn(way) => way.get().map(|(_, runtime)| runtime),
            Way::Loop(runtime) => Some(runtime),
        }
    }

    /// Whether nobody here needs the connection for a stream of a call that the peer has made.
    pub(crate) fn are_served(&self) -> bool {
        let table = lock(&self.table);
        let of = |id: &StreamId, of| id.of == of;
        !table.receiving.keys().any(|id| of(id, PayloadOf::Call))
            && !table.sending.keys().any(|id| of(id, PayloadOf::Reply))
    }

    /// Whether there are none.
    pub(crate) fn are_over(&self) -> bool {
        let table = lock(&self.table);
        table.receiving.is_empty() && table.sending.is_empty()
    }

    /// Starts to send the streams of a payload of that form, each when its reader first asks. Called before the payload
    /// leaves. `edge` counts the items.
    ///
    /// # Errors
    /// `Overloaded`, and none of them is sent.
    pub(crate) fn attach_sending(
        self: &Arc<Self>,
        of: PayloadOf,
        call: CallId,
        outlets: &Outlets,
        form: Form,
        edge: Option<&Arc<Edge>>,
    ) -> Result<(), CallErrorKind> {
        if outlets.is_empty() {
            return Ok(());
        }
        let mut table = lock(&self.table);
        if table.sending.len() + outlets.len() > STREAMS_MAX {
            let what = format!("{STREAMS_MAX} streams are being sent over one connection");
            return Err(CallErrorKind::Overloaded { what });
        }
        if let Some(why) = &table.closed {
            return Err(CallErrorKind::Unreachable { why: why.clone() });
        }
        let pumps: Vec<_> = (0..STREAMS_PER_CALL_MAX)
            .zip(outlets)
            .map(|(position, outlet)| {
                let id = StreamId { of, call, position };
                let outgoing = Arc::new(Outgoing::default());
                table.sending.insert(id, outgoing.clone());
                let as_json = form == Form::Json;
                outlet.clone().pump(Sender::new(self.clone(), id, outgoing, edge.cloned(), as_json))
            })
            .collect();
        drop(table);
        // Outside the lock: a runtime that ends drops them at once, and they leave the table.
        for pump in pumps {
            if let Some(runtime) = self.runtime() {
                runtime.spawn(pump);
            }
        }
        Ok(())
    }

    /// A reader for a stream that a payload speaks of.
    ///
    /// # Errors
    /// The reason why there can be none.
    pub(crate) fn attach_receiving(self: &Arc<Self>, id: StreamId) -> Result<Inlet, String> {
        let mut table = lock(&self.table);
        if table.receiving.len() >= STREAMS_MAX {
            return Err(format!("{STREAMS_MAX} streams are being read over one connection"));
        }
        if table.receiving.contains_key(&id) {
            return Err(format!("there are two of {id}"));
        }
        let incoming = Arc::new(match &table.closed {
            Some(why) => Incoming::broken(CallErrorKind::Lost { why: why.clone() }),
            None => Incoming::default(),
        });
        table.receiving.insert(id, incoming.clone());
        drop(table);
        Ok(Inlet::new(self.clone(), id, incoming))
    }

    /// Takes a stream's frame. One for a stream that is over means nothing.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection.
    pub(crate) fn take(&self, frame: Frame) -> Result<(), FrameError> {
        match frame {
            Frame::Item(item) => self.incoming(item.stream).map_or(Ok(()), |incoming| incoming.begin(item)),
            Frame::ItemChunk(id, bytes) => {
                self.incoming(id).map_or(Ok(()), |incoming| incoming.push(id, &bytes))
            }
            Frame::StreamEnd(id, failed) => {
                let incoming = lock(&self.table).receiving.remove(&id);
                if let Some(incoming) = incoming {
                    incoming.end(failed);
                }
                Ok(())
            }
            Frame::Credit(id, credit) => {
                let outgoing = lock(&self.table).sending.get(&id).cloned();
                outgoing.map_or(Ok(()), |outgoing| outgoing.credited(id, credit))
            }
            Frame::Reset(id) => {
                let outgoing = lock(&self.table).sending.remove(&id);
                if let Some(outgoing) = outgoing {
                    outgoing.stop(true);
                    if let Some(conn) = self.conn() {
                        conn.forget_items(id);
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A stream that is read here. `None` once it is over.
    pub(crate) fn incoming(&self, id: StreamId) -> Option<Arc<Incoming>> {
        lock(&self.table).receiving.get(&id).cloned()
    }

    fn conn(&self) -> Option<Arc<Conn>> {
        match &self.way {
            Way::Conn(way) => way.get().and_then(|(conn, _)| conn.upgrade()),
            Way::Loop(_) => None,
        }
    }

    /// A call has failed, or its result is not read: nobody will ask for what nobody has asked for yet.
    pub(crate) fn unread(&self, of: PayloadOf, call: CallId) {
        let mut table = lock(&self.table);
        if table.sending.is_empty() {
            return;
        }
        for position in 0..STREAMS_PER_CALL_MAX {
            let id = StreamId { of, call, position };
            if table.sending.get(&id).is_some_and(|outgoing| outgoing.stop(false)) {
                table.sending.remove(&id);
            }
        }
    }

    /// The connection is over: what is read here breaks off, what is sent here stops.
    pub(crate) fn close(&self, why: &str) {
        let mut table = lock(&self.table);
        table.closed = Some(why.to_owned());
        let (sending, receiving) = (std::mem::take(&mut table.sending), std::mem::take(&mut table.receiving));
        drop(table);
        for outgoing in sending.into_values() {
            outgoing.stop(true);
        }
        for incoming in receiving.into_values() {
            incoming.end(Some(CallErrorKind::Lost { why: why.to_owned() }));
        }
    }

    /// Says whether it was still there, and so whether its sender still sends.
    pub(super) fn remove_receiving(&self, id: StreamId, incoming: &Arc<Incoming>) -> bool {
        let mut table = lock(&self.table);
        let ours = table.receiving.get(&id).is_some_and(|found| Arc::ptr_eq(found, incoming));
        ours && table.receiving.remove(&id).is_some()
    }

    /// Writes a frame.
    pub(super) fn write(&self, frame: impl FnOnce(&mut BytesMut)) {
        match &self.way {
            Way::Conn(_) => {
                if let Some(conn) = self.conn() {
                    conn.append(frame);
                }
            }
            Way::Loop(_) => {
                let mut bytes = BytesMut::new();
                frame(&mut bytes);
                self.read_back(&mut bytes);
            }
        }
    }

    /// Writes an item, in as many frames as it needs. Its payload is `lead` and then `payload`.
    pub(super) fn write_item(&self, head: &ItemHead, lead: &[u8], payload: Bytes) {
        match &self.way {
            Way::Conn(_) => {
                if let Some(conn) = self.conn() {
                    conn.append_item(head, lead, payload);
                }
            }
            Way::Loop(_) => {
                let mut bytes = BytesMut::new();
                let (first, mut rest) = split_item(&mut bytes, head, lead, payload);
                bytes.extend_from_slice(&first);
                while let Some(rest) = rest.as_mut().filter(|rest| !rest.is_empty()) {
                    rest.write_chunk(&mut bytes);
                }
                self.read_back(&mut bytes);
            }
        }
    }

    /// Writes the end of a stream, with the reason if it broke off. Only then it counts as over: who sees that nothing is
    /// sent any more, and then what is to be written, sees the end there.
    pub(super) fn ends(&self, id: StreamId, failed: Option<&CallErrorKind>) {
        match &self.way {
            Way::Conn(_) => {
                if let Some(conn) = self.conn() {
                    conn.append_stream_end(id, failed);
                }
            }
            Way::Loop(_) => self.write(|out| encode_stream_end(out, id, failed)),
        }
        lock(&self.table).sending.remove(&id);
    }

    fn read_back(&self, bytes: &mut BytesMut) {
        let mut decoder = Decoder::new(Limits::default());
        while let Some(frame) = decoder.next(bytes).expect("what was written here is read here") {
            if let Err(error) = self.take(frame) {
                self.close(&error.to_string());
            }
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = lock(&self.table);
        f.debug_struct("Streams")
            .field("sending", &table.sending.len())
            .field("receiving", &table.receiving.len())
            .finish_non_exhaustive()
    }
}
