use std::rc::Rc;

use skybox::Result;

#[skybox::task]
async fn count() -> Result<u32> {
    let count = Rc::new(1);
    std::future::ready(()).await;
    Ok(*count)
}

fn main() {}
