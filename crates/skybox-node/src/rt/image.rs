//! How the variants of an error enum cross a call: what `#[derive(WireError)]` writes calls to.
//!
//! A variant whose fields are all data crosses as its name and fields; any other one crosses as text, and
//! arrives in the variant marked `#[wire(rest)]`. Which fields are data is found field by field, by
//! [`data!`](crate::rt::data), from the field's type alone.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skybox_core::{ErrorImage, TextChain};
use skybox_wire::codec::{self, Form, Proof};

/// An enum that can derive `WireError`: it has a text for what is not data.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an error yet: what is not data crosses as its text, and it has none",
    note = "derive `thiserror::Error` for it, or implement `std::error::Error`"
)]
pub trait HasText: StdError + 'static {}

impl<E: StdError + 'static> HasText for E {}

/// How one field crosses. Chosen by [`data!`](crate::rt::data).
pub trait FieldCodec<T> {
    /// The field as bytes; `None` if only its error's text can cross.
    fn write(self, value: &T) -> Option<Vec<u8>>;
    /// The field from bytes that [`FieldCodec::write`] wrote, perhaps in another version of the program.
    ///
    /// # Errors
    /// The reason, when they are not such a field.
    fn read(self, bytes: &[u8]) -> Result<T, String>;
}

/// The field is data: it crosses as itself.
pub struct AsData<T>(PhantomData<fn() -> T>);

/// The field is not data: its whole variant crosses as text.
pub struct AsText<T>(PhantomData<fn() -> T>);

impl<T: Serialize + DeserializeOwned> FieldCodec<T> for AsData<T> {
    fn write(self, value: &T) -> Option<Vec<u8>> {
        let mut payload = BytesMut::new();
        // Errors are rare: what this proof learns is not worth a static for each field.
        let form = codec::encode::<T, T>(value, &Proof::new(), &mut payload).ok()?;
        let mut bytes = Vec::with_capacity(1 + payload.len());
        bytes.push(form as u8);
        bytes.extend_from_slice(&payload);
        Some(bytes)
    }

    fn read(self, bytes: &[u8]) -> Result<T, String> {
        let (form, payload) = bytes.split_first().ok_or("it is empty")?;
        let form = Form::try_from(*form).map_err(|error| error.to_string())?;
        codec::decode(form, payload).map_err(|error| error.to_string())
    }
}

impl<T> FieldCodec<T> for AsText<T> {
    fn write(self, _: &T) -> Option<Vec<u8>> {
        None
    }

    fn read(self, _: &[u8]) -> Result<T, String> {
        Err("its type is not data here".to_owned())
    }
}

/// A field's type, for [`data!`](crate::rt::data). Method lookup takes the impl on the reference first.
pub struct Field<T>(PhantomData<fn() -> T>);

impl<T> Field<T> {
    /// The one value.
    pub const NEW: Field<T> = Field(PhantomData);
    /// For a type that is known not to be data: a reference.
    pub const TEXT: AsText<T> = AsText(PhantomData);
}

/// First choice.
pub trait PickData<T> {
    /// Picks.
    fn codec(&self) -> AsData<T>;
}

/// Second choice.
pub trait PickText<T> {
    /// Picks.
    fn codec(&self) -> AsText<T>;
}

impl<T: Serialize + DeserializeOwned> PickData<T> for &Field<T> {
    fn codec(&self) -> AsData<T> {
        AsData(PhantomData)
    }
}

impl<T> PickText<T> for Field<T> {
    fn codec(&self) -> AsText<T> {
        AsText(PhantomData)
    }
}

/// Picks the way in which a field of this type crosses.
#[doc(hidden)]
#[macro_export]
macro_rules! data {
    ($field:ty) => {{
        #[allow(unused_imports)]
        use $crate::rt::{PickData as _, PickText as _};
        (&&$crate::rt::Field::<$field>::NEW).codec()
    }};
}

/// Turns an error into its image, field by field.
pub struct ImageWriter<'a> {
    error: &'a (dyn StdError + 'static),
    variant: &'static str,
    /// `None` from the first field on that only crosses as text.
    fields: Option<Vec<Vec<u8>>>,
}

impl<'a> ImageWriter<'a> {
    /// Begins the image of `error`, which is this variant.
    pub fn new<E: HasText>(error: &'a E, variant: &'static str) -> ImageWriter<'a> {
        ImageWriter { error, variant, fields: Some(Vec::new()) }
    }

    /// Adds the next field.
    #[must_use]
    pub fn field<T>(mut self, codec: impl FieldCodec<T>, value: &T) -> ImageWriter<'a> {
        if let Some(mut fields) = self.fields.take()
            && let Some(bytes) = codec.write(value)
        {
            fields.push(bytes);
            self.fields = Some(fields);
        }
        self
    }

    /// The image: the variant with its fields, or the text of the error and of its causes.
    pub fn finish(self) -> ErrorImage {
        match self.fields {
            Some(fields) => ErrorImage::Variant { name: self.variant.to_owned(), fields },
            None => ErrorImage::Text(TextChain::of(self.error)),
        }
    }

    /// The image of a variant that never crosses as itself.
    pub fn text(self) -> ErrorImage {
        ErrorImage::Text(TextChain::of(self.error))
    }
}

