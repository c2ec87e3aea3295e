//! The smallest program: one function that may run elsewhere. With `--stay` it waits for Ctrl-C.

/// Says where it runs.
#[skybox::task]
fn hello(name: String) -> skybox::Result<String> {
    Ok(format!("hello {name}, from process {}", std::process::id()))
}

#[tokio::main]
async fn main() -> skybox::Result<()> {
    let app = skybox::App::builder().start().await?;
    println!("{}", hello("world".to_owned()).await?);
    if std::env::args().any(|argument| argument == "--stay") {
        app.draining().await;
    }
    Ok(())
}
