//! How keys are written: always in the named form, so that one key is one sequence of bytes for ever.

use std::borrow::Borrow;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use skybox_wire::codec::{self, DecodeError, EncodeError, Form, Proof};

use super::far::data_code;
use crate::module::Key;

/// A key's bytes: what decides its shard and whether two keys are the same.
pub(crate) fn encode_key<K: Key + ?Sized>(key: &K) -> Result<Bytes, EncodeError> {
    let named = Proof::new();
    named.use_names();
    let mut bytes = BytesMut::new();
    codec::encode::<K, K::Owned>(key, &named, &mut bytes)?;
    Ok(bytes.freeze())
}

/// The key that was encoded.
pub(crate) fn decode_key<K: Key + ?Sized>(bytes: &[u8]) -> Result<K::Owned, DecodeError>
where
    K::Owned: DeserializeOwned,
{
    codec::decode(Form::Named, bytes)
}

/// A key as it comes out again of what is written of it.
pub(crate) fn crossed_key<K: Key + ?Sized>(key: &K::Owned) -> Result<K::Owned, String> {
    data_code(|| {
        let bytes = encode_key::<K>(key.borrow()).map_err(|error| error.to_string())?;
        decode_key::<K>(&bytes).map_err(|error| error.to_string())
    })
}

/// A key from the command line: JSON, or a bare word for a text.
pub(crate) fn json_key<K: Key + ?Sized>(text: &str) -> Result<Bytes, String> {
    let owned: K::Owned = serde_json::from_str(text)
        .or_else(|_| serde_json::from_value(serde_json::Value::String(text.to_owned())))
        .map_err(|error| format!("`{text}` is not a key of this module: {error}"))?;
    encode_key::<K>(std::borrow::Borrow::borrow(&owned)).map_err(|error| error.to_string())
}

/// A key as `skybox ps` shows it: its JSON, or its bytes where it has none.
pub(crate) fn key_text(bytes: &[u8]) -> String {
    match codec::decode::<serde_json::Value>(Form::Named, bytes) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}
