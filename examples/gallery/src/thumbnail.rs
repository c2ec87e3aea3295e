//! The work: a real picture, decoded, resized and encoded again.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, ImageReader, imageops};

use crate::pictures::{self, HEIGHT_PX, WIDTH_PX};
use crate::{AppError, Process};

/// Narrower than this shows nothing, wider than the original adds nothing.
pub const WIDTH_MIN_PX: u32 = 16;
pub const WIDTH_MAX_PX: u32 = WIDTH_PX;

/// JPEG quality of the thumbnails.
const QUALITY: u8 = 82;

/// A JPEG marker segment for comments, and the start of image that comes before it.
const COMMENT: [u8; 2] = [0xff, 0xfe];
const START_OF_IMAGE_BYTES: usize = 2;
/// A segment's length counts its own two bytes.
const LENGTH_BYTES: usize = 2;

/// The picture of that number as a JPEG of that width, signed by the process that made it.
///
/// Keeps a processor busy for 10 to 30 ms, and longer when the picture has yet to be drawn. `cpu = 1` gives it a
/// thread of its own wherever it runs, so that it never holds one that serves the page: next to the page it takes
/// processor time from it, and nothing else.
///
/// # Errors
/// [`AppError::NoSuchPicture`] and [`AppError::Width`] for arguments out of range, [`AppError::Picture`] if
/// the picture cannot be read or written, [`AppError::Call`] if the call failed.
#[skybox::task(cpu = 1, idempotent)]
pub fn thumbnail(picture: u32, width_px: u32) -> Result<Bytes, AppError> {
    if !(WIDTH_MIN_PX..=WIDTH_MAX_PX).contains(&width_px) {
        return Err(AppError::Width { width_px, min_px: WIDTH_MIN_PX, max_px: WIDTH_MAX_PX });
    }
    let failed = |error: image::ImageError| AppError::Picture { picture, message: error.to_string() };
    let original = pictures::picture(picture)?;
    let decoded =
        ImageReader::with_format(Cursor::new(&original[..]), ImageFormat::Jpeg).decode().map_err(failed)?;
    let height_px = (width_px * HEIGHT_PX / WIDTH_PX).max(1);
    let small = imageops::thumbnail(&decoded.into_rgb8(), width_px, height_px);
    let mut jpeg = Vec::with_capacity(32 * 1024);
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&small).map_err(failed)?;
    Ok(sign(jpeg, Process::here()).into())
}

/// Writes the maker's name into the JPEG as a comment: the bytes then say who made them, wherever they go.
fn sign(jpeg: Vec<u8>, maker: &Process) -> Vec<u8> {
    let text = format!("{} {}", maker.node, maker.pid);
    let Ok(length) = u16::try_from(text.len() + LENGTH_BYTES) else {
        return jpeg;
    };
    let mut signed = Vec::with_capacity(jpeg.len() + COMMENT.len() + usize::from(length));
    let (start, rest) = jpeg.split_at(START_OF_IMAGE_BYTES.min(jpeg.len()));
    signed.extend_from_slice(start);
    signed.extend_from_slice(&COMMENT);
    signed.extend_from_slice(&length.to_be_bytes());
    signed.extend_from_slice(text.as_bytes());
    signed.extend_from_slice(rest);
    signed
}

/// Who made this thumbnail, if it is signed.
pub fn maker(jpeg: &[u8]) -> Option<Process> {
    let segment = jpeg.get(START_OF_IMAGE_BYTES..)?.strip_prefix(&COMMENT)?;
    let (length, rest) = segment.split_first_chunk::<LENGTH_BYTES>()?;
    let text = rest.get(..usize::from(u16::from_be_bytes(*length)).checked_sub(LENGTH_BYTES)?)?;
    let (node, pid) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    Some(Process { node: node.to_owned(), pid: pid.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thumbnail_is_a_smaller_jpeg_of_the_same_shape() {
        let small = thumbnail(0, 320).await.expect("made");
        let decoded = image::load_from_memory(&small).expect("a picture");
        assert_eq!((decoded.width(), decoded.height()), (320, 240));
        assert!(small.len() < pictures::picture(0).expect("drawn").len() / 4);
    }

    #[tokio::test]
    async fn a_thumbnail_says_who_made_it() {
        let small = thumbnail(1, 64).await.expect("made");
        assert_eq!(maker(&small).as_ref(), Some(Process::here()));
    }

    #[test]
    fn unsigned_and_broken_bytes_name_nobody() {
        for bytes in [
            &b""[..],
            b"\xff",
            b"\xff\xd8\xff\xe0",
            b"\xff\xd8\xff\xfe",
            b"\xff\xd8\xff\xfe\x00\x00",
            b"\xff\xd8\xff\xfe\x00\x09ab 1",
            b"\xff\xd8\xff\xfe\x00\x06ab x",
        ] {
            assert_eq!(maker(bytes), None, "{bytes:x?}");
        }
    }

    #[tokio::test]
    async fn arguments_out_of_range_are_refused() {
        assert!(matches!(thumbnail(pictures::COUNT, 320).await, Err(AppError::NoSuchPicture { .. })));
        for width_px in [0, WIDTH_MIN_PX - 1, WIDTH_MAX_PX + 1, u32::MAX] {
            assert!(matches!(thumbnail(0, width_px).await, Err(AppError::Width { .. })), "{width_px}");
        }
    }
}
