use skybox::Result;

type Lines = skybox::Stream<String>;

#[skybox::task]
async fn follow(path: &str) -> Result<Lines> {
    Err(skybox::Error::msg(path.to_owned()))
}

fn main() {}
