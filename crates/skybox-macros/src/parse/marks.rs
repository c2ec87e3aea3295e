//! The attributes that stand on one method: `#[local]`, `#[idempotent]` and the like.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, ImplItem, Item, Meta, Path, TraitItem};

use super::Refusals;

/// The marks on one method, each with the place where it stands.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) local: Option<Span>,
    pub(super) idempotent: Option<Span>,
    pub(super) compute: Option<Span>,
    pub(super) cancel_on_drop: Option<Span>,
    pub(super) to_completion: Option<Span>,
}

impl Marks {
    /// Takes the marks out of a method's attributes; what is left is for others.
    pub(super) fn take(attributes: &mut Vec<Attribute>, refusals: &mut Refusals) -> Marks {
        let mut marks = Marks::default();
        attributes.retain(|attribute| {
            let Some(name) = name(attribute.path()) else { return true };
            let place = marks.place(name).expect("`name` gives only the names that `place` knows");
            if place.is_some() {
                refusals.at(&attribute, format!("`#[{name}]` stands here twice"));
            }
            if !matches!(attribute.meta, Meta::Path(_)) {
                refusals.at(attribute, format!("`#[{name}]` takes nothing: write it without arguments"));
            }
            *place = Some(attribute.path().span());
            false
        });
        marks
    }

    /// Counts a mark that stands elsewhere.
    pub(super) fn set(&mut self, name: &str, span: Span) -> syn::Result<()> {
        match self.place(name) {
            Some(Some(_)) => Err(syn::Error::new(span, format!("`{name}` also stands below: keep one"))),
            Some(place) => {
                *place = Some(span);
                Ok(())
            }
            None => Err(syn::Error::new(span, format!("there is no mark `{name}`"))),
        }
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<Span>> {
        Some(match name {
            "local" => &mut self.local,
            "idempotent" => &mut self.idempotent,
            "compute" => &mut self.compute,
            "cancel_on_drop" => &mut self.cancel_on_drop,
            "to_completion" => &mut self.to_completion,
            _ => return None,
        })
    }

    /// The marks that say how a call runs, and so mean nothing on what cannot be called.
    pub(super) fn of_calls(&self) -> impl Iterator<Item = (&'static str, Span)> {
        [
            ("idempotent", self.idempotent),
            ("compute", self.compute),
            ("cancel_on_drop", self.cancel_on_drop),
            ("to_completion", self.to_completion),
        ]
        .into_iter()
        .filter_map(|(name, span)| Some((name, span?)))
    }
}

/// The mark that a path names: `local` or `skybox::local`.
fn name(path: &Path) -> Option<&'static str> {
    let last = path.segments.last()?;
    let ours = path.segments.len() == 1 || path.segments.len() == 2 && path.segments[0].ident == "skybox";
    ["local", "idempotent", "compute", "cancel_on_drop", "to_completion"]
        .into_iter()
        .find(|name| ours && last.ident == name)
}

/// The item as the compiler can take it when we refuse it: our marks would be further errors.
pub(crate) fn without_marks(item: TokenStream) -> TokenStream {
    let Ok(mut parsed) = syn::parse2::<Item>(item.clone()) else { return item };
    let mut unheard = Refusals::default();
    match &mut parsed {
        Item::Fn(function) => {
            let _ = Marks::take(&mut function.attrs, &mut unheard);
        }
        Item::Trait(item) => {
            for item in &mut item.items {
                if let TraitItem::Fn(function) = item {
                    let _ = Marks::take(&mut function.attrs, &mut unheard);
                }
            }
        }
        Item::Impl(block) => {
            for item in &mut block.items {
                if let ImplItem::Fn(function) = item {
                    let _ = Marks::take(&mut function.attrs, &mut unheard);
                }
            }
        }
        _ => return item,
    }
    parsed.into_token_stream()
}
