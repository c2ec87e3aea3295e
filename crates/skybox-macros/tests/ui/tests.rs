use skybox::App;

#[skybox::test]
fn waits_for_nothing() {}

#[skybox::test(modes = "both")]
async fn unknown_mode(_app: App) {}

#[skybox::test(replicas = 2)]
async fn unknown_key() {}

#[skybox::test]
async fn two_apps(_app: App, _other: &App) {}

#[skybox::test]
async fn unnamed((_a, _b): (u32, u32)) {}

fn main() {}
