//! Streams in and out of calls, from a browser to a module and back.
//!
//! `POST /half` makes a picture (binary PPM) half as wide and high while it is still being uploaded; `GET /story` tells
//! a story word by word, as server-sent events. Where the halving and the telling run is decided when deploying: try
//! `SKYBOX_NODES=3 cargo run -p streams`.

mod halver;
mod story;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::{StreamExt, stream};
use skybox::{App, Result, Stream};

pub use halver::Halver;
pub use story::{STORY, Teller};

/// Makes a picture half as wide and high, row by row, as it comes.
#[skybox::task]
pub async fn half(picture: Stream<Bytes>) -> Result<Stream<Bytes>> {
    let smaller = stream::unfold(Some((picture, Halver::default())), async |halving| {
        let (mut picture, mut halver) = halving?;
        let rows = match picture.next().await {
            Some(Ok(bytes)) => halver.push(&bytes),
            Some(Err(error)) => Err(error),
            None => return halver.finish().err().map(|error| (Err(error), None)),
        };
        match rows {
            Ok(rows) => Some((Ok(Bytes::from(rows)), Some((picture, halver)))),
            Err(error) => Some((Err(error), None)),
        }
    });
    // Blocks that complete no row give nothing.
    Ok(Stream::from_stream(smaller.filter(|rows| ready(!matches!(rows, Ok(rows) if rows.is_empty())))))
}

/// The program's pages.
pub fn routes(app: App) -> Router {
    Router::new().route("/half", post(post_half)).route("/story", get(get_story)).with_state(app)
}

async fn post_half(body: Body) -> Result<Body, (StatusCode, String)> {
    let picture = Stream::from_stream(body.into_data_stream());
    let smaller = half(picture).await.map_err(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")))?;
    // An error in the middle cuts the response off: its reader sees that it is not whole.
    Ok(Body::from_stream(smaller.map(|rows| rows.map_err(|error| format!("{error:#}")))))
}

async fn get_story(
    State(app): State<App>,
) -> Result<Sse<impl futures_util::Stream<Item = Result<Event, Infallible>>>, (StatusCode, String)> {
    let words = app.get::<Teller>().tell().await;
    let words = words.map_err(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")))?;
    Ok(Sse::new(words.map(|word| {
        Ok(match word {
            Ok(word) => Event::default().data(word),
            Err(error) => Event::default().event("failed").data(format!("{error:#}")),
        })
    })))
}
