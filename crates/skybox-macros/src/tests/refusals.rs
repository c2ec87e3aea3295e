//! Every refusal, in the words that a user reads. Where each one points is seen in the compile-fail cases of the
//! crate `skybox`.

use proc_macro2::TokenStream;

fn tokens(text: &str) -> TokenStream {
    text.parse().unwrap_or_else(|error| panic!("not tokens: {error}\n{text}"))
}

/// All messages of an error, each on a line of its own.
fn messages<T>(result: syn::Result<T>, written: &str) -> String {
    let Err(error) = result else { panic!("this was taken: {written}") };
    error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("\n")
}

fn task(attribute: &str, item: &str, expect: &str) {
    let found = messages(crate::parse::task(tokens(attribute), tokens(item)), &format!("{attribute} {item}"));
    assert_eq!(found, expect, "#[task({attribute})] {item}");
}

fn module(attribute: &str, item: &str, expect: &str) {
    let found =
        messages(crate::parse::module(tokens(attribute), tokens(item)), &format!("{attribute} {item}"));
    assert_eq!(found, expect, "#[module({attribute})] {item}");
}

/// A method in a module that is sound otherwise.
fn method(item: &str, expect: &str) {
    module("", &format!("impl Cart {{ pub fn len(&self) -> Result<u32> {{ Ok(0) }} {item} }}"), expect);
}

/// A keyed module, for keys that only those take.
fn keys(attribute: &str, expect: &str) {
    let item = "impl Cart {
        fn start(app: &App, user: &UserId) -> Self { Cart }
        pub fn len(&self) -> Result<u32> { Ok(0) }
    }";
    module(&format!("keyed, {attribute}"), item, expect);
}

#[test]
fn keys_and_their_values() {
    keys("cpu = 0", "`cpu` takes a number of cores such as 2 or 0.5, not `0`");
    keys("cpu = -1", "`cpu` takes a number of cores such as 2 or 0.5, not `-1`");
    keys("cpu", "`cpu` takes a number of cores such as 2 or 0.5");
    keys("memory = \"lots\"", "`memory` takes a size such as \"512MiB\", not `\"lots\"`");
    keys("memory = 512", "`memory` takes a size such as \"512MiB\", not `512`");
    keys("gpu = \"one\"", "`gpu` takes a whole number, not `\"one\"`");
    keys("near = 1", "`near` takes the name of a resource or module, such as \"db\", not `1`");
    keys("with = \"cart\"", "`with` takes the type of another module, not `\"cart\"`");
    keys("apart = 1", "`apart` takes the type of another module, not `1`");
    keys("spread = \"zone=a\"", "`spread` takes the name of a label, such as \"zone\", not `\"zone=a\"`");
    keys("on = \"arm64\"", "`on` takes a label with its value, such as \"arch=arm64\", not `\"arm64\"`");
    keys("isolate = \"thread\"", "`isolate` takes \"process\" or \"process:shared\", not `\"thread\"`");
    keys("concurrency = 0", "`concurrency` takes a whole number above zero, not `0`");
    keys("restart = \"once\"", "`restart` takes \"always\", \"on-crash\" or \"never\", not `\"once\"`");
    keys("max_restarts = \"3\"", "`max_restarts` takes a whole number, not `\"3\"`");
    keys("idle = \"2\"", "`idle` takes a duration such as \"250ms\", \"2m\" or \"1h\", not `\"2\"`");
    keys("deadline = 2", "`deadline` takes a duration such as \"250ms\", \"2m\" or \"1h\", not `2`");
    keys("awake = 0", "`awake` takes a whole number above zero, not `0`");
    keys("on-store-loss = \"wait\"", "`on_store_loss` takes \"stop\" or \"continue\", not `\"wait\"`");
    keys("crate = 1", "`crate` takes a path such as \"::skybox\", not `1`");
    keys("keyed", "`keyed` stands here twice");
    keys("replica = 2", "there is no key `replica`; did you mean `replicas`?");
    keys("cpus = 2", "there is no key `cpus`; did you mean `cpu`?");
    keys("stop_wait = 2", "`stop_wait` takes a duration such as \"250ms\", \"2m\" or \"1h\", not `2`");
    keys(
        "stop_wait = \"2s\"",
        "`stop_wait` bounds `stop`, and this module has none: write `async fn stop(self, app: &App)`, or leave it out",
    );
    keys("start-wait = \"1s\"", "`start-wait` is set in skybox.toml alone");
    keys("idempotent", "`#[idempotent]` stands on one method: write it there");
    keys("replicas = 2", "a keyed module has exactly one instance for each key: leave `replicas` out");
    keys(
        "colour = 1",
        "there is no key `colour`; the keys are cpu, memory, gpu, near, with, apart, spread, on, replicas, isolate, \
         concurrency, restart, max_restarts, within, deadline, crate, keyed, spawned, overrun, stop_wait, idle, \
         awake, on_store_loss",
    );
}

