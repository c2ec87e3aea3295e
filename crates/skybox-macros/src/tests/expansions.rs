//! What each attribute writes. The snapshots are formatted code: read them as the documentation of the macros.

use proc_macro2::TokenStream;

/// The expansion, formatted.
fn formatted(tokens: TokenStream) -> String {
    let file = syn::parse2(tokens.clone()).unwrap_or_else(|error| panic!("not Rust: {error}\n{tokens}"));
    prettyplease::unparse(&file)
}

fn task(attribute: &str, item: &str) -> String {
    formatted(crate::expand_task(tokens(attribute), tokens(item)))
}

fn module(attribute: &str, item: &str) -> String {
    formatted(crate::expand_module(tokens(attribute), tokens(item)))
}

fn tokens(text: &str) -> TokenStream {
    text.parse().unwrap_or_else(|error| panic!("not tokens: {error}\n{text}"))
}

fn check(name: &str, expansion: String) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, expansion));
}

#[test]
fn a_task_without_waiting() {
    check("task", task(
        "cpu = 1",
        "/// Makes it small.
         pub fn thumbnail(image: Bytes, width_px: u32) -> Result<Bytes, AppError> { shrink(image, width_px) }",
    ));
}

#[test]
fn a_task_that_borrows_and_waits() {
    check(
        "task_borrowing",
        task(
            "idempotent",
            "pub(crate) async fn fetch(url: &str, headers: &[Header]) -> Result<Page> { get(url, headers).await }",
        ),
    );
}

#[test]
fn a_replicated_module() {
    check(
        "module_replicated",
        module(
            "cpu = 1, replicas = 2",
            "impl Catalog {
            async fn start(app: &App) -> Result<Self> { Ok(Self { pool: app.value()? }) }
            /// Finds one.
            pub async fn get(&self, id: &str) -> Result<Item, AppError> { self.find(id).await }
            pub async fn put(&mut self, item: Item, note: &str) -> Result<()> { Ok(()) }
            pub fn len(&self) -> Result<usize> { Ok(self.items.len()) }
            #[local]
            pub fn secret(&self) {}
            fn helper(&self) {}
            pub fn describe() -> String { String::new() }
        }",
        ),
    );
}

#[test]
fn a_keyed_module() {
    check(
        "module_keyed",
        module(
            "keyed, idle = \"2m\", with = crate::cart::Cart, restart = \"on-crash\"",
            "impl Limits {
            async fn start(app: &App, user: &UserId) -> Result<Self> { Ok(Self { left: 3 }) }
            #[cancel_on_drop]
            pub async fn take(&mut self, n: u32) -> Result<bool> { Ok(true) }
            #[idempotent]
            #[to_completion]
            pub(crate) async fn left(&self) -> Result<u32> { Ok(self.left) }
        }",
        ),
    );
}

#[test]
fn an_error_enum() {
    check(
        "wire_error",
        formatted(crate::expand_wire_error(tokens(
            "enum AppError {
            NotFound { id: String, at: u32 },
            NameTaken,
            Invalid(&'static str),
            Database(#[from] sqlx::Error),
            #[wire(call)]
            Call(CallError),
            #[wire(rest)]
            Other(anyhow::Error),
        }",
        ))),
    );
}

#[test]
fn an_error_enum_with_one_variant_for_all_that_is_not_its_own() {
    let item = "enum AppError { NameTaken, #[wire(call, rest)] Internal(#[from] anyhow::Error) }";
    check("wire_error_internal", formatted(crate::expand_wire_error(tokens(item))));
}

fn test(attribute: &str, item: &str) -> String {
    formatted(crate::expand_test(tokens(attribute), tokens(item)))
}

#[test]
fn a_test() {
    check(
        "test",
        test("", "/// Says hello. \n async fn hello(app: &App) { app.get::<Hello>().say().await.unwrap(); }"),
    );
}

#[test]
fn a_test_below_another_harness() {
    check(
        "test_hosted",
        test(
            "provide = pool.clone(), provide = Config::default()",
            "#[sqlx::test]
             async fn orders(mut pool: PgPool, app: App) -> anyhow::Result<()> { order(&app).await }",
        ),
    );
}
