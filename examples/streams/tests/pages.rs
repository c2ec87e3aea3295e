//! The pages in one process, then strict, then with their modules on other nodes.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use skybox::cloud::testing::Nodes;
use skybox::{App, Stream};
use streams::{Halver, STORY, Teller, routes};
use tower::ServiceExt;

/// The longest a test waits for anything; far above what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn pages(app: &App) {
    let seeing = async {
        a_picture_is_halved(app).await;
        rows_go_out_while_others_come_in(app).await;
        half_a_picture_is_no_picture(app).await;
        a_story_is_told_word_by_word(app).await;
        nobody_tells_to_nobody(app).await;
    };
    tokio::time::timeout(PATIENCE, app.enter(seeing)).await.expect("the pages answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inline() {
    let app = App::builder().aside().start().await.expect("an App");
    pages(&app).await;
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict() {
    let app = App::builder().aside().strict(true).start().await.expect("an App");
    pages(&app).await;
    app.shutdown().await;
}

/// The page here, the halving there, the telling on a third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_three_nodes() {
    let nodes = Nodes::of_this_test(2).pin("half", &["node-1"]).pin("teller", &["node-2"]);
    let nodes = nodes.start(|builder| builder).await;
    pages(&nodes.app().clone()).await;
    nodes.stop().await;
}

/// A picture whose pixels differ.
fn picture(width_px: usize, height_px: usize) -> Vec<u8> {
    let mut picture = format!("P6\n{width_px} {height_px}\n255\n").into_bytes();
    picture.extend((0..width_px * height_px * 3).map(|n| (n % 251) as u8));
    picture
}

async fn send(app: &App, request: Request<Body>) -> BodyDataStream {
    let response = routes(app.clone()).oneshot(request).await.expect("a router does not fail");
    assert_eq!(response.status(), 200);
    response.into_body().into_data_stream()
}

fn upload(body: Body) -> Request<Body> {
    Request::post("/half").body(body).expect("a request")
}

async fn a_picture_is_halved(app: &App) {
    let picture = picture(200, 300);
    let expected = Halver::default().push(&picture).expect("a picture");
    let pieces: Vec<_> = picture.chunks(1_000).map(|piece| Ok::<_, skybox::Error>(piece.to_vec())).collect();
    let body = send(app, upload(Body::from_stream(stream::iter(pieces)))).await;
    let halved: Vec<Bytes> = body.map(|bytes| bytes.expect("it is whole")).collect().await;
    assert!(halved.concat() == expected && expected.starts_with(b"P6\n100 150\n255\n"));
}

async fn rows_go_out_while_others_come_in(app: &App) {
    let picture = picture(4, 4);
    let header_len = picture.len() - 4 * 4 * 3;
    let (sender, pieces) = Stream::<Vec<u8>>::channel(1);
    sender.send(picture[..header_len + 2 * 4 * 3].to_vec()).await.expect("somebody reads");
    let mut body = send(app, upload(Body::from_stream(pieces))).await;
    let first = body.next().await.expect("a row").expect("a row");
    assert!(first.starts_with(b"P6\n2 2\n255\n"), "the second half has not been sent yet");
    sender.send(picture[header_len + 2 * 4 * 3..].to_vec()).await.expect("somebody reads");
    drop(sender);
    assert_eq!(body.next().await.expect("a row").expect("a row").len(), 2 * 3);
    assert!(body.next().await.is_none());
}

async fn half_a_picture_is_no_picture(app: &App) {
    let mut body = send(app, upload(Body::from(picture(4, 4)[..40].to_vec()))).await;
    let error = loop {
        match body.next().await.expect("its end is no plain one") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("rows are missing"), "{error}");
}

async fn a_story_is_told_word_by_word(app: &App) {
    let events = send(app, Request::get("/story").body(Body::empty()).expect("a request")).await;
    let events: Vec<Bytes> = events.map(|bytes| bytes.expect("it is whole")).collect().await;
    let told: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
    let expected: Vec<_> = STORY.split(' ').map(|word| format!("data: {word}\n\n")).collect();
    assert_eq!(told, expected);
}

async fn nobody_tells_to_nobody(app: &App) {
    let mut events = send(app, Request::get("/story").body(Body::empty()).expect("a request")).await;
    events.next().await.expect("a word").expect("a word");
    let teller = app.get::<Teller>();
    assert_eq!(teller.telling().await.expect("it answers"), 1);
    drop(events);
    while teller.telling().await.expect("it answers") > 0 {
        tokio::task::yield_now().await;
    }
}
