//! The program as a browser sees it: the page, its pictures, its figures and its buttons.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::sse::{self, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use skybox::Handle;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::load::Tally;
use crate::mortal::Crash;
use crate::pictures;
use crate::show::{Note, NoteKind, Show, Snapshot};
use crate::stage::{Place, Stage, Staged};
use crate::thumbnail::{self, thumbnail};
use crate::{AppError, Process};

/// The whole page: markup, style and script, without anything from elsewhere.
const PAGE: &str = include_str!("site/page.html");

/// Who answered the request.
const X_NODE: HeaderName = HeaderName::from_static("x-node");
const X_PID: HeaderName = HeaderName::from_static("x-pid");
/// Who made the thumbnail in the answer.
const X_MADE_BY: HeaderName = HeaderName::from_static("x-made-by");

/// The figures move four times per second.
const FIGURES_EVERY: Duration = Duration::from_millis(250);

/// A browser whose stream broke comes back that soon.
const RECONNECT: Duration = Duration::from_millis(500);

/// The width of a thumbnail nobody gave a width for.
const WIDTH_PX: u32 = 320;

/// What the routes need; clones are the same site.
#[derive(Clone)]
pub struct Site {
    show: Handle<Show>,
    stage: Arc<dyn Stage>,
    tally: Arc<Tally>,
    closing: watch::Receiver<bool>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("show", &self.show).finish_non_exhaustive()
    }
}

impl Site {
    /// A site that shows `show`, whose buttons act on `stage`, and whose streams and load end once
    /// `closing` is true or its sender is gone.
    pub fn new(show: Handle<Show>, stage: Arc<dyn Stage>, closing: watch::Receiver<bool>) -> Site {
        Site { show, stage, tally: Arc::default(), closing }
    }

    /// The picture of that number at that width, counted.
    ///
    /// # Errors
    /// Those of [`thumbnail()`].
    pub async fn thumbnail(&self, picture: u32, width_px: u32) -> Result<Bytes, AppError> {
        let began = Instant::now();
        let made = thumbnail(picture, width_px).await;
        self.tally.thumbnail(made.as_ref().map(|jpeg| thumbnail::maker(jpeg)), began.elapsed());
        made
    }

    /// Resolves when the site closes.
    pub async fn closing(&self) {
        // The sender's end is the end too.
        let _ = self.closing.clone().wait_for(|&closing| closing).await;
    }

    pub(crate) fn show(&self) -> &Handle<Show> {
        &self.show
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Writes down what a button did, or why it did nothing.
    async fn staged(&self, kind: NoteKind, done: Result<Staged, AppError>) -> Result<Json<Said>, AppError> {
        let note = match &done {
            Ok(Staged { text, place, killed }) => {
                Note { kind, text: text.clone(), place: *place, killed: killed.clone() }
            }
            Err(error) => {
                Note { kind: NoteKind::Trouble, text: error.to_string(), place: None, killed: None }
            }
        };
        self.show.note(note).await?;
        done.map(|staged| Json(Said { text: staged.text }))
    }
}

/// Every route of the site.
pub fn routes(site: Site) -> Router {
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/page-probe", get(async || Html(light_page())))
        .route("/picture/{number}", get(picture))
        .route("/thumb/{number}", get(thumb))
        .route("/stats", get(stats))
        .route("/snapshot", get(snapshot))
        .route("/load", post(set_load))
        .route("/place", post(place))
        .route("/kill", post(kill))
        .route("/crash", post(crash))
        .route("/healthz", get(async || "ok\n"))
        .layer(map_response(signed))
        .with_state(site)
}

#[derive(Deserialize)]
struct Size {
    w: Option<u32>,
}

#[derive(Deserialize)]
struct Load {
    per_s: u32,
}

#[derive(Deserialize)]
struct Wish {
    kind: Crash,
}

#[derive(Deserialize)]
struct Move {
    r#where: Place,
}

/// What a button's request is answered with.
#[derive(Serialize)]
struct Said {
    text: String,
}

async fn picture(Path(number): Path<u32>) -> Result<Response, AppError> {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
    ];
    Ok((headers, pictures::picture(number)?).into_response())
}

async fn thumb(
    State(site): State<Site>,
    Path(number): Path<u32>,
    Query(size): Query<Size>,
) -> Result<Response, AppError> {
    let jpeg = site.thumbnail(number, size.w.unwrap_or(WIDTH_PX)).await?;
    let maker = thumbnail::maker(&jpeg).map(|maker| format!("{} {}", maker.node, maker.pid));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (headers, jpeg).into_response();
    if let Some(Ok(maker)) = maker.map(HeaderValue::try_from) {
        response.headers_mut().insert(X_MADE_BY, maker);
    }
    Ok(response)
}

async fn snapshot(State(site): State<Site>) -> Result<Json<Snapshot>, AppError> {
    site.show.snapshot().await.map(Json)
}

async fn set_load(State(site): State<Site>, Json(load): Json<Load>) -> Result<StatusCode, AppError> {
    site.show.set_load(load.per_s).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn place(State(site): State<Site>, Json(to): Json<Move>) -> Result<Json<Said>, AppError> {
    let done = site.stage.place(to.r#where).await;
    site.staged(NoteKind::Place, done).await
}

async fn kill(State(site): State<Site>) -> Result<Json<Said>, AppError> {
    let done = site.stage.kill_worker().await;
    site.staged(NoteKind::Kill, done).await
}

async fn crash(State(site): State<Site>, Json(wish): Json<Wish>) -> Result<Json<Said>, AppError> {
    let done = site.stage.crash(wish.kind).await;
    site.staged(NoteKind::Crash, done).await
}

/// The figures, four times per second, until the browser leaves or the site closes.
async fn stats(State(site): State<Site>) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let mut ticks = tokio::time::interval(FIGURES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Sse::new(stream::unfold((site, ticks), async |(site, mut ticks)| {
        tokio::select! {
            _ = ticks.tick() => {}
            () = site.closing() => return None,
        }
        let figures = match site.show.snapshot().await {
            Ok(snapshot) => sse::Event::default().json_data(Figures { snapshot, served_by: Process::here() }),
            Err(error) => Ok(sse::Event::default().event("trouble").data(error.to_string())),
        };
        let event = figures.unwrap_or_else(|error| sse::Event::default().comment(error.to_string()));
        Some((Ok(event.retry(RECONNECT)), (site, ticks)))
    }))
}

/// A snapshot, and who sends it.
#[derive(Serialize)]
struct Figures {
    #[serde(flatten)]
    snapshot: Snapshot,
    served_by: &'static Process,
}

/// As much of a page as a site with ordinary templates writes for a visitor.
fn light_page() -> String {
    let mut page = String::with_capacity(4 * 1024);
    page.push_str("<!doctype html><title>Gallery</title><ul>");
    for number in 0..pictures::COUNT {
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "<li><a href=\"/picture/{number}\"><img src=\"/thumb/{number}?w={WIDTH_PX}\" alt=\"\"></a>"
        );
    }
    page.push_str("</ul>");
    page
}

/// Each answer names the process it comes from.
async fn signed(mut response: Response) -> Response {
    let here = Process::here();
    if let Ok(node) = HeaderValue::from_str(&here.node) {
        response.headers_mut().insert(X_NODE, node);
    }
    response.headers_mut().insert(X_PID, HeaderValue::from(here.pid));
    response
}

#[cfg(test)]
mod tests;
