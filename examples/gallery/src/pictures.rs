//! Pictures drawn from their numbers: the same number is the same picture in every process.
//!
//! Eight painters with three seeds each. A picture is drawn when it is first asked for, kept as JPEG, and
//! never thrown away: 24 pictures of about half a megabyte.

mod canvas;
mod noise;

mod aurora;
mod dunes;
mod flow;
mod julia;
mod marble;
mod nebula;
mod ridges;
mod sea;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::AppError;
use canvas::Canvas;

/// How many pictures hang in the gallery.
pub const COUNT: u32 = 24;

/// The size of every picture.
pub const WIDTH_PX: u32 = 1600;
pub const HEIGHT_PX: u32 = 1200;

/// JPEG quality of the originals: no visible blocks in the gradients.
const QUALITY: u8 = 88;

/// What draws a picture, given the variant of its motif.
type Painter = fn(usize) -> Canvas;

/// Neighbours on the page differ, because picture `n` is by painter `n % 8`.
const PAINTERS: [Painter; 8] = [
    ridges::paint,
    nebula::paint,
    flow::paint,
    dunes::paint,
    julia::paint,
    sea::paint,
    marble::paint,
    aurora::paint,
];

/// The picture of that number as JPEG, drawn now if nobody asked before.
///
/// # Errors
/// [`AppError::NoSuchPicture`] from [`COUNT`] on; [`AppError::Picture`] if it could not be encoded.
pub fn picture(number: u32) -> Result<Bytes, AppError> {
    static DRAWN: [OnceLock<Result<Bytes, AppError>>; COUNT as usize] =
        [const { OnceLock::new() }; COUNT as usize];
    match DRAWN.get(number as usize) {
        Some(drawn) => drawn.get_or_init(|| draw(number)).clone(),
        None => Err(AppError::NoSuchPicture { picture: number, last: COUNT - 1 }),
    }
}

/// Draws every picture, on all processors: what is asked for afterwards is there at once.
///
/// Blocks for some seconds.
pub fn draw_all() {
    let next = AtomicU32::new(0);
    let draw_the_rest = || {
        // A picture that fails is reported to whoever asks for it.
        while !matches!(picture(next.fetch_add(1, Relaxed)), Err(AppError::NoSuchPicture { .. })) {}
    };
    std::thread::scope(|threads| {
        for _ in 1..std::thread::available_parallelism().map_or(1, |count| count.get()) {
            threads.spawn(draw_the_rest);
        }
        draw_the_rest();
    });
}

fn draw(number: u32) -> Result<Bytes, AppError> {
    let painter = PAINTERS[number as usize % PAINTERS.len()];
    let pixels = painter(number as usize / PAINTERS.len()).develop();
    let mut jpeg = Vec::with_capacity(512 * 1024);
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode(&pixels, WIDTH_PX, HEIGHT_PX, ExtendedColorType::Rgb8)
        .map_err(|error| AppError::Picture { picture: number, message: error.to_string() })?;
    Ok(jpeg.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_always_the_same_picture() {
        assert_eq!(draw(3).expect("drawn"), draw(3).expect("drawn"));
        assert_ne!(draw(3).expect("drawn"), draw(11).expect("drawn"), "another seed of the same painter");
    }

    #[test]
    fn the_gallery_ends() {
        assert_eq!(picture(COUNT), Err(AppError::NoSuchPicture { picture: COUNT, last: COUNT - 1 }));
    }
}