#[test]
fn keys_of_modules_without_a_key() {
    let item = "impl Cart { pub fn len(&self) -> Result<u32> { Ok(0) } }";
    let takes = "`replicas` takes a number above zero, a range such as 1..=8, or \"per-node\"";
    module("replicas = 0", item, &format!("{takes}, not `0`"));
    module("replicas = 8..=1", item, &format!("{takes}, not `8..=1`"));
    module("replicas = 1..8", item, &format!("{takes}, not `1..8`"));
    module("replicas = \"each\"", item, &format!("{takes}, not `\"each\"`"));
    module("keyed = true", item, "`keyed` takes no value, not `true`");
    module("idle = \"2m\"", item, "only the instances of a keyed module fall asleep: `idle` needs `keyed`");
    module("awake = 9", item, "only the instances of a keyed module fall asleep: `awake` needs `keyed`");
    module(
        "on_store_loss = \"stop\"",
        item,
        "only keyed modules have an owner to lose: `on_store_loss` needs `keyed`",
    );
    module(
        "keyed, spawned",
        item,
        "an instance is either found by its key or made by code: leave `keyed` or `spawned` out",
    );
    module(
        "spawned, replicas = 2",
        item,
        "code says how many instances of a spawned module there are: leave `replicas` out",
    );
    module(
        "spawned, max_restarts = 2",
        item,
        "an instance that code made is started again by its supervisor alone, which says how often: leave \
         `max_restarts` out",
    );
    module(
        "keyed",
        item,
        "a keyed module needs `async fn start(app: &App, key: &Key) -> Result<Self>`, which makes the instance of \
         one key",
    );
}

#[test]
fn blocks() {
    module("", "fn len() {}", "a function is a task: write `#[skybox::task]`");
    module("", "struct Cart;", "put `#[skybox::module]` on the `impl` block of this type");
    module("", "enum Cart {}", "put `#[skybox::module]` on the `impl` block of this type");
    module("", "mod cart {}", "`#[skybox::module]` stands on an `impl` block or on a trait");
    module(
        "",
        "impl<T> Cart<T> { pub fn len(&self) -> Result<u32> { Ok(0) } }",
        "each module is one type with one name: it cannot be generic; write the `impl` for a concrete type",
    );
    module(
        "",
        "impl (u8, u8) { pub fn len(&self) -> Result<u32> { Ok(0) } }",
        "a module is a type of your own, written by its name",
    );
    module(
        "",
        "impl Cart { fn len(&self) {} pub fn new() -> Self { Cart } }",
        "this module has no method to call: make one `pub`, with `&self` or `&mut self`",
    );
}

/// A method of an interface that is sound otherwise.
fn interface_method(item: &str, expect: &str) {
    module("", &format!("trait Cart {{ async fn len(&self) -> Result<u32>; {item} }}"), expect);
}

