//! What the page's buttons ask for: where thumbnails are made, and the death of whoever makes them.

mod split;

use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::AppError;
use crate::mortal::{self, Crash};
pub use split::Split;

/// Where thumbnails are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the processes that serve the page.
    Pages,
    /// In a process of their own.
    Worker,
}

/// What a button did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// One line for the page's log.
    pub text: String,
    /// Where thumbnails are made from now on, if that changed.
    pub place: Option<Place>,
    /// The process that was killed, if one was: the page then waits for its node to answer again.
    pub killed: Option<crate::Process>,
}

/// An action under way.
pub type Staging<'a> = Pin<Box<dyn Future<Output = Result<Staged, AppError>> + Send + 'a>>;

/// Whoever can move thumbnails and kill the worker.
///
/// # Errors
/// Each action answers [`AppError::Stage`] with a text for the page when it did not happen.
pub trait Stage: Send + Sync + 'static {
    /// Makes thumbnails there from now on, without failing those that are under way.
    fn place(&self, place: Place) -> Staging<'_>;

    /// Kills the worker with SIGKILL, as a crash would.
    fn kill_worker(&self) -> Staging<'_>;

    /// Crashes a module that has a process of its own, and waits for its successor.
    fn crash(&self, kind: Crash) -> Staging<'_> {
        Box::pin(mortal::crash(kind))
    }
}

/// One process that is everything: nothing can move, and nobody can be killed but the page itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Alone {
    fn stays(text: &'static str) -> Staging<'static> {
        Box::pin(async move { Ok(Staged { text: text.to_owned(), place: None, killed: None }) })
    }
}

impl Stage for Alone {
    fn place(&self, place: Place) -> Staging<'_> {
        Alone::stays(match place {
            Place::Pages => "single process: thumbnails are made where the page is served",
            Place::Worker => "single process: there is no worker to move thumbnails to",
        })
    }

    fn kill_worker(&self) -> Staging<'_> {
        Alone::stays("single process: there is no worker to kill")
    }
}
