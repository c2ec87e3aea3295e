//! What each attribute writes. The snapshots are formatted code: read them as the documentation of the macros.

use std::io::Write;
use std::process::{Command, Stdio};

use proc_macro2::TokenStream;

/// Lines that one method may take: its row, its static, the proxy's method and the serving arm; of a task the head
/// and the end of its function, which is its proxy.
const LINES_MAX: usize = 12;
/// What a method of an interface takes beside these: its signature in the hidden trait, and there the box around its
/// future.
const BOXED_LINES_MAX: usize = 4;

/// Lines that a method with streams may take: where it is called and where it is served, its streams are taken care of.
const STREAMING_LINES_MAX: usize = 22;

/// The expansion as rustfmt writes it, by the rules of this workspace.
fn formatted(tokens: TokenStream) -> String {
    let file = syn::parse2(tokens.clone()).unwrap_or_else(|error| panic!("not Rust: {error}\n{tokens}"));
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../..")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rustfmt is a component of the toolchain that this workspace asks for");
    let mut stdin = rustfmt.stdin.take().expect("asked for above");
    // Doc comments are attributes in tokens: the one printer turns them back, the other one lays out.
    stdin.write_all(prettyplease::unparse(&file).as_bytes()).expect("rustfmt reads to the end");
    drop(stdin);
    let output = rustfmt.wait_with_output().expect("rustfmt was started above");
    assert!(output.status.success(), "rustfmt refused this:\n{tokens}");
    String::from_utf8(output.stdout).expect("rustfmt writes UTF-8")
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
    settings.bind(|| insta::assert_snapshot!(name, &expansion));
    let lines_max = match () {
        () if expansion.contains("_stream") => STREAMING_LINES_MAX,
        () if expansion.contains("_boxed<'c>(") => LINES_MAX + BOXED_LINES_MAX,
        () => LINES_MAX,
    };
    for (method, line_count) in lines_by_method(&expansion) {
        assert!(
            line_count <= lines_max,
            "`{method}` of the snapshot `{name}` takes {line_count} lines, more than {lines_max}:\n{expansion}"
        );
    }
}

fn is_task(expansion: &str) -> bool {
    !expansion.contains("Proxy(skybox_rt::Target<")
}

/// How many lines are there for each method, in all places together. The checks of types are not among them: each
/// type has one, however many methods name it.
fn lines_by_method(expansion: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = expansion.lines().collect();
    let statics = lines.iter().filter_map(|line| line.trim().strip_prefix("static ")?.split_once("_CALL:"));
    let methods = statics.map(|(name, _)| name.to_lowercase());
    methods.enumerate().map(|(index, name)| (name.clone(), line_count(&lines, index, &name))).collect()
}

fn line_count(lines: &[&str], index: usize, name: &str) -> usize {
    let call = format!("{}_CALL", name.to_uppercase());
    let is_task = is_task(&lines.join("\n"));
    let begins = |line: &str| {
        let line = line.trim();
        line.starts_with(&format!("static {call}:"))
            || line.contains("skybox_rt::MethodDescriptor::")
                && (is_task || line.contains(&format!("(\"{name}\"")))
            || line.contains(&format!("fn {name}<'c>(")) && !is_task
            || line.contains(&format!("fn {name}_boxed<'c>("))
            || line.starts_with(&format!("{index} => "))
            // The task's call, and how it is served.
            || line.starts_with(&format!("{call}.")) && is_task
    };
    let pieces = (0..lines.len()).filter(|at| begins(lines[*at])).map(|at| extent(&lines[at..]));
    // A task's function holds everything else too: its head and its end count.
    let head = lines.iter().skip_while(|line| !line.contains(" fn ")).position(|line| line.ends_with('{'));
    pieces.sum::<usize>() + if is_task { head.expect("a function has a body") + 2 } else { 0 }
}

/// The lines of what begins on the first one: those further in, and the brackets that close it.
fn extent(lines: &[&str]) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let further = |line: &&&str| {
        indent(line) > indent(lines[0])
            || indent(line) == indent(lines[0]) && line.trim().starts_with([')', ']', '}', '>'])
    };
    1 + lines[1..].iter().take_while(further).count()
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
fn a_spawned_module() {
    check(
        "module_spawned",
        module(
            "spawned",
            "impl Worker {
            async fn start(app: &App, job: Job) -> Result<Self> { Ok(Self { job }) }
            pub async fn step(&mut self) -> Result<bool> { Ok(true) }
        }",
        ),
    );
}

#[test]
fn a_module_with_a_last_word() {
    check(
        "module_with_stop",
        module(
            "stop_wait = \"30s\"",
            "impl Journal {
            async fn start(app: &App) -> Result<Self> { Ok(Self { lines: Vec::new() }) }
            pub async fn write(&mut self, line: String) -> Result<()> { Ok(self.lines.push(line)) }
            async fn stop(self, app: &App) -> Result<()> { save(app, self.lines).await }
        }",
        ),
    );
}

#[test]
fn an_interface() {
    check(
        "interface",
        module(
            "",
            "/// Takes money.
            pub trait Payments {
                /// Charges a card.
                #[idempotent]
                async fn pay(&self, order: &str) -> Result<Receipt, PaymentError>;
                async fn refund(&mut self, receipt: Receipt) -> Result<()>;
                async fn pay_all(&self, orders: Vec<String>) -> Result<()> {
                    for order in orders {
                        self.pay(&order).await?;
                    }
                    Ok(())
                }
            }",
        ),
    );
}

#[test]
fn a_keyed_interface() {
    check(
        "interface_keyed",
        module(
            "keyed = UserId",
            "pub(crate) trait Limits: Send { async fn take(&mut self, n: u32) -> Result<bool>; }",
        ),
    );
}

#[test]
fn a_candidate() {
    check(
        "candidate",
        module(
            "replicas = 2",
            "impl api::Payments for Stripe {
                async fn pay(&self, order: &str) -> Result<Receipt> { self.charge(order).await }
            }",
        ),
    );
}

#[test]
fn a_keyed_candidate() {
    check(
        "candidate_keyed",
        module(
            "keyed, idle = \"2m\"",
            "impl Limits for InMemory { async fn take(&mut self, n: u32) -> Result<bool> { Ok(true) } }",
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

#[test]
fn a_module_with_streams() {
    let block = "impl Pipes {
        pub async fn pour(&self, name: &str, items: Stream<u8>) -> Result<u64> { todo!() }
        pub async fn fill(&mut self) -> Result<Stream<u8, Spilt>> { todo!() }
    }";
    check("module_with_streams", module("", block));
}