#[test]
fn interfaces() {
    let member = |what| format!("callers know an interface by its methods alone: it cannot have a `{what}`");
    interface_method("type Item;", &member("type"));
    interface_method("const SIZE: u32;", &member("const"));
    interface_method("methods!();", "an interface has methods alone, written out");
    interface_method(
        "fn add(&mut self) -> Result<()>;",
        "an implementation may be in another process: write `async fn add`",
    );
    interface_method(
        "async fn empty() -> Result<()>;",
        "callers have an instance: `empty` takes `&self` or `&mut self`",
    );
    interface_method(
        "async fn sell(self) -> Result<()>;",
        "an instance stays where it is: take `&self` (beside others) or `&mut self` (one at a time)",
    );
    interface_method(
        "async fn add(&mut self);",
        "a call can fail, so `add` must return a `Result`, such as `skybox::Result<()>`",
    );
    interface_method(
        "async fn add<T: Into<Item>>(&mut self, item: T) -> Result<()>;",
        "each call crosses with known types: `add` cannot be generic",
    );
    let this = "callers know `dyn` the interface, not which type implements it: write a type here that both sides know";
    interface_method("async fn merge(&mut self, other: Self) -> Result<()>;", this);
    interface_method("async fn split(&mut self) -> Result<Option<Self>>;", this);
    interface_method("async fn first(&self) -> Result<Self::Item>;", this);
    for name in ["with", "clone", "into"] {
        interface_method(
            &format!("async fn {name}(&self) -> Result<u32>;"),
            &format!("every handle has its own `{name}`, which would be called instead: rename this"),
        );
    }
    interface_method(
        "async fn start(&self) -> Result<u32>;",
        "`start` makes an instance of an implementation: give this method another name",
    );
    interface_method(
        "#[local] async fn add(&mut self) -> Result<()>;",
        "an interface is what callers see: `#[local]` stands on methods of modules",
    );
    interface_method(
        "#[cfg(test)] async fn add(&mut self) -> Result<()>;",
        "an interface is the same in every build: leave `#[cfg]` out",
    );
    interface_method(
        "#[to_completion] async fn add(&mut self) -> Result<()>;",
        "a `&mut self` method already runs to its end once started",
    );
}

#[test]
fn traits() {
    let method = "async fn len(&self) -> Result<u32>;";
    module(
        "",
        &format!("trait Cart<T> {{ {method} }}"),
        "an interface is one type, `dyn` its name, with one name: it cannot be generic",
    );
    module(
        "",
        &format!("trait Cart where Self: Sized {{ {method} }}"),
        "an interface asks nothing of its implementations but methods: leave `where` out",
    );
    module(
        "",
        &format!("unsafe trait Cart {{ {method} }}"),
        "nobody can vouch for an implementation in another process: leave `unsafe` out",
    );
    module(
        "",
        &format!("trait Cart: Send + Clone + 'static {{ {method} }}"),
        "callers know an interface by its own methods alone: leave this out, and name it where the implementation \
         needs it",
    );
    module("", "trait Cart {}", "this interface has no method to call: write one, `async fn`, with `&self`");
    module(
        "replicas = 2",
        &format!("trait Cart {{ {method} }}"),
        "`replicas` says how instances are kept: it stands on the implementations of this interface",
    );
    let key = "an interface names the type of its key, such as `keyed = UserId`";
    module("keyed", &format!("trait Cart {{ {method} }}"), key);
    module("keyed = \"UserId\"", &format!("trait Cart {{ {method} }}"), &format!("{key}, not `\"UserId\"`"));
    module(
        "replica = 2",
        &format!("trait Cart {{ {method} }}"),
        "there is no key `replica`; the keys are crate, keyed",
    );
    module(
        "idempotent",
        &format!("trait Cart {{ {method} }}"),
        "`#[idempotent]` stands on one method: write it there",
    );
}

#[test]
fn candidates() {
    let body = "async fn len(&self) -> Result<u32> { Ok(0) }";
    module(
        "",
        &format!("impl Cart for List {{ #[idempotent] {body} }}"),
        "`#[idempotent]` is part of the interface: it stands on the method of the trait",
    );
    module(
        "",
        &format!("impl Cart for List {{ #[local] {body} }}"),
        "`#[local]` is part of the interface: it stands on the method of the trait",
    );
    module(
        "",
        &format!("impl<T> Cart for List<T> {{ {body} }}"),
        "each module is one type with one name: it cannot be generic; write the `impl` for a concrete type",
    );
    module(
        "",
        &format!("impl Cart<u32> for List {{ {body} }}"),
        "an interface is not generic: `#[skybox::module]` stands on implementations of one",
    );
    module(
        "",
        "impl !Cart for List {}",
        "this says that something is not implemented: leave `#[skybox::module]` out",
    );
    module(
        "",
        &format!("impl Cart for (u8, u8) {{ {body} }}"),
        "a module is a type of your own, written by its name",
    );
    module("keyed = u32", &format!("impl Cart for List {{ {body} }}"), "`keyed` takes no value, not `u32`");
}

