//! Taking money: what callers know of it.
//!
//! The trait, its types, and nothing of how it is done. Implementations live in crates of their own, which callers
//! do not depend on: a change in one of them compiles none of the callers anew.

use serde::{Deserialize, Serialize};
use skybox::CallError;

/// Takes money for orders.
#[skybox::module]
pub trait Payments {
    /// Takes the price of an order, once: a second payment of the same order gives the receipt of the first.
    ///
    /// # Errors
    /// [`PaymentError::Declined`]; the others speak of the call.
    #[idempotent]
    async fn pay(&self, order: &str, cents: u32) -> Result<Receipt, PaymentError>;
}

/// Money that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What it was taken for.
    pub order: String,
    /// How much.
    pub cents: u32,
    /// The implementation's own name for the payment.
    pub reference: String,
}

/// Why no money was taken, as far as is known.
#[derive(Debug, thiserror::Error, skybox::WireError)]
pub enum PaymentError {
    /// Whoever pays does not.
    #[error("declined: {why}")]
    Declined {
        /// In words for whoever pays.
        why: String,
    },
    /// The call failed; it says whether the payment may have been made.
    #[error("the payment could not be asked for")]
    #[wire(call)]
    Call(#[source] CallError),
    /// Anything else.
    #[error("the payment failed")]
    #[wire(rest)]
    Other(#[source] skybox::Error),
}
