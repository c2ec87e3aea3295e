struct Cart;

fn reach(app: &skybox::App) {
    app.get::<Cart>();
}

fn main() {}