#[test]
fn starts() {
    method(
        "fn start(app: &App, user: &UserId) -> Self { Cart }",
        "`start` takes `app: &App` alone; with a key the module is `#[skybox::module(keyed)]`",
    );
    method(
        "fn start(app: &App) {}",
        "`start` makes the instance: it returns `Result<Self>`, or `Self` if it cannot fail",
    );
    method("fn start<T>(app: &App) -> Self { Cart }", "the runtime calls `start`: it cannot be generic");
    let keyed = |start: &str, expect| {
        module(
            "keyed",
            &format!("impl Cart {{ {start} pub fn len(&self) -> Result<u32> {{ Ok(0) }} }}"),
            expect,
        );
    };
    keyed(
        "fn start(app: &App) -> Self { Cart }",
        "the `start` of a keyed module takes two arguments: `app: &App, key: &Key`",
    );
    keyed(
        "fn start(app: &App, user: UserId) -> Self { Cart }",
        "`start` borrows its key, which stays with the instance's name: take it as `&…`",
    );
}

#[test]
fn starts_of_spawned_modules() {
    let spawned = |start: &str, expect| {
        module(
            "spawned",
            &format!("impl Cart {{ {start} pub fn len(&self) -> Result<u32> {{ Ok(0) }} }}"),
            expect,
        );
    };
    spawned(
        "fn start(app: &App, first: u32, second: u32) -> Self { Cart }",
        "the `start` of a spawned module takes `app: &App` and one argument more: make these a struct or a tuple",
    );
    spawned(
        "fn start(app: &App, user: &UserId) -> Self { Cart }",
        "`start` is given its argument, to keep: take it by value",
    );
    spawned(
        "fn start(app: &App, pages: Stream<u32>) -> Self { Cart }",
        "an instance outlives the call that makes it: give it its stream in a call",
    );
    let elsewhere = "code that makes an instance names its type: an interface has no spawned ones; put `spawned` on \
                     the `impl` block of the type itself";
    module("spawned", "impl Cart for List { async fn len(&self) -> Result<u32> { Ok(0) } }", elsewhere);
    module("spawned", "trait Cart { async fn len(&self) -> Result<u32>; }", elsewhere);
}

#[test]
fn stops() {
    let visible =
        "the runtime calls `stop`, when an instance is retired: leave `pub` out; or mark your own `#[local]`";
    method("pub async fn stop(self) {}", visible);
    method("pub(crate) async fn stop(mut self, app: &App) {}", visible);
    method("async fn stop(self: Box<Self>) {}", "`stop` takes the instance itself: write `self`");
    method("async fn stop<T>(self) {}", "the runtime calls `stop`: it cannot be generic");
    method("async unsafe fn stop(self) {}", "the runtime calls `stop`: it cannot be `unsafe`");
    method(
        "async fn stop(self, app: &App, why: Why) {}",
        "`stop` takes `self`, and `app: &App` if it needs it",
    );
    method(
        "#[idempotent] async fn stop(self) {}",
        "`#[idempotent]` says how calls run, but `stop` is neither `pub` nor `pub(crate)`: it is not called through \
         handles",
    );
}

/// What is merely called `stop` is what it was.
#[test]
fn other_functions_of_that_name() {
    for written in [
        "pub async fn stop(&self) -> Result<u32> { Ok(0) }",
        "pub async fn stop(&mut self) -> Result<u32> { Ok(0) }",
        "fn stop(&mut self) {}",
        "#[local] pub fn stop(self) {}",
        "pub fn stop(app: &App) {}",
    ] {
        let item = format!("impl Cart {{ pub fn len(&self) -> Result<u32> {{ Ok(0) }} {written} }}");
        let Ok(crate::model::Annotated::Module(cart)) = crate::parse::module(tokens(""), tokens(&item))
        else {
            panic!("this is taken as a module: {item}");
        };
        assert!(cart.stop.is_none(), "{written}");
        let is_method = written.starts_with("pub async");
        assert_eq!(cart.methods.iter().any(|method| method.ident == "stop"), is_method, "{written}");
    }
}

