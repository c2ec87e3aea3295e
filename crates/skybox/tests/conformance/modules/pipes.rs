//! Streams in and out.

use std::future::ready;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use skybox::{App, Result, Stream};

use super::{Desk, ShopError, Withheld};
use crate::ledger::Ledger;
use crate::stage::SOON;

/// Counts up, notes each number that it makes, and that it was dropped.
pub struct Source {
    ledger: Ledger,
    name: String,
    next: u64,
    end: u64,
}

impl Source {
    pub fn new(ledger: Ledger, name: &str, end: u64) -> Source {
        Source { ledger, name: name.to_owned(), next: 0, end }
    }
}

impl futures_util::Stream for Source {
    type Item = Result<u64>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<u64>>> {
        if self.next == self.end {
            return Poll::Ready(None);
        }
        self.ledger.note(&format!("{} made", self.name));
        self.next += 1;
        Poll::Ready(Some(Ok(self.next - 1)))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.ledger.note(&format!("{} dropped", self.name));
    }
}

/// Adds up what comes.
async fn sum(mut items: Stream<u64>) -> Result<u64> {
    let mut sum = 0;
    while let Some(item) = items.next().await {
        sum += item?;
    }
    Ok(sum)
}

pub struct Pipes {
    ledger: Ledger,
}

#[skybox::module]
impl Pipes {
    fn start(app: &App) -> Result<Self> {
        let ledger = app.value::<Ledger>()?.clone();
        ledger.note("pipes started");
        Ok(Pipes { ledger })
    }

    /// `0..end`, by a [`Source`].
    pub async fn count(&self, name: &str, end: u64) -> Result<Stream<u64>> {
        Ok(Stream::from_stream(Source::new(self.ledger.clone(), name, end)))
    }

    pub async fn sum(&self, items: Stream<u64>) -> Result<u64> {
        sum(items).await
    }

    /// Says each thing again, louder, while it still listens.
    pub async fn echo(&self, words: Stream<String>) -> Result<Stream<String>> {
        Ok(Stream::from_stream(words.map(|word| word.map(|word| word.to_uppercase()))))
    }

    /// Blocks of these lengths.
    pub async fn blocks(&self, lengths: Vec<usize>) -> Result<Stream<Bytes>> {
        let blocks = lengths.into_iter().map(|len| Ok::<_, skybox::Error>(vec![len as u8; len].into()));
        Ok(Stream::from_stream(stream::iter(blocks)))
    }

    /// The lengths of the blocks, and whether each is whole.
    pub async fn measure(&self, mut blocks: Stream<Bytes>) -> Result<Vec<(usize, bool)>> {
        let mut lengths = Vec::new();
        while let Some(block) = blocks.next().await {
            let block = block?;
            lengths.push((block.len(), block.iter().all(|byte| *byte == block.len() as u8)));
        }
        Ok(lengths)
    }

    /// A number, an error, a number.
    pub async fn stumble(&self) -> Result<Stream<u64>> {
        let error = || skybox::Error::from(io::Error::other("a stone")).context("on the way");
        Ok(Stream::from_stream(stream::iter([Ok(1), Err(error()), Ok(2)])))
    }

    pub async fn shop(&self) -> Result<Stream<u32, ShopError>> {
        let burned = ShopError::Burned(io::Error::other("a candle"));
        let sold_out = ShopError::SoldOut { item: "cup".to_owned(), left: 2 };
        Ok(Stream::from_stream(stream::iter([Err::<u32, _>(sold_out), Err(burned)])))
    }

    /// The texts of the errors that come.
    pub async fn complaints(&self, items: Stream<u32, ShopError>) -> Result<Vec<String>> {
        // Not an async closure: rustc's incremental builds break on one here (evaluate_obligation, 1.95).
        let texts = items.filter_map(|item| ready(item.err().map(|error| format!("{error:?}"))));
        Ok(texts.collect().await)
    }

    /// The failure of a call of its own, as an item.
    pub async fn passed_on(&self) -> Result<Stream<u64>> {
        let broken = App::current()?.get::<Desk>().fail("a spilled inkpot").await.map(|()| 0);
        Ok(Stream::from_stream(stream::iter([broken])))
    }

    /// Reads one number, and drops the rest.
    pub async fn first(&self, mut items: Stream<u64>) -> Result<Option<u64>> {
        items.next().await.transpose()
    }

    /// Reads one number, and keeps the rest unread until its gate opens.
    pub async fn hold(&self, gate: &str, mut items: Stream<u64>) -> Result<u64> {
        items.next().await.transpose()?;
        self.ledger.pass(gate).await;
        sum(items).await
    }

    /// Waits before it reads.
    pub async fn ponder(&self, gate: &str, items: Stream<u64>) -> Result<u64> {
        self.ledger.pass(gate).await;
        sum(items).await
    }

    /// Whether it has a deadline: before it reads, and once it has begun; and the sum. `elsewhere`: another task reads.
    pub async fn upload(
        &self,
        gate: &str,
        mut items: Stream<u64>,
        elsewhere: bool,
    ) -> Result<(bool, bool, bool, u64)> {
        let before = skybox::current_deadline().is_some();
        let (ledger, gate) = (self.ledger.clone(), gate.to_owned());
        let reading = async move {
            let first = items.next().await.transpose()?.unwrap_or(0);
            ledger.pass(&gate).await;
            Ok::<_, skybox::Error>(first + sum(items).await?)
        };
        let sum = if elsewhere { skybox::spawn(reading).await? } else { reading.await }?;
        let below = App::current()?.get::<Pipes>().has_deadline().await?;
        Ok((before, skybox::current_deadline().is_some(), below, sum))
    }

