use skybox::{Result, Stream};

#[derive(Default)]
struct Pipes;

#[skybox::module]
impl Pipes {
    pub async fn lent(&self, _items: &mut Stream<u8>) -> Result<()> {
        Ok(())
    }

    pub async fn several(&self, _items: Vec<Stream<u8>>) -> Result<()> {
        Ok(())
    }

    pub async fn borrowing(&self, _items: Stream<&str>) -> Result<()> {
        Ok(())
    }

    pub async fn infallible(&self) -> Stream<u8> {
        Stream::channel(1).1
    }

    pub async fn with_length(&self) -> Result<(u64, Stream<u8>)> {
        Ok((0, Stream::channel(1).1))
    }
}

fn main() {}
