//! Methods with errors of each kind.

use std::io;

use serde::{Deserialize, Serialize};
use skybox::{App, CallError, Result};

/// An error with a cause that is no data.
#[derive(Debug, thiserror::Error)]
#[error("the stock is unknown")]
pub struct NoStock(#[from] io::Error);

impl NoStock {
    fn new() -> NoStock {
        NoStock(io::Error::other("the cellar is dark"))
    }
}

/// An enum whose variants cross where they are data.
#[derive(Debug, thiserror::Error, skybox::WireError)]
pub enum ShopError {
    #[error("{item} is sold out, {left} are left")]
    SoldOut { item: String, left: u32 },
    #[error("closed")]
    Closed,
    #[error("the shop burned down")]
    Burned(#[source] io::Error),
    #[error("the call failed")]
    #[wire(call)]
    Call(#[from] CallError),
    #[error("{0}")]
    #[wire(rest)]
    Rest(skybox::Error),
}

/// An alias, as programs have it.
type ShopResult<T> = std::result::Result<T, ShopError>;

/// Fails with a [`ShopError`].
#[derive(Default)]
pub struct Shops;

#[skybox::module]
impl Shops {
    pub async fn sold_out(&self, item: &str) -> ShopResult<()> {
        Err(ShopError::SoldOut { item: item.to_owned(), left: 2 })
    }

    pub async fn closed(&self) -> ShopResult<()> {
        Err(ShopError::Closed)
    }

    pub async fn burned(&self) -> ShopResult<()> {
        Err(ShopError::Burned(io::Error::other("a candle")))
    }

    pub async fn fail(&self) -> ShopResult<()> {
        panic!("inside the shop")
    }

    /// Its own call fails, and it passes that on.
    pub async fn pass_on(&self) -> ShopResult<()> {
        let outcome = current().get::<Shops>().fail().await;
        assert!(
            matches!(&outcome, Err(ShopError::Call(error)) if error.callee().method == "fail"),
            "{outcome:?}"
        );
        outcome
    }
}

/// The App that runs a callee.
fn current() -> App {
    App::current().expect("a callee runs in an App")
}

/// An error that is data altogether.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PlainError {
    NoSuch { id: u64, near: Vec<String> },
    Failed(String),
}

impl From<CallError> for PlainError {
    fn from(error: CallError) -> PlainError {
        PlainError::Failed(error.to_string())
    }
}

/// Fails with data or with text.
#[derive(Default)]
pub struct Plain;

#[skybox::module]
impl Plain {
    pub async fn no_such(&self, id: u64) -> std::result::Result<(), PlainError> {
        Err(PlainError::NoSuch { id, near: vec!["one".to_owned(), "two".to_owned()] })
    }

    pub async fn text(&self) -> Result<()> {
        Err(NoStock::new().into())
    }

    pub async fn fail(&self) -> Result<()> {
        panic!("inside")
    }

    /// Its own call fails, and it passes that on.
    pub async fn pass_on(&self) -> Result<()> {
        let outcome = current().get::<Plain>().fail().await;
        let own = outcome.as_ref().err().and_then(skybox::Error::call_error);
        assert!(own.is_some_and(|error| error.callee().method == "fail"), "{outcome:?}");
        outcome
    }
}

/// Fails with anyhow's error.
#[cfg(feature = "anyhow")]
pub mod any {
    use anyhow::Context;

    use super::{NoStock, current};

    #[derive(Default)]
    pub struct Anyhow;

    #[skybox::module]
    impl Anyhow {
        pub async fn text(&self) -> anyhow::Result<()> {
            Err(NoStock::new()).context("while counting")
        }

        pub async fn fail(&self) -> anyhow::Result<()> {
            panic!("inside")
        }

        pub async fn pass_on(&self) -> anyhow::Result<()> {
            let outcome = current().get::<Anyhow>().fail().await;
            let own = outcome.as_ref().err().and_then(|error| error.downcast_ref::<skybox::CallError>());
            anyhow::ensure!(own.is_some_and(|error| error.callee().method == "fail"), "{outcome:?}");
            outcome
        }
    }
}