    pub async fn has_deadline(&self) -> Result<bool> {
        Ok(skybox::current_deadline().is_some())
    }

    /// With something to carry, so that the call is large.
    pub async fn carry(&self, ballast: Bytes, items: Stream<u64>) -> Result<u64> {
        drop(ballast);
        sum(items).await
    }

    pub async fn refuse(&self, _items: Stream<u64>) -> Result<Stream<u64>> {
        Err(skybox::Error::msg("not today"))
    }

    /// Panics after so many numbers.
    pub async fn burst(&self, after: u64) -> Result<Stream<u64>> {
        let items = stream::iter(0..=after).map(move |item| {
            assert!(item < after, "the pipe bursts");
            Ok::<_, skybox::Error>(item)
        });
        Ok(Stream::from_stream(items))
    }

    /// Pushes a number, then panics while it pushes.
    pub async fn push_and_panic(&self) -> Result<Stream<u64>> {
        let (sender, items) = Stream::channel(1);
        skybox::spawn(async move {
            sender.send(1).await.expect("it is read");
            panic!("the pump breaks");
        });
        Ok(items)
    }

    pub async fn withheld(&self) -> Result<Stream<Withheld>> {
        Ok(Stream::from_stream(stream::iter([Ok::<_, skybox::Error>(Withheld { a: 1, secret: 2 })])))
    }

    /// What a reader sees of its argument: its items, and the kind of what broke it off.
    pub async fn listen(&self, mut items: Stream<u64>) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        while let Some(item) = items.next().await {
            seen.push(match item {
                Ok(item) => item.to_string(),
                Err(error) => match error.call_error() {
                    Some(failed) => format!("{}: {error}", failed.kind().name()),
                    None => error.to_string(),
                },
            });
        }
        Ok(seen)
    }

    /// A number as soon as a gate opens.
    pub async fn later(&self, gate: &str) -> Result<Stream<u64>> {
        let (ledger, gate) = (self.ledger.clone(), gate.to_owned());
        Ok(Stream::from_stream(stream::once(async move {
            ledger.pass(&gate).await;
            Ok::<_, skybox::Error>(7)
        })))
    }

    pub async fn impatient(&self, items: Stream<u64>) -> Result<Vec<String>> {
        self.listen(items.idle_timeout(SOON)).await
    }

    pub fn count_now(&self, end: u64) -> Result<Stream<u64>> {
        Ok(Stream::from_stream(stream::iter((0..end).map(Ok::<_, skybox::Error>))))
    }

    /// The seconds left and the trace of the code that makes items, and what it can call.
    pub async fn surroundings(&self) -> Result<Stream<(bool, Option<String>, u32)>> {
        let look = async {
            let trace = skybox::current_trace().map(|trace| trace.to_string());
            let desk = App::current()?.get::<Desk>();
            Ok::<_, skybox::Error>((
                skybox::current_deadline().is_some(),
                trace,
                desk.pages().await?.len() as u32,
            ))
        };
        Ok(Stream::from_stream(stream::once(look)))
    }

    /// Adds up what comes; it may be asked again.
    #[idempotent]
    pub async fn sum_again(&self, gate: &str, items: Stream<u64>, victim: u32) -> Result<(u64, u32)> {
        if std::process::id() == victim {
            self.ledger.pass(gate).await;
        }
        Ok((sum(items).await?, std::process::id()))
    }

    pub async fn process(&self) -> Result<u32> {
        Ok(std::process::id())
    }
}

/// One at a time, and asleep when nobody needs it.
pub struct Brook {
    ledger: Ledger,
    name: String,
    flowed: u64,
}

#[skybox::module(keyed, idle = "40ms")]
impl Brook {
    fn start(app: &App, name: &str) -> Result<Self> {
        Ok(Brook { ledger: app.value::<Ledger>()?.clone(), name: name.to_owned(), flowed: 0 })
    }

    pub async fn flow(&mut self, gate: &str) -> Result<Stream<u64>> {
        self.flowed += 1;
        let (ledger, gate, flowed) = (self.ledger.clone(), gate.to_owned(), self.flowed);
        Ok(Stream::from_stream(stream::once(async move {
            ledger.pass(&gate).await;
            Ok::<_, skybox::Error>(flowed)
        })))
    }

    pub async fn flowed(&mut self) -> Result<u64> {
        Ok(self.flowed)
    }
}

impl Drop for Brook {
    fn drop(&mut self) {
        self.ledger.note(&format!("{} dry", self.name));
    }
}

/// Passes streams on; in split mode from a third process.
#[derive(Default)]
pub struct Conduit;

#[skybox::module]
impl Conduit {
    pub async fn count(&self, name: &str, end: u64) -> Result<Stream<u64>> {
        App::current()?.get::<Pipes>().count(name, end).await
    }

    pub async fn sum(&self, items: Stream<u64>) -> Result<u64> {
        App::current()?.get::<Pipes>().sum(items).await
    }

    pub async fn burst(&self, after: u64) -> Result<Stream<u64>> {
        App::current()?.get::<Pipes>().burst(after).await
    }
}

/// Says each thing again, louder; begins only when it has been waited for.
#[skybox::task]
pub async fn louder(words: Stream<String>) -> Result<Stream<String>> {
    tokio::task::yield_now().await;
    Ok(Stream::from_stream(words.map(|word| word.map(|word| format!("{word}!")))))
}
