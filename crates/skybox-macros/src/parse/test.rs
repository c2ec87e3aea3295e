//! `#[skybox::test]` on an async function.

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, FnArg, Item, ItemFn, LitStr, Pat, PatType, Path, ReturnType, Token, Type};

use super::{Refusals, types};
use crate::model::{Test, TestArgument};

/// What the attribute says.
struct Options {
    root: Path,
    provided: Vec<Expr>,
    modes: Vec<&'static str>,
}

/// One `key = value`.
enum Setting {
    Root(Path),
    Provide(Expr),
    Modes(Vec<&'static str>),
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> syn::Result<Setting> {
        let key = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        match key.to_string().as_str() {
            "crate" => Ok(Setting::Root(input.parse::<LitStr>()?.parse()?)),
            "provide" => Ok(Setting::Provide(input.parse()?)),
            "modes" => {
                let modes: LitStr = input.parse()?;
                match modes.value().as_str() {
                    "inline" => Ok(Setting::Modes(vec!["Inline"])),
                    "strict" => Ok(Setting::Modes(vec!["Strict"])),
                    _ => Err(syn::Error::new(
                        modes.span(),
                        "`modes` takes \"inline\" or \"strict\"; without it a test runs in both",
                    )),
                }
            }
            other => {
                let words = format!("there is no key `{other}`; a test takes `provide` and `modes`");
                Err(syn::Error::new(key.span(), words))
            }
        }
    }
}

/// Reads the attribute and its function.
pub(crate) fn test(attribute: TokenStream, item: TokenStream) -> syn::Result<Test> {
    let mut refusals = Refusals::default();
    let options = refusals.take(options(attribute));
    let mut item = function(item)?;
    let signature = &item.sig;
    if signature.asyncness.is_none() {
        let words = "a test that calls modules waits for them: make it `async fn`";
        refusals.at(&signature.ident, words);
    }
    if let Some(parameter) = signature.generics.params.first() {
        refusals.at(&parameter, "a test runs as it stands: it cannot be generic");
    }
    let arguments: Vec<_> =
        signature.inputs.iter().filter_map(|input| argument(input, &mut refusals)).collect();
    let mut apps = signature.inputs.iter().zip(&arguments).filter(|(_, argument)| is_app(argument));
    if let (Some(_), Some((second, _))) = (apps.next(), apps.next()) {
        refusals.at(&second, "a test has one app: take it once, and clone it");
    }
    refusals.finish()?;
    let Some(Options { root, provided, modes }) = options else {
        unreachable!("what is missing was refused above");
    };
    let is_hosted = item.attrs.iter().any(is_harness);
    let is_fallible = match &item.sig.output {
        ReturnType::Default => false,
        ReturnType::Type(_, ty) => !matches!(types::peel(ty), Type::Tuple(tuple) if tuple.elems.is_empty()),
    };
    for input in &mut item.sig.inputs {
        if let FnArg::Typed(typed) = input {
            typed.attrs.clear();
        }
    }
    Ok(Test { root, item, arguments, provided, modes, is_hosted, is_fallible })
}

fn options(attribute: TokenStream) -> syn::Result<Options> {
    let mut options =
        Options { root: syn::parse_quote!(::skybox), provided: Vec::new(), modes: vec!["Inline", "Strict"] };
    for setting in Punctuated::<Setting, Token![,]>::parse_terminated.parse2(attribute)? {
        match setting {
            Setting::Root(root) => options.root = root,
            Setting::Provide(value) => options.provided.push(value),
            Setting::Modes(modes) => options.modes = modes,
        }
    }
    Ok(options)
}

fn function(item: TokenStream) -> syn::Result<ItemFn> {
    match syn::parse2(item)? {
        Item::Fn(function) => Ok(function),
        other => Err(syn::Error::new(other.span(), "`#[skybox::test]` stands on an async function")),
    }
}

/// Whether an attribute is a test harness of its own: `#[tokio::test]`, `#[sqlx::test]`, `#[rstest]`.
fn is_harness(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == "test" || last.ident == "rstest")
}

fn is_app(argument: &TestArgument) -> bool {
    matches!(argument, TestArgument::App { .. })
}

fn is_named_app(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "App"))
}

fn argument(input: &FnArg, refusals: &mut Refusals) -> Option<TestArgument> {
    let typed = match input {
        FnArg::Typed(typed) => typed,
        FnArg::Receiver(receiver) => {
            refusals.at(&receiver, "a test is a free function: it has no `self`");
            return None;
        }
    };
    match types::peel(&typed.ty) {
        Type::Reference(reference) if is_named_app(types::peel(&reference.elem)) => {
            return Some(TestArgument::App { borrowed: true });
        }
        owned if is_named_app(owned) => return Some(TestArgument::App { borrowed: false }),
        _ => {}
    }
    match &*typed.pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => {
            // The body may change its own copy; the outer function only clones.
            let pat = Box::new(Pat::Ident(syn::PatIdent { mutability: None, ..name.clone() }));
            let typed = PatType { pat, ..typed.clone() };
            Some(TestArgument::Own { ident: name.ident.clone(), typed: Box::new(typed) })
        }
        other => {
            refusals.at(&other, "this argument is cloned for each run, so it needs a name");
            None
        }
    }
}
