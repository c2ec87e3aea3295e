//! A picture that shrinks while it arrives: two rows in, one row out.

use skybox::{Error, Result};

/// Bytes of a pixel: red, green, blue.
const PIXEL_BYTES: usize = 3;
/// The longest header there is, with two numbers of ten digits.
const HEADER_BYTES_MAX: usize = 64;
/// The widest picture: two of its rows are held.
const WIDTH_PX_MAX: usize = 65_536;

/// Holds what has come of a picture and fills no two rows yet.
#[derive(Debug, Default)]
pub struct Halver {
    held: Vec<u8>,
    size: Option<Size>,
}

#[derive(Debug)]
struct Size {
    width_px: usize,
    /// Rows that are to come.
    rows_left: usize,
}

impl Halver {
    /// Takes what has come; returns what can go out.
    ///
    /// # Errors
    /// When it is no binary PPM picture of 8 bits a colour.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.held.extend_from_slice(bytes);
        let mut out = Vec::new();
        if self.size.is_none() {
            let Some((size, header_len)) = read_header(&self.held)? else { return Ok(out) };
            self.held.drain(..header_len);
            out.extend(format!("P6\n{} {}\n255\n", size.width_px / 2, size.rows_left / 2).bytes());
            self.size = Some(size);
        }
        let Some(size) = &mut self.size else { return Ok(out) };
        let row_len = size.width_px * PIXEL_BYTES;
        let mut pairs = self.held.chunks_exact(2 * row_len);
        for pair in pairs.by_ref() {
            size.rows_left =
                size.rows_left.checked_sub(2).ok_or_else(|| Error::msg("more rows than announced"))?;
            let (upper, lower) = pair.split_at(row_len);
            out.extend(halved(upper, lower));
        }
        self.held = pairs.remainder().to_vec();
        Ok(out)
    }

    /// The picture has come to its end.
    ///
    /// # Errors
    /// When something is missing.
    pub fn finish(&self) -> Result<()> {
        match &self.size {
            Some(Size { rows_left: 0 | 1, .. }) => Ok(()),
            Some(size) => Err(Error::msg(format!("{} rows are missing", size.rows_left))),
            None => Err(Error::msg("not even the header is there")),
        }
    }
}

/// The mean of each square of four pixels.
fn halved<'r>(upper: &'r [u8], lower: &'r [u8]) -> impl Iterator<Item = u8> + 'r {
    let squares = upper.chunks_exact(2 * PIXEL_BYTES).zip(lower.chunks_exact(2 * PIXEL_BYTES));
    squares.flat_map(|(upper, lower)| {
        (0..PIXEL_BYTES).map(|colour| {
            let four =
                [upper[colour], upper[colour + PIXEL_BYTES], lower[colour], lower[colour + PIXEL_BYTES]];
            (four.iter().map(|value| u16::from(*value)).sum::<u16>() / 4) as u8
        })
    })
}

/// The size and the header's length, once all of it has come.
fn read_header(bytes: &[u8]) -> Result<Option<(Size, usize)>> {
    let mut fields = Vec::new();
    let mut at = 0;
    while fields.len() < 4 {
        let Some(len) = bytes[at..].iter().position(u8::is_ascii_whitespace) else {
            let whole = bytes.len() > HEADER_BYTES_MAX;
            return if whole { Err(Error::msg("this is no picture")) } else { Ok(None) };
        };
        fields.push(std::str::from_utf8(&bytes[at..at + len])?);
        at += len + 1;
    }
    let [magic, width, height, depth] = fields[..] else { return Ok(None) };
    if magic != "P6" || depth != "255" {
        return Err(Error::msg("this is no binary PPM picture of 8 bits a colour"));
    }
    let (width_px, rows_left): (usize, usize) = (width.parse()?, height.parse()?);
    if !(2..=WIDTH_PX_MAX).contains(&width_px) {
        return Err(Error::msg(format!("a picture is 2 to {WIDTH_PX_MAX} pixels wide, not {width_px}")));
    }
    Ok(Some((Size { width_px, rows_left }, at)))
}
