use skybox::Result;

struct Cart;

#[skybox::task(with = Cart)]
fn pay() -> Result<()> {
    Ok(())
}

fn main() {}
