//! Serves the pages.

use skybox::App;

#[tokio::main]
async fn main() -> skybox::Result<()> {
    let app = App::builder().listener("http", "127.0.0.1:8080").start().await?;
    let listener = app.listen("http").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, streams::routes(app.clone())).with_graceful_shutdown(app.draining()).await?;
    Ok(())
}
