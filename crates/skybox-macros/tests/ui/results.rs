use std::borrow::Cow;
use std::future::Future;

use skybox::Result;

struct Stream<T>(T);

#[derive(Default)]
struct Cart {
    names: Vec<String>,
}

#[skybox::module]
impl Cart {
    pub fn first(&self) -> Result<&str> {
        Ok(&self.names[0])
    }

    pub fn names(&self) -> Result<&[String]> {
        Ok(&self.names)
    }

    pub fn either(&self) -> Result<Cow<'_, str>> {
        Ok(self.names[0].as_str().into())
    }

    pub fn each(&self) -> Result<impl Iterator<Item = u32>> {
        Ok(0..3)
    }

    pub fn later(&self) -> impl Future<Output = Result<u32>> + Send {
        async { Ok(0) }
    }

    pub fn flow(&self) -> Result<Stream<u32>> {
        Ok(Stream(0))
    }
}

fn main() {}
