//! What the compiler says of mistakes: every refusal of the attributes at its place, and the runtime's own words
//! for types that cannot cross. They are the same with every feature: write the `.stderr` files anew with
//! `TRYBUILD=overwrite cargo nextest run -p skybox --test ui`.

#[test]
fn mistakes_are_explained_where_they_are() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