#[test]
fn signatures() {
    method(
        "pub fn take(&self) {}",
        "a call can fail, so `take` must return a `Result`, such as `skybox::Result<()>`",
    );
    method("pub const fn a(&self) -> R { 0 }", "a call is made at run time: `a` cannot be `const`");
    method(
        "pub unsafe fn a(&self) -> R { 0 }",
        "nobody can vouch for a caller in another process: `a` cannot be `unsafe`",
    );
    method(
        "pub extern \"C\" fn a(&self) -> R { 0 }",
        "a call goes through Skybox's own protocol: leave `extern` out",
    );
    method(
        "pub fn a<T>(&self, x: T) -> R { 0 }",
        "each call crosses with known types: `a` cannot be generic",
    );
    method(
        "pub fn a<'a>(&self, x: u8) -> R { 0 }",
        "leave the lifetimes out: arguments are borrowed for the call, results are owned",
    );
    method(
        "pub fn a(&self) -> R where u8: Copy { 0 }",
        "each call crosses with known types: `a` cannot have a `where` clause",
    );
    let stays = "an instance stays where it is: take `&self` (beside others) or `&mut self` (one at a time)";
    method("pub fn a(self) -> R { 0 }", stays);
    method("pub fn a(self: Arc<Self>) -> R { 0 }", stays);
    method("pub fn a(self: &Self) -> R { 0 }", stays);
    method("pub fn a(&'static self) -> R { 0 }", "leave the lifetime out: results are owned");
    method(
        "pub fn a(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8, m: u8) \
         -> R { 0 }",
        "a call takes up to 12 arguments: put these into a struct",
    );
    for name in ["with", "clone", "clone_from", "into", "try_into", "to_owned"] {
        method(
            &format!("pub fn {name}(&self) -> R {{ 0 }}"),
            &format!(
                "every handle has its own `{name}`, which would be called instead: rename this, or mark it `#[local]`"
            ),
        );
    }
    method(
        "#[cfg(unix)] pub fn a(&self) -> R { 0 }",
        "an interface is the same in every build: put `#[cfg]` inside the body, or mark the method `#[local]`",
    );
}

#[test]
fn arguments() {
    let argument = |ty: &str, expect: &str| method(&format!("pub fn a(&self, x: {ty}) -> R {{ 0 }}"), expect);
    argument(
        "&mut Item",
        "a call cannot change a value of its caller: take it by value, and return what became of it",
    );
    argument("&'a str", "leave `'a` out: the argument is borrowed for the call, and owned where it must be");
    argument(
        "&'static str",
        "leave `'static` out: the argument is borrowed for the call, and owned where it must be",
    );
    argument(
        "&dyn Shape",
        "an argument of a call is encoded, so its type must be known: take a concrete type instead of `dyn`",
    );
    argument(
        "impl Shape",
        "an argument of a call is encoded, so its type must be known: name it instead of `impl`",
    );
    let whole = "only a whole argument can be borrowed, as `&str`, `&[T]` or `&T`: write";
    argument("Option<&str>", &format!("{whole} `String` here"));
    argument("Vec<&[u8]>", &format!("{whole} `Vec<u8>` here"));
    argument("&[&Item]", &format!("{whole} `Item` here"));
    argument("&&Item", &format!("{whole} `Item` here"));
    argument(
        "Cow<'_, str>",
        "a type that borrows cannot be an argument of a call: take an owned one (`String` for `Cow<'_, str>`)",
    );
    argument("&Stream<u8>", "whoever reads a stream uses it up: take it by value");
    argument("&mut skybox::Stream<u8>", "whoever reads a stream uses it up: take it by value");
    let alone = "a stream is an argument of its own, and no part of another: its items come beside the call";
    argument("Vec<Stream<u8>>", alone);
    argument("(u8, Stream<u8>)", alone);
    argument("Stream<Stream<u8>>", alone);
    argument("Stream<&str>", &format!("{whole} `String` here"));
    method(
        "pub fn a(&self, (x, y): (u8, u8)) -> R { 0 }",
        "an argument of a call needs a name: take the value apart in the body",
    );
    method(
        "pub fn a(&self, #[cfg(unix)] x: u8) -> R { 0 }",
        "the arguments of a call are the same in every build: `#[cfg]` cannot stand here",
    );
}

