use skybox::{App, Result};

#[derive(Clone)]
struct User(String);

struct Limits;

#[skybox::module(keyed)]
impl Limits {
    fn start(_app: &App, _user: &User) -> Self {
        Limits
    }
    pub fn left(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {
    let _ = User(String::new()).0;
}
