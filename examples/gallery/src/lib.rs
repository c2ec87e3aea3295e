//! A picture gallery under load: the program behind `cargo xtask demo`.
//!
//! It serves one page of thumbnails, asks itself for more of them than anyone could look at, and measures
//! what that does to the page: its latency, the thumbnails per second, the failures, and who answered.
//! [`thumbnail::thumbnail`] is the one function worth moving: it decodes and resizes a real picture, which
//! takes a processor 10 to 30 ms, and needs nothing but its two arguments. It is a task; [`show::Show`], the one
//! place where all processes' figures come together, is a module. The rest is an ordinary axum program.
//!
//! It needs no other server, and is no image service: the pictures are drawn from their numbers by [`pictures`].
//!
//! Start reading at [`site`], which is the program as a browser sees it; [`load`] is the pressure on it,
//! [`show`] what is known about it, [`stage`] what the page's buttons ask for, [`mortal`] what one of them crashes, and [`demo`] starts it as four
//! nodes.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), gallery::AppError> {
//! let small = gallery::thumbnail::thumbnail(7, 320).await?;
//! assert!(small.starts_with(&[0xff, 0xd8]), "a JPEG");
//! # Ok(())
//! # }
//! ```

pub mod pictures;
pub mod thumbnail;

pub mod load;
pub mod mortal;
pub mod show;
pub mod stage;

pub mod demo;
pub mod headless;
pub mod site;

mod client;
mod error;
mod node;

pub use error::AppError;
pub use node::Process;
