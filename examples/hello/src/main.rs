//! The smallest program: one function that may run elsewhere.

/// Says where it runs.
#[skybox::task]
fn hello(name: String) -> skybox::Result<String> {
    Ok(format!("hello {name}, from process {}", std::process::id()))
}

#[tokio::main]
async fn main() -> skybox::Result<()> {
    let _app = skybox::App::builder().start().await?;
    println!("{}", hello("world".to_owned()).await?);
    Ok(())
}