/// The fields of a variant that arrived.
#[derive(Debug)]
pub struct ImageReader {
    fields: std::vec::IntoIter<Vec<u8>>,
}

/// Why a variant that arrived is not one of this enum's.
#[derive(Debug)]
pub struct Unreadable(String);

impl ImageReader {
    /// Takes the next field.
    ///
    /// # Errors
    /// When it is missing, or not of this type.
    pub fn field<T>(&mut self, name: &str, codec: impl FieldCodec<T>) -> Result<T, Unreadable> {
        let bytes = self.fields.next().ok_or_else(|| Unreadable(format!("it has no field `{name}`")))?;
        codec
            .read(&bytes)
            .map_err(|reason| Unreadable(format!("its field `{name}` cannot be read: {reason}")))
    }

    /// There is no variant of this name.
    pub fn unknown(&self) -> Unreadable {
        Unreadable("there is no such variant here".to_owned())
    }
}

/// Makes an error from its image: by `read` from a variant's name and fields, else by `rest` from text. A
/// variant that cannot be read is a text that says so, because an error must not get lost with its reason.
pub fn read_image<E>(
    image: ErrorImage,
    read: impl FnOnce(&str, &mut ImageReader) -> Result<E, Unreadable>,
    rest: impl FnOnce(TextChain) -> E,
) -> E {
    let (name, fields) = match image {
        ErrorImage::Text(text) => return rest(text),
        ErrorImage::Variant { name, fields } => (name, fields),
    };
    let mut reader = ImageReader { fields: fields.into_iter() };
    let error = read(&name, &mut reader).and_then(|error| match reader.fields.len() {
        0 => Ok(error),
        _ => Err(Unreadable("it has more fields than here".to_owned())),
    });
    error.unwrap_or_else(|Unreadable(why)| {
        rest(TextChain::message(why).under(format!("the error `{name}` arrived, but not as it was sent")))
    })
}

impl<T> fmt::Debug for AsData<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsData")
    }
}

impl<T> fmt::Debug for AsText<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsText")
    }
}

impl<T> fmt::Debug for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Field")
    }
}

impl fmt::Debug for ImageWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageWriter").field("variant", &self.variant).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Failure {
        #[error("no {0}, {1:?}")]
        Missing(String, Option<Option<u8>>),
        #[error("{0}")]
        Rest(String),
    }

    fn missing(image: &mut ImageReader) -> Result<Failure, Unreadable> {
        let name = image.field("name", (&&Field::<String>::NEW).codec())?;
        Ok(Failure::Missing(name, image.field("depth", (&&Field::<Option<Option<u8>>>::NEW).codec())?))
    }

    fn read(image: ErrorImage) -> Failure {
        let rest = |text: TextChain| Failure::Rest(text.joined());
        read_image(
            image,
            |name, image| if name == "Missing" { missing(image) } else { Err(image.unknown()) },
            rest,
        )
    }

    #[test]
    fn a_variant_of_data_arrives_as_itself() {
        let error = Failure::Missing("cup".to_owned(), Some(None));
        let Failure::Missing(name, depth) = &error else { unreachable!("made above") };
        let image = ImageWriter::new(&error, "Missing")
            .field((&&Field::<String>::NEW).codec(), name)
            .field((&&Field::<Option<Option<u8>>>::NEW).codec(), depth)
            .finish();
        assert_eq!(read(image), error);
    }

    #[test]
    fn a_field_that_is_not_data_makes_text_of_its_variant() {
        struct Socket;
        let error = Failure::Missing("cup".to_owned(), None);
        let image = ImageWriter::new(&error, "Missing")
            .field(Field::<Socket>::NEW.codec(), &Socket)
            .field((&&Field::<u8>::NEW).codec(), &1)
            .finish();
        assert_eq!(read(image), Failure::Rest("no cup, None".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let cases = [
            ("Lost", vec![], "there is no such variant here"),
            ("Missing", vec![], "it has no field `name`"),
            ("Missing", vec![vec![]], "its field `name` cannot be read: it is empty"),
            ("Missing", vec![vec![9, 1]], "its field `name` cannot be read"),
            ("Missing", vec![vec![0, 200]], "its field `name` cannot be read"),
            ("Missing", vec![vec![0, 0], vec![0, 0], vec![]], "it has more fields than here"),
        ];
        for (name, fields, why) in cases {
            let Failure::Rest(text) =
                read(ErrorImage::Variant { name: name.to_owned(), fields: fields.clone() })
            else {
                panic!("{name} {fields:?} was read");
            };
            assert!(text.contains(name) && text.contains(why), "{text}");
        }
    }
}
