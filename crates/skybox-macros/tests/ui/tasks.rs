use skybox::Result;

struct Cart;

impl Cart {
    #[skybox::task]
    pub fn method(&self) -> Result<()> {
        Ok(())
    }
}

#[skybox::task]
impl Cart {}

#[skybox::task]
struct Purse;

#[skybox::task]
fn silent() {}

#[skybox::task(keyed)]
fn stateful() -> Result<()> {
    Ok(())
}

#[skybox::task(cpu = "many")]
fn busy() -> Result<()> {
    Ok(())
}

#[skybox::task(idempotent)]
#[idempotent]
fn twice() -> Result<()> {
    Ok(())
}

#[skybox::task]
#[local]
fn local() -> Result<()> {
    Ok(())
}

#[skybox::task]
async fn generic<T: Send>(_value: T) -> Result<()> {
    Ok(())
}

fn main() {}
