//! A story that is told word by word, as a model would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use skybox::{Result, Stream};

/// What is told.
pub const STORY: &str = "Once there was a program that outgrew its machine, and nobody had to rewrite it.";
/// The pause after each word.
const PAUSE: Duration = Duration::from_millis(40);

/// Tells the story to whoever asks.
#[derive(Debug, Default)]
pub struct Teller {
    telling: Arc<AtomicU32>,
}

#[skybox::module]
impl Teller {
    /// The story. It stops when nobody listens any more.
    pub async fn tell(&self) -> Result<Stream<String>> {
        let (sender, words) = Stream::channel(1);
        let telling = Telling::begin(&self.telling);
        skybox::spawn(async move {
            for word in STORY.split(' ') {
                if sender.send(word.to_owned()).await.is_err() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = sender.closed() => break,
                }
            }
            drop(telling);
        });
        Ok(words)
    }

    /// How many listen.
    pub async fn telling(&self) -> Result<u32> {
        Ok(self.telling.load(Ordering::Relaxed))
    }
}

/// Counts one listener for as long as it lives.
struct Telling(Arc<AtomicU32>);

impl Telling {
    fn begin(count: &Arc<AtomicU32>) -> Telling {
        count.fetch_add(1, Ordering::Relaxed);
        Telling(count.clone())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
