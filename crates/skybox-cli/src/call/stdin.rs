//! Items from standard input: one JSON value a line.

use std::io::BufRead;

use serde_json::Value;
use skybox_node::{ItemError, Stream};
use tokio::sync::{mpsc, oneshot};

/// Lines that are read ahead of the call: enough that it need not wait for the next read.
const LINES_AHEAD: usize = 64;

/// A line that is no item.
pub(super) type Mistake = oneshot::Receiver<anyhow::Error>;

/// The items, and what is wrong with one of them, which ends the call. Blank lines are none.
pub(super) fn items() -> anyhow::Result<(Stream<Value, ItemError>, Mistake)> {
    let (lines, mut read) = mpsc::channel::<anyhow::Result<Value>>(LINES_AHEAD);
    // A thread of its own: a read from a terminal ends when the person wants, and nobody waits for it.
    std::thread::Builder::new().name("skybox-stdin".to_owned()).spawn(move || {
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let item = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => serde_json::from_str(&line).map_err(|error| {
                    anyhow::anyhow!("line {} of standard input is not JSON: {error}", number + 1)
                }),
                Err(error) => Err(anyhow::Error::from(error).context("standard input cannot be read")),
            };
            let over = item.is_err();
            if lines.blocking_send(item).is_err() || over {
                return;
            }
        }
    })?;
    let (sender, items) = Stream::channel(1);
    let (wrong, mistake) = oneshot::channel();
    tokio::spawn(async move {
        while let Some(item) = read.recv().await {
            match item {
                Ok(item) => {
                    // Nobody reads it any more: the call has ended.
                    if sender.send(item).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    drop(wrong.send(error));
                    // Held, so that the call does not take what came so far for the whole.
                    return std::future::pending().await;
                }
            }
        }
    });
    Ok((items, mistake))
}

/// Resolves with what is wrong with standard input, if anything is.
pub(super) async fn mistake(mistake: Option<Mistake>) -> anyhow::Error {
    match mistake {
        Some(mistake) => match mistake.await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
