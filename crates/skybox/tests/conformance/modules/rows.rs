//! Types that ordinary programs have: one for each row of the table of serde types, each as argument and result.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skybox::{App, Result};

use super::{Ours, Theirs};
use crate::ledger::Ledger;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipping {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub a: Option<u32>,
    pub b: u8,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub c: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Untagged {
    Number(u32),
    Text(String),
    Fields { a: Option<bool> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Internal {
    Unit,
    Fields { a: Option<u32>, b: Option<Option<String>> },
    Newtype(Skipping),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "content")]
pub enum Adjacent {
    Unit,
    Newtype(u32),
    Tuple(u8, String),
    Fields { a: Option<Option<u8>> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flat {
    pub id: u32,
    #[serde(flatten)]
    pub inner: Skipping,
    #[serde(flatten)]
    pub rest: BTreeMap<String, Option<f32>>,
}

/// What it does not write, nobody reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Withheld {
    pub a: u8,
    #[serde(skip_serializing)]
    pub secret: u8,
}

/// What it does not write, its `Deserialize` fills in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filled {
    pub a: u8,
    #[serde(skip_serializing, default)]
    pub cache: u8,
}

/// Panics when it is written.
#[derive(Clone, Debug)]
pub struct Explosive;

impl Serialize for Explosive {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        panic!("it must not be touched")
    }
}

impl<'de> Deserialize<'de> for Explosive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Explosive, D::Error> {
        <()>::deserialize(deserializer).map(|()| Explosive)
    }
}

/// Panics when it is read.
#[derive(Clone, Debug, Serialize)]
pub struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Unreadable, D::Error> {
        panic!("it must not be read")
    }
}

/// An error whose text cannot be had.
#[derive(Debug)]
struct Speechless;

impl fmt::Display for Speechless {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("there are no words for it")
    }
}

impl std::error::Error for Speechless {}

/// Types of other crates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foreign {
    pub uuid: uuid::Uuid,
    pub time: time::OffsetDateTime,
    pub chrono: chrono::DateTime<chrono::Utc>,
    pub url: url::Url,
    pub cow: Cow<'static, str>,
    pub wide: (u128, i128),
}

/// What arrived, as text, and the same again.
pub type Seen<T> = Result<(String, T)>;

fn seen<T: Debug>(value: T) -> Seen<T> {
    Ok((format!("{value:?}"), value))
}

/// Gives back what it gets.
pub struct Rows {
    ledger: Ledger,
}

#[skybox::module]
impl Rows {
    fn start(app: &App) -> Result<Self> {
        Ok(Rows { ledger: app.value::<Ledger>()?.clone() })
    }

    pub async fn borrowed(&self, text: &str, bytes: &[u8], flat: &Flat, owned: String) -> Result<String> {
        Ok(format!("{text:?} {bytes:?} {flat:?} {owned:?}"))
    }

    pub async fn skipping(&self, value: Skipping) -> Seen<Skipping> {
        seen(value)
    }

    pub async fn untagged(&self, value: Untagged) -> Seen<Untagged> {
        seen(value)
    }

    pub async fn internal(&self, value: Internal) -> Seen<Internal> {
        seen(value)
    }

    pub async fn adjacent(&self, value: Adjacent) -> Seen<Adjacent> {
        seen(value)
    }

    pub async fn flat(&self, value: Flat) -> Seen<Flat> {
        seen(value)
    }

    pub async fn json(&self, value: serde_json::Value) -> Seen<serde_json::Value> {
        seen(value)
    }

    pub async fn nested(&self, value: Option<Option<Option<u8>>>) -> Seen<Option<Option<Option<u8>>>> {
        seen(value)
    }

    pub async fn foreign(&self, value: Foreign) -> Seen<Foreign> {
        seen(value)
    }

    pub async fn filled(&self, value: Filled) -> Seen<Filled> {
        seen(value)
    }

    pub async fn give_filled(&self, cache: u8) -> Result<Filled> {
        Ok(Filled { a: 1, cache })
    }

    pub async fn withheld(&self, value: Withheld) -> Result<u8> {
        self.ledger.note("withheld ran");
        Ok(value.secret)
    }

    pub async fn give_withheld(&self) -> Result<Withheld> {
        self.ledger.note("give_withheld ran");
        Ok(Withheld { a: 1, secret: 2 })
    }

    pub async fn give_explosive(&self) -> Result<Explosive> {
        self.ledger.note("give_explosive ran");
        Ok(Explosive)
    }

    pub async fn take_explosive(&self, _value: Explosive) -> Result<()> {
        self.ledger.note("take_explosive ran");
        Ok(())
    }

    pub async fn take_unreadable(&self, _value: Unreadable) -> Result<()> {
        self.ledger.note("take_unreadable ran");
        Ok(())
    }

    pub async fn take_ours(&self, value: Ours) -> Result<u32> {
        self.ledger.note("take_ours ran");
        Ok(value.0)
    }

    pub async fn give_theirs(&self) -> Result<Theirs> {
        self.ledger.note("give_theirs ran");
        Ok(Theirs(7))
    }

    pub async fn give_speechless(&self) -> Result<()> {
        Err(Speechless.into())
    }

    /// A result that is wrong only the second time.
    pub async fn give_skipping(&self, a: Option<u32>) -> Result<Skipping> {
        Ok(Skipping { a, b: 1, c: Vec::new() })
    }
}
