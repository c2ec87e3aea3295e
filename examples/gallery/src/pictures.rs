//! Pictures drawn from their numbers: the same number is the same picture in every process.
//!
//! Eight painters with three seeds each. A picture is drawn when it is first asked for, kept as JPEG, and
//! never thrown away: 24 pictures of about half a megabyte. A directory, if there is one, stands for the store
//! that a real gallery has: what one process drew, another reads.

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

use std::io;
use std::path::{Path, PathBuf};
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

/// The directory that keeps them, once it is known.
static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Keeps the pictures of this process in a directory, from the first call on; `None` keeps them in memory alone.
pub fn keep_in(directory: Option<PathBuf>) {
    DIRECTORY.get_or_init(|| directory);
}

/// The picture of that number as JPEG, drawn now if nobody did before.
///
/// # Errors
/// [`AppError::NoSuchPicture`] from [`COUNT`] on; [`AppError::Picture`] if it could not be encoded or kept.
pub fn picture(number: u32) -> Result<Bytes, AppError> {
    static DRAWN: [OnceLock<Result<Bytes, AppError>>; COUNT as usize] =
        [const { OnceLock::new() }; COUNT as usize];
    match DRAWN.get(number as usize) {
        Some(drawn) => drawn.get_or_init(|| find(number)).clone(),
        None => Err(AppError::NoSuchPicture { picture: number, last: COUNT - 1 }),
    }
}

/// Draws every picture, on all processors: what is asked for afterwards is there at once.
///
/// Blocks for some seconds.
///
/// # Errors
/// That of a picture which failed, as [`picture`] says it.
pub fn draw_all() -> Result<(), AppError> {
    let next = AtomicU32::new(0);
    let draw_the_rest = || {
        while next.load(Relaxed) < COUNT {
            // A picture that fails is reported below.
            let _ = picture(next.fetch_add(1, Relaxed));
        }
    };
    std::thread::scope(|threads| {
        for _ in 1..std::thread::available_parallelism().map_or(1, |count| count.get()) {
            threads.spawn(draw_the_rest);
        }
        draw_the_rest();
    });
    (0..COUNT).try_for_each(|number| picture(number).map(drop))
}

/// Reads the picture, or draws and keeps it.
fn find(number: u32) -> Result<Bytes, AppError> {
    let Some(directory) = DIRECTORY.get().and_then(Option::as_deref) else { return draw(number) };
    let path = directory.join(format!("{number}.jpeg"));
    if let Ok(jpeg) = std::fs::read(&path) {
        return Ok(jpeg.into());
    }
    let jpeg = draw(number)?;
    keep(directory, &path, &jpeg).map_err(|error| AppError::Picture {
        picture: number,
        message: format!("{}: {error}", path.display()),
    })?;
    Ok(jpeg)
}

/// Writes a file that others see whole or not at all.
fn keep(directory: &Path, path: &Path, jpeg: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&unfinished, jpeg)?;
    std::fs::rename(&unfinished, path)
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
