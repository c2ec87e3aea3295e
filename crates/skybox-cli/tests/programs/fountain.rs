//! A program of streams, for `tests/programs/items.rs`.

use std::sync::atomic::{AtomicU32, Ordering};

use skybox::{App, Error, Result, Stream};

/// Flows until nobody drinks.
#[derive(Default)]
struct Spring {
    dry: std::sync::Arc<AtomicU32>,
}

/// Counts streams that nobody reads any more.
struct Flowing(std::sync::Arc<AtomicU32>);

impl Drop for Flowing {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[skybox::module]
impl Spring {
    /// Three numbers at once, and then none for ever.
    pub(crate) async fn flow(&self) -> Result<Stream<u32>> {
        let flowing = Flowing(self.dry.clone());
        let (sender, stream) = Stream::channel(3);
        tokio::spawn(async move {
            for n in 1..=3 {
                if sender.send(n).await.is_err() {
                    break;
                }
            }
            sender.closed().await;
            drop(flowing);
        });
        Ok(stream)
    }

    /// Streams that have ended.
    pub(crate) async fn dry(&self) -> Result<u32> {
        Ok(self.dry.load(Ordering::Relaxed))
    }
}

/// Doubles what comes; 13 is an error, after which it goes on, and 666 a crash.
#[skybox::task]
async fn double(factor: u32, numbers: Stream<u32>) -> Result<Stream<u32>> {
    let doubled = futures_util::StreamExt::map(numbers, move |number| match number? {
        13 => Err(Error::msg("13 brings bad luck")),
        666 => panic!("the number of the beast"),
        number => Ok(factor * number),
    });
    Ok(Stream::from_stream(doubled))
}

/// Adds up what comes.
#[skybox::task]
async fn sum(mut numbers: Stream<u64>) -> Result<u64> {
    let mut sum = 0;
    while let Some(number) = futures_util::StreamExt::next(&mut numbers).await {
        sum += number?;
    }
    Ok(sum)
}

#[tokio::main]
async fn main() -> Result<()> {
    let app = App::builder().start().await?;
    app.draining().await;
    Ok(())
}
