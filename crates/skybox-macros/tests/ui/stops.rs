use skybox::{App, Result};

macro_rules! types {
    ($($name:ident),*) => { $(#[derive(Default)] struct $name;)* };
}
types!(Visible, Boxed, Generic, Reckless, Curious, Bound);

#[skybox::module]
impl Visible {
    pub async fn len(&self) -> Result<u32> {
        Ok(0)
    }

    pub async fn stop(self) {}
}

#[skybox::module]
impl Boxed {
    pub async fn len(&self) -> Result<u32> {
        Ok(0)
    }

    async fn stop(self: Box<Self>) {}
}

#[skybox::module]
impl Generic {
    pub async fn len(&self) -> Result<u32> {
        Ok(0)
    }

    async fn stop<T>(self) {}
}

#[skybox::module]
impl Reckless {
    pub async fn len(&self) -> Result<u32> {
        Ok(0)
    }

    async unsafe fn stop(self) {}
}

#[skybox::module]
impl Curious {
    pub async fn len(&self) -> Result<u32> {
        Ok(0)
    }

    async fn stop(self, _app: &App, _why: &str) {}
}

#[skybox::module(stop_wait = "30s")]
impl Bound {
    pub async fn len(&self) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}