#[test]
fn results() {
    let result = |ty: &str, expect: &str| method(&format!("pub fn a(&self) -> {ty} {{ x }}"), expect);
    let owned = "a result comes back owned, perhaps from another process:";
    result("Result<&str>", &format!("{owned} write `String`"));
    result("Result<&[Item]>", &format!("{owned} write `Vec<Item>`"));
    result("Result<&HashMap<String, u8>>", &format!("{owned} write `HashMap<String, u8>`"));
    result("Result<Cow<'_, str>>", &format!("{owned} return a type without lifetimes"));
    result("Result<impl Shape>", "a result is encoded, so its type must be known: name it instead of `impl`");
    result(
        "impl Future<Output = Result<u8>> + Send",
        "a call waits for its result: write this as `async fn`",
    );
    let whole = "a stream is the whole value of a result, and no part of it: its items come after the call";
    result("Result<(u8, Stream<u8>)>", whole);
    result("Result<Option<Stream<u8>>>", whole);
    result("Result<u8, Stream<u8>>", whole);
    result("Result<Stream<&str>>", &format!("{owned} write `String`"));
    result("Stream<u8>", "a call can fail before its stream begins: write `skybox::Result<Stream<u8>>`");
}

#[test]
fn marks() {
    method(
        "#[cancel_on_drop] pub async fn a(&self) -> R { 0 }",
        "this already stops at its next await when its caller stops waiting",
    );
    method(
        "#[cancel_on_drop] #[to_completion] pub async fn a(&mut self) -> R { 0 }",
        "`#[cancel_on_drop]` and `#[to_completion]` contradict each other: keep one",
    );
    method(
        "#[to_completion] pub async fn a(&mut self) -> R { 0 }",
        "a `&mut self` method already runs to its end once started",
    );
    method(
        "#[compute] pub async fn a(&mut self) -> R { 0 }",
        "`#[compute]` stands on `&self` methods and tasks: a `&mut self` method runs where its state is",
    );
    method(
        "#[cancel_on_drop] pub fn a(&mut self) -> R { 0 }",
        "without an await there is nowhere to stop: only async methods can be cancelled",
    );
    method(
        "#[to_completion] pub fn a(&self) -> R { 0 }",
        "a method that is not async always runs to its end",
    );
    method(
        "#[compute] pub fn a(&self) -> R { 0 }",
        "a method that is not async is always taken for computing",
    );
    method("#[local] #[local] fn a(&self) {}", "`#[local]` stands here twice");
    method("#[skybox::local(now)] fn a(&self) {}", "`#[local]` takes nothing: write it without arguments");
    let says = "`#[idempotent]` says how calls run, but `a`";
    let uncalled = "it is not called through handles";
    method("#[idempotent] fn a(&self) {}", &format!("{says} is neither `pub` nor `pub(crate)`: {uncalled}"));
    method("#[idempotent] pub fn a() {}", &format!("{says} has no `self`: {uncalled}"));
    method("#[local] #[idempotent] pub fn a(&self) {}", &format!("{says} is `#[local]`: {uncalled}"));
    method(
        "#[local] pub fn a() {}",
        "a function without `self` is never part of the interface: leave `#[local]` out",
    );
}

#[test]
fn tasks() {
    let sound = "fn a() -> R { 0 }";
    task(
        "",
        "fn a(&self) -> R { 0 }",
        "a task has no `self`: put `#[skybox::module]` on the `impl` block instead",
    );
    task("", "impl Cart {}", "an `impl` block is a module: write `#[skybox::module]`");
    task("", "struct Cart;", "`#[skybox::task]` stands on a function");
    task("", "fn a() {}", "a call can fail, so `a` must return a `Result`, such as `skybox::Result<()>`");
    task("", "fn a(a: u8) -> R { 0 }", "this is the task's own name: give the argument another one");
    task("keyed", sound, "a task has no state, so `keyed` means nothing to it: a module has");
    task("idle = \"2m\"", sound, "a task has no state, so `idle` means nothing to it: a module has");
    task("awake = 9", sound, "a task has no state, so `awake` means nothing to it: a module has");
    task("replica = 2", sound, "there is no key `replica`; did you mean `replicas`?");
    task("idempotent = true", sound, "`idempotent` takes no value, not `true`");
    task("idempotent", "#[idempotent] fn a() -> R { 0 }", "`idempotent` also stands below: keep one");
    task(
        "",
        "#[local] fn a() -> R { 0 }",
        "a task is there to be called: `#[local]` stands on methods of modules",
    );
    task(
        "",
        "#[cancel_on_drop] async fn a() -> R { 0 }",
        "this already stops at its next await when its caller stops waiting",
    );
}

