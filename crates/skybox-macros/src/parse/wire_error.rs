//! `#[derive(skybox::WireError)]` on an enum.

use proc_macro2::{Span, TokenStream};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Data, DeriveInput, Field, Member, Path, TypeReference};

use super::Refusals;
use crate::model::{Holder, Variant, VariantField, WireError};

/// What `#[wire(…)]` says of a variant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Call,
    Rest,
}

/// Reads the enum.
pub(crate) fn wire_error(item: TokenStream) -> syn::Result<WireError> {
    let input: DeriveInput = syn::parse2(item)?;
    let Data::Enum(data) = &input.data else {
        let words = "`WireError` is for enums: for this type derive serde's `Serialize` and `Deserialize`, and \
                     write `impl From<skybox::CallError>`";
        return Err(syn::Error::new(input.ident.span(), words));
    };
    let mut refusals = Refusals::default();
    if let Some(parameter) = input.generics.params.first() {
        refusals.at(&parameter, "an error that crosses has one shape: this enum cannot be generic");
    }
    let root = root(&input.attrs, &mut refusals);
    let (mut call, mut rest, mut variants) = (None, None, Vec::new());
    for variant in &data.variants {
        let Some((role, span)) = role(&variant.attrs, &mut refusals) else {
            variants.push(Variant {
                ident: variant.ident.clone(),
                fields: variant.fields.members().zip(&variant.fields).map(field).collect(),
            });
            continue;
        };
        let (place, word) = match role {
            Role::Call => (&mut call, "call"),
            Role::Rest => (&mut rest, "rest"),
        };
        if place.is_some() {
            refusals
                .at_span(span, format!("another variant is marked `#[wire({word})]` already: there is one"));
            continue;
        }
        let fields: Vec<(Member, &Field)> = variant.fields.members().zip(&variant.fields).collect();
        let [(member, field)] = &fields[..] else {
            let holds = match role {
                Role::Call => "the failed call: `Call(skybox::CallError)`",
                Role::Rest => "text: `Other(String)`, `Other(skybox::Error)` or `Other(anyhow::Error)`",
            };
            refusals.at(&variant.ident, format!("this variant has one field, which holds {holds}"));
            continue;
        };
        let is_made = field.attrs.iter().any(|attribute| attribute.path().is_ident("from"));
        let holder = Holder { ident: variant.ident.clone(), member: member.clone(), ty: field.ty.clone() };
        *place = Some((holder, is_made));
    }
    // A mark that was refused is not missing as well.
    let sound = refusals.0.is_none();
    if sound && call.is_none() {
        let words = "a call can fail without its method running: mark the variant that says so, \
                     `#[wire(call)] Call(skybox::CallError)`";
        refusals.at(&input.ident, words);
    }
    if sound && rest.is_none() {
        let words =
            "what is not data crosses as text: mark the variant that takes it, `#[wire(rest)] Other(String)`";
        refusals.at(&input.ident, words);
    }
    refusals.finish()?;
    let (Some((call, call_is_made)), Some((rest, _))) = (call, rest) else {
        unreachable!("what is missing was refused above");
    };
    Ok(WireError { root, ident: input.ident, call, call_is_made, rest, variants })
}

fn field((member, field): (Member, &Field)) -> VariantField {
    struct Borrows(bool);
    impl Visit<'_> for Borrows {
        fn visit_type_reference(&mut self, _: &TypeReference) {
            self.0 = true;
        }
    }
    let mut borrows = Borrows(false);
    visit::visit_type(&mut borrows, &field.ty);
    VariantField { member, ty: field.ty.clone(), borrows: borrows.0 }
}

/// The role of one variant, and where that is written.
fn role(attributes: &[Attribute], refusals: &mut Refusals) -> Option<(Role, Span)> {
    let mut roles = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("wire")) {
        let parsed = attribute.parse_nested_meta(|meta| {
            let role = match () {
                () if meta.path.is_ident("call") => Role::Call,
                () if meta.path.is_ident("rest") => Role::Rest,
                () => return Err(meta.error("a variant is marked `#[wire(call)]` or `#[wire(rest)]`")),
            };
            roles.push((role, meta.path.span()));
            Ok(())
        });
        if attribute.meta.require_list().is_err() {
            refusals.at(&attribute, "a variant is marked `#[wire(call)]` or `#[wire(rest)]`");
        } else {
            refusals.take(parsed);
        }
    }
    if let [_, (_, span), ..] = roles[..] {
        refusals.at_span(span, "a variant has one role: failed calls and text need a variant each");
    }
    roles.first().copied()
}

/// `#[wire(crate = "path")]` on the enum.
fn root(attributes: &[Attribute], refusals: &mut Refusals) -> Path {
    let mut root = syn::parse_quote!(::skybox);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("wire")) {
        let parsed = attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("`#[wire(call)]` and `#[wire(rest)]` stand on variants"));
            }
            root = meta.value()?.parse::<syn::LitStr>()?.parse()?;
            Ok(())
        });
        refusals.take(parsed);
    }
    root
}
