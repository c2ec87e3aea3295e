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
        let roles = roles(&variant.attrs, &mut refusals);
        if roles.is_empty() {
            variants.push(Variant {
                ident: variant.ident.clone(),
                fields: variant.fields.members().zip(&variant.fields).map(field).collect(),
            });
        }
        for (role, span) in &roles {
            let (place, word) = match role {
                Role::Call => (&mut call, "call"),
                Role::Rest => (&mut rest, "rest"),
            };
            if place.is_some() {
                let words = format!("another variant is marked `#[wire({word})]` already: there is one");
                refusals.at_span(*span, words);
                continue;
            }
            let fields: Vec<(Member, &Field)> = variant.fields.members().zip(&variant.fields).collect();
            let [(member, field)] = &fields[..] else {
                let holds = match role {
                    Role::Call => "the failed call: `Call(skybox::CallError)`",
                    Role::Rest => "text: `Other(String)`, `Other(skybox::Error)` or `Other(anyhow::Error)`",
                };
                refusals.at(&variant.ident, format!("this variant has one field, which holds {holds}"));
                break;
            };
            // Of a variant with both roles thiserror's `#[from]` is that of its `anyhow::Error`.
            let is_made =
                roles.len() == 1 && field.attrs.iter().any(|attribute| attribute.path().is_ident("from"));
            let holder =
                Holder { ident: variant.ident.clone(), member: member.clone(), ty: field.ty.clone() };
            *place = Some((holder, is_made));
        }
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

/// The roles of one variant, and where each is written. An `anyhow::Error` or `skybox::Error` can have both: it
/// takes a failed call as it takes any error.
fn roles(attributes: &[Attribute], refusals: &mut Refusals) -> Vec<(Role, Span)> {
    let mut roles: Vec<(Role, Span)> = Vec::new();
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
    roles
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