#[test]
fn three_mistakes_are_three_messages() {
    module(
        "replicas = 0, cpu = \"x\"",
        "impl Cart { pub fn a(&self) {} }",
        "`replicas` takes a number above zero, a range such as 1..=8, or \"per-node\", not `0`\n\
         `cpu` takes a number of cores such as 2 or 0.5, not `\"x\"`\n\
         a call can fail, so `a` must return a `Result`, such as `skybox::Result<()>`",
    );
}

#[test]
fn error_enums() {
    let check = |item: &str, expect: &str| {
        assert_eq!(messages(crate::parse::wire_error(tokens(item)), item), expect, "{item}");
    };
    let (call, rest) = ("#[wire(call)] Call(CallError)", "#[wire(rest)] Other(String)");
    let no_call = "a call can fail without its method running: mark the variant that says so, `#[wire(call)] \
                   Call(skybox::CallError)`";
    let no_rest =
        "what is not data crosses as text: mark the variant that takes it, `#[wire(rest)] Other(String)`";
    check("enum E {}", &format!("{no_call}\n{no_rest}"));
    check(&format!("enum E {{ {call} }}"), no_rest);
    check(&format!("enum E {{ {rest} }}"), no_call);
    check(
        "struct E;",
        "`WireError` is for enums: for this type derive serde's `Serialize` and `Deserialize`, and write `impl \
         From<skybox::CallError>`",
    );
    check(
        &format!("enum E<T> {{ {call}, {rest}, Data(T) }}"),
        "an error that crosses has one shape: this enum cannot be generic",
    );
    check(
        &format!("enum E {{ {call}, {rest}, #[wire(rest)] More(String) }}"),
        "another variant is marked `#[wire(rest)]` already: there is one",
    );
    check(
        &format!("enum E {{ #[wire(call)] Call, {rest} }}"),
        "this variant has one field, which holds the failed call: `Call(skybox::CallError)`",
    );
    check(
        &format!("enum E {{ {call}, #[wire(rest)] Other {{ a: String, b: String }} }}"),
        "this variant has one field, which holds text: `Other(String)`, `Other(skybox::Error)` or \
         `Other(anyhow::Error)`",
    );
    let marked = "a variant is marked `#[wire(call)]` or `#[wire(rest)]`";
    check(&format!("enum E {{ {call}, {rest}, #[wire(text)] More(String) }}"), marked);
    check(&format!("enum E {{ {call}, {rest}, #[wire] More(String) }}"), marked);
    check(
        &format!("#[wire(call)] enum E {{ {call}, {rest} }}"),
        "`#[wire(call)]` and `#[wire(rest)]` stand on variants",
    );
    check(
        &format!("enum E {{ #[wire(call, rest)] Call(CallError), {rest} }}"),
        "another variant is marked `#[wire(rest)]` already: there is one",
    );
}

#[test]
fn tests() {
    let check = |attribute: &str, item: &str, expect: &str| {
        assert_eq!(messages(crate::parse::test(tokens(attribute), tokens(item)), item), expect, "{item}");
    };
    let sound = "async fn a() {}";
    check("", "fn a() {}", "a test that calls modules waits for them: make it `async fn`");
    check("", "struct A;", "`#[skybox::test]` stands on an async function");
    check("", "async fn a<T>() {}", "a test runs as it stands: it cannot be generic");
    check("", "async fn a(&self) {}", "a test is a free function: it has no `self`");
    check("", "async fn a(app: App, b: &App) {}", "a test has one app: take it once, and clone it");
    check("", "async fn a((a, b): (u8, u8)) {}", "this argument is cloned for each run, so it needs a name");
    check(
        "modes = \"both\"",
        sound,
        "`modes` takes \"inline\" or \"strict\"; without it a test runs in both",
    );
    check("mode = \"strict\"", sound, "there is no key `mode`; a test takes `provide` and `modes`");
}
