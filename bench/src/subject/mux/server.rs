//! The multiplexer's server: requests are answered where they were read.

use anyhow::{Result, bail};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::frame::{self, FrameReader, Header};
use crate::work;

/// Replies are written as soon as this many bytes wait, so that a client reads the first blobs
/// while the last are still copied.
const REPLY_BYTES_MAX: usize = 128 * 1024;

/// Answers the requests of one connection until it ends.
pub(super) async fn serve(reader: impl AsyncRead + Unpin, writer: impl AsyncWrite + Unpin) {
    if let Err(error) = answer(FrameReader::new(reader), writer).await {
        eprintln!("a connection of the multiplexer failed: {error:#}");
    }
}

/// All requests that one read brought are answered with one write: the batch the client made is
/// kept, and no second task has to be woken.
async fn answer(
    mut requests: FrameReader<impl AsyncRead + Unpin>,
    mut writer: impl AsyncWrite + Unpin,
) -> Result<()> {
    let mut replies = Vec::with_capacity(2 * REPLY_BYTES_MAX);
    while requests.fill().await? {
        while let Some((header, payload)) = requests.next()? {
            answer_one(header, payload, &mut replies).await?;
            if replies.len() >= REPLY_BYTES_MAX {
                writer.write_all(&replies).await?;
                replies.clear();
            }
        }
        writer.write_all(&replies).await?;
        // A socket has nothing to flush; TLS may still hold what a full socket did not take.
        writer.flush().await?;
        replies.clear();
    }
    Ok(())
}

async fn answer_one(header: Header, payload: &[u8], replies: &mut Vec<u8>) -> Result<()> {
    match header.method {
        frame::ECHO => {
            let reply = work::echo(postcard::from_bytes(payload)?).await;
            frame::append(replies, header, |payload| frame::encode(&reply, payload));
        }
        frame::BLOB => frame::append(replies, header, |reply| reply.extend_from_slice(payload)),
        other => bail!("no method has the number {other}"),
    }
    Ok(())
}
