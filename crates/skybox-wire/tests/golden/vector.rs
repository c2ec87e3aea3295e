//! Reading the vectors.

use std::path::Path;

use bytes::BytesMut;

/// The bytes of `golden/NAME.hex`.
pub(crate) fn golden(name: &str) -> BytesMut {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("hex");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    unhex(&text)
}

/// The bytes of a text in the vectors' form.
pub(crate) fn unhex(text: &str) -> BytesMut {
    let digits: Vec<u32> = text
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap_or_else(|| panic!("`{c}` is no hexadecimal digit")))
        .collect();
    assert_eq!(digits.len() % 2, 0, "half a byte");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect::<Vec<u8>>().as_slice().into()
}
