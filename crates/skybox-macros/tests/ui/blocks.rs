use skybox::{App, Result};

#[skybox::module]
fn pay() -> Result<u32> {
    Ok(0)
}

#[skybox::module]
struct Purse;

struct Cache<T>(T);

#[skybox::module]
impl<T> Cache<T> {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

struct Silent;

#[skybox::module]
impl Silent {
    fn len(&self) -> u32 {
        0
    }
    pub fn new() -> Self {
        Silent
    }
}

struct Unstarted;

#[skybox::module(keyed)]
impl Unstarted {
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

struct Unkeyed;

#[skybox::module]
impl Unkeyed {
    fn start(_app: &App, _user: &str) -> Self {
        Unkeyed
    }
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

struct Keyless;

#[skybox::module(keyed)]
impl Keyless {
    fn start(_app: &App) -> Self {
        Keyless
    }
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

struct Owned;

#[skybox::module(keyed)]
impl Owned {
    fn start(_app: &App, _user: String) -> Self {
        Owned
    }
    pub fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {
    let _ = (Silent.len(), Silent::new(), Card.pay(), pay());
}
