//! JSON, for the operator's command line only: not every value survives it, and nothing else uses it.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{DecodeError, EncodeError};
use super::fault::Fault;

/// Appends `value` as JSON, for an operator to read.
///
/// # Errors
/// [`EncodeError::Unwritable`] where JSON has no words for the value, as for a map with structs as keys.
pub fn encode_json<S: Serialize + ?Sized>(value: &S, out: &mut BytesMut) -> Result<(), EncodeError> {
    let start = out.len();
    serde_json::to_writer(out.writer(), value).map_err(|error| {
        out.truncate(start);
        EncodeError::unwritable::<S>(&Fault::new(error))
    })
}

/// An operator's arguments, by name or in order, as the JSON array that
/// [`decode`](super::decode) takes for [`Form::Json`](super::Form::Json).
///
/// `{"name": …}` must name each parameter once and nothing else; `[…]` must have one item for each. For
/// a method without parameters the result is `null`, which is how `()` is written.
///
/// # Errors
/// [`DecodeError::Arguments`] with every missing and unknown name, for the operator to correct.
pub fn json_arguments(json: &[u8], parameter_names: &[&str]) -> Result<Bytes, DecodeError> {
    let given: Given<'_> = serde_json::from_slice(json)
        .map_err(|error| DecodeError::Arguments(format!("expected a JSON object: {error}")))?;
    let ordered = match given {
        Given::ByName(pairs) => by_name(pairs, parameter_names)?,
        Given::InOrder(items) if items.len() == parameter_names.len() => items,
        Given::InOrder(items) => {
            return Err(DecodeError::Arguments(format!(
                "{} given, {} expected: {}",
                items.len(),
                parameter_names.len(),
                listed(parameter_names)
            )));
        }
    };
    if ordered.is_empty() {
        return Ok(Bytes::from_static(b"null"));
    }
    let mut out = BytesMut::with_capacity(json.len());
    for (index, value) in ordered.iter().enumerate() {
        out.put_u8(if index == 0 { b'[' } else { b',' });
        out.extend_from_slice(value.get().as_bytes());
    }
    out.put_u8(b']');
    Ok(out.freeze())
}

fn by_name<'j>(
    pairs: Vec<(String, &'j RawValue)>,
    parameter_names: &[&str],
) -> Result<Vec<&'j RawValue>, DecodeError> {
    let mut ordered = vec![None; parameter_names.len()];
    let mut unknown = Vec::new();
    for (name, value) in pairs {
        match parameter_names.iter().position(|parameter| *parameter == name) {
            Some(index) if ordered[index].is_none() => ordered[index] = Some(value),
            Some(_) => return Err(DecodeError::Arguments(format!("`{name}` is given twice"))),
            None => unknown.push(name),
        }
    }
    let missing: Vec<&str> = parameter_names
        .iter()
        .zip(&ordered)
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| *name)
        .collect();
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("missing {}", listed(&missing)));
    }
    if !unknown.is_empty() {
        faults.push(format!("no parameter is named {}", listed(&unknown)));
    }
    if faults.is_empty() {
        return Ok(ordered.into_iter().flatten().collect());
    }
    faults.push(format!("parameters are {}", listed(parameter_names)));
    Err(DecodeError::Arguments(faults.join("; ")))
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Arguments as they were given, each still in the operator's own words.
enum Given<'j> {
    /// In the order of the text, with repetitions, which a map would hide.
    ByName(Vec<(String, &'j RawValue)>),
    InOrder(Vec<&'j RawValue>),
}

impl<'de> Deserialize<'de> for Given<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Arguments;

        impl<'de> Visitor<'de> for Arguments {
            type Value = Given<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object by parameter names, or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Given::ByName(pairs))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Given<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Given::InOrder(items))
            }
        }

        deserializer.deserialize_any(Arguments)
    }
}
