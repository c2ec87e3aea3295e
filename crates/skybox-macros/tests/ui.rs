//! What the compiler says of mistakes: every refusal of the attributes at its place, and the runtime's own words
//! for types that cannot cross. Write the `.stderr` files anew with
//! `TRYBUILD=overwrite cargo nextest run -p skybox-macros --test ui`.

#[test]
fn mistakes_are_explained_where_they_are() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}

/// The messages that are ours, and not rustc's: all without a code, and those with E0277 that do not begin as its own.
fn messages(stderr: &str) -> impl Iterator<Item = &str> {
    const OF_RUSTC: [&str; 3] = ["the trait bound", "`Cell<u32>`", "future cannot be sent"];
    let lines = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("error: ").or_else(|| line.strip_prefix("error[E0277]: ")));
    lines.filter(|line| !OF_RUSTC.iter().any(|words| line.starts_with(words)))
}

/// A message whatever names it has in backticks.
fn nameless(message: &str) -> String {
    let parts = message.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 0 { part } else { "…" }).collect()
}

#[test]
fn each_message_is_on_the_page() {
    let page = include_str!("../../../docs/diagnostics.md");
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let explained: Vec<String> = cells.map(nameless).collect();
    let is_explained = |message: &str| {
        explained.iter().any(|known| {
            message == known || known.strip_suffix(" …").is_some_and(|start| message.starts_with(start))
        })
    };
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ui");
    let mut seen = 0;
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the compile-fail cases are there") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_some_and(|extension| extension == "stderr") {
            let stderr = std::fs::read_to_string(&path).expect("a readable file");
            for message in messages(&stderr) {
                seen += 1;
                if !is_explained(&nameless(message)) {
                    missing.push(message.to_owned());
                }
            }
        }
    }
    assert!(seen > 100, "the messages are found: {seen}");
    assert!(missing.is_empty(), "docs/diagnostics.md does not explain:\n{}", missing.join("\n"));
}
