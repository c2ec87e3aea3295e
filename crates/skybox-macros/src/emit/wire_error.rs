//! An error enum: what crosses of each variant, and how it comes back.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::model::{Variant, VariantField, WireError};

/// Writes the impls.
pub(crate) fn wire_error(error: &WireError) -> TokenStream {
    let WireError { root, ident, call, call_is_made, rest, variants } = error;
    let (call_ident, call_member) = (&call.ident, &call.member);
    let (rest_ident, rest_member) = (&rest.ident, &rest.member);
    let from_call = (!call_is_made).then(|| {
        let made = quote_spanned!(call.ty.span()=> ::core::convert::From::from(error));
        quote! {
            impl ::core::convert::From<skybox_rt::CallError> for #ident {
                fn from(error: skybox_rt::CallError) -> Self {
                    Self::#call_ident { #call_member: #made }
                }
            }
        }
    });
    let call_name = call.ident.unraw().to_string();
    // A variant with both roles has one arm.
    let write_call =
        (call.ident != rest.ident).then(|| quote!(Self::#call_ident { .. } => writer(#call_name).text(),));
    let writers = variants.iter().map(write);
    let readers = variants.iter().map(read);
    // Spanned at the field: a type that holds no text is refused there.
    let to_text = quote_spanned!(rest.ty.span()=> skybox_rt::FromText::to_text(rest));
    let from_text = quote_spanned!(rest.ty.span()=> skybox_rt::FromText::from_text(text));
    let writer = quote_spanned!(ident.span()=> skybox_rt::ImageWriter::new);
    quote! {
        #[allow(deprecated, clippy::all, clippy::pedantic)]
        const _: () = {
            use #root::rt as skybox_rt;

            #from_call

            impl skybox_rt::WireError for #ident {
                type Image = skybox_rt::ErrorImage;

                fn into_image(self) -> skybox_rt::ErrorImage {
                    let writer = |variant| #writer(&self, variant);
                    match &self {
                        #(#writers)*
                        Self::#rest_ident { #rest_member: rest } => skybox_rt::ErrorImage::Text(#to_text),
                        #write_call
                    }
                }

                fn from_image(image: skybox_rt::ErrorImage) -> Self {
                    skybox_rt::read_image(
                        image,
                        |variant, image| match variant {
                            #(#readers)*
                            _ => ::core::result::Result::Err(image.unknown()),
                        },
                        |text| Self::#rest_ident { #rest_member: #from_text },
                    )
                }
            }
        };
    }
}

/// `Self::NotFound { id: f0 } => writer("NotFound").field(skybox_rt::data!(String), f0).finish(),`.
fn write(Variant { ident, fields }: &Variant) -> TokenStream {
    let name = ident.unraw().to_string();
    let members = fields.iter().map(|field| &field.member);
    let locals: Vec<_> = (0..fields.len()).map(|index| format_ident!("field_{index}")).collect();
    let codecs = fields.iter().map(codec);
    quote! {
        Self::#ident { #(#members: #locals),* } => writer(#name) #(.field(#codecs, #locals))*.finish(),
    }
}

/// `"NotFound" => Ok(Self::NotFound { id: image.field("id", skybox_rt::data!(String))? }),`.
fn read(Variant { ident, fields }: &Variant) -> TokenStream {
    let name = ident.unraw().to_string();
    let members = fields.iter().map(|field| &field.member);
    let names = fields.iter().map(|field| match &field.member {
        syn::Member::Named(name) => name.unraw().to_string(),
        syn::Member::Unnamed(index) => index.index.to_string(),
    });
    let codecs = fields.iter().map(codec);
    quote! {
        #name => ::core::result::Result::Ok(Self::#ident { #(#members: image.field(#names, #codecs)?),* }),
    }
}

fn codec(VariantField { ty, borrows, .. }: &VariantField) -> TokenStream {
    if *borrows {
        quote!(skybox_rt::Field::<#ty>::TEXT)
    } else {
        let ty = ty.to_token_stream();
        quote!(skybox_rt::data!(#ty))
    }
}
