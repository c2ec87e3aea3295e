//! The multiplexer's frames: a header of fixed length, then the payload.
//!
//! Header: payload length (4 bytes), call id (4), method (1); integers are little-endian.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::work::Echo;

/// The payload is an [`Echo`] in postcard.
pub(super) const ECHO: u8 = 1;
/// The payload is the blob itself.
pub(super) const BLOB: u8 = 2;

pub(super) const HEADER_BYTES: usize = 9;

/// Largest payload that is accepted: as large as Skybox takes them, so that only a broken peer exceeds it.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes asked of the kernel at once: four blobs, or the small calls of 3,000 callers.
const READ_BYTES: usize = 256 * 1024;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u32,
    pub(super) method: u8,
}

/// Appends a frame whose payload `write` appends.
pub(super) fn append(frames: &mut Vec<u8>, header: Header, write: impl FnOnce(&mut Vec<u8>)) {
    let start = frames.len();
    let mut bytes = [0; HEADER_BYTES];
    bytes[4..8].copy_from_slice(&header.id.to_le_bytes());
    bytes[8] = header.method;
    frames.extend_from_slice(&bytes);
    write(frames);
    let payload_bytes = frames.len() - start - HEADER_BYTES;
    let payload_bytes = u32::try_from(payload_bytes).expect("callers send blobs of 64 KiB at the most");
    frames[start..start + 4].copy_from_slice(&payload_bytes.to_le_bytes());
}

/// Appends `message` in postcard.
pub(super) fn encode(message: &impl Serialize, payload: &mut Vec<u8>) {
    let whole = std::mem::take(payload);
    *payload = postcard::to_extend(message, whole).expect("writing an Echo into a Vec cannot fail");
}

/// Reads a message from postcard.
///
/// # Errors
/// When the payload is something else.
pub(super) fn decode(payload: &[u8]) -> Result<Echo> {
    postcard::from_bytes(payload).context("decoding a message")
}

/// Cuts what arrives into frames.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// `buffer[start..end]` has arrived and was not given out.
    start: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: vec![0; READ_BYTES + PAYLOAD_BYTES_MAX], start: 0, end: 0 }
    }

    /// Waits for more bytes; `false` when the peer has closed the connection between two frames.
    ///
    /// # Errors
    /// When the connection broke.
    pub(super) async fn fill(&mut self) -> Result<bool> {
        // The rest of an unfinished frame moves to the front: rarely, and little, if frames are small.
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < READ_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let upto = self.buffer.len().min(self.end + READ_BYTES);
        let bytes = self.stream.read(&mut self.buffer[self.end..upto]).await.context("reading")?;
        self.end += bytes;
        ensure!(bytes > 0 || self.start == self.end, "the connection ended within a frame");
        Ok(bytes > 0)
    }

    /// The next frame that has wholly arrived.
    ///
    /// # Errors
    /// When a header makes no sense.
    pub(super) fn next(&mut self) -> Result<Option<(Header, &[u8])>> {
        let arrived = &self.buffer[self.start..self.end];
        let Some((header, rest)) = arrived.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [l0, l1, l2, l3, i0, i1, i2, i3, method] = *header;
        let payload_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        ensure!(payload_bytes <= PAYLOAD_BYTES_MAX, "a payload of {payload_bytes} bytes");
        let Some(payload) = rest.get(..payload_bytes) else { return Ok(None) };
        self.start += HEADER_BYTES + payload_bytes;
        Ok(Some((Header { id: u32::from_le_bytes([i0, i1, i2, i3]), method }, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_being_cut_anywhere() {
        let mut frames = Vec::new();
        append(&mut frames, Header { id: 7, method: ECHO }, |payload| encode(&Echo::sample(7), payload));
        append(&mut frames, Header { id: 8, method: BLOB }, |payload| payload.extend_from_slice(b"blob"));
        for cut in 0..=frames.len() {
            let (first, second) = frames.split_at(cut);
            let mut reader = FrameReader::new(first.chain(second));
            let mut seen = Vec::new();
            while reader.fill().await.unwrap() {
                while let Some((header, payload)) = reader.next().unwrap() {
                    seen.push((header, payload.to_vec()));
                }
            }
            assert_eq!(seen.len(), 2, "cut at {cut}");
            assert_eq!(seen[0].0, Header { id: 7, method: ECHO });
            decode(&seen[0].1).unwrap().check(7).unwrap();
            assert_eq!(seen[1], (Header { id: 8, method: BLOB }, b"blob".to_vec()));
        }
    }

    #[tokio::test]
    async fn an_absurd_length_is_an_error() {
        let mut reader = FrameReader::new([0xff_u8; HEADER_BYTES].as_slice());
        assert!(reader.fill().await.unwrap());
        assert!(reader.next().is_err());
    }
}
