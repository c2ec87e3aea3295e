use skybox::{App, Result};

trait Payments: Send + Sync {
    fn pay(&self) -> Result<u32>;
}

fn reach(app: &App) {
    app.get::<dyn Payments>();
}

fn main() {}
