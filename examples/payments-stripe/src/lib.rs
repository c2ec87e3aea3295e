//! Payments by card, as a payment service would take them.
//!
//! It stands in for one, and talks to no server: charges are kept in this process, and forgotten when it ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use payments_api::{PaymentError, Payments, Receipt};
use skybox::App;

/// The most that it takes at once; cards have such limits, and callers must live with a refusal.
const CHARGE_MAX_CENTS: u32 = 100_000;

/// The service, with what it has charged.
#[derive(Debug)]
pub struct Stripe {
    charges: Mutex<BTreeMap<String, Receipt>>,
}

impl Stripe {
    async fn start(_app: &App) -> skybox::Result<Stripe> {
        // A real one takes its client from `app.value()`, and its key from `app.config()`.
        Ok(Stripe { charges: Mutex::default() })
    }
}

// One instance, since each would have charges of its own.
#[skybox::module(replicas = 1)]
impl Payments for Stripe {
    async fn pay(&self, order: &str, cents: u32) -> Result<Receipt, PaymentError> {
        if cents > CHARGE_MAX_CENTS {
            let why = format!("the card takes {CHARGE_MAX_CENTS} cents at most");
            return Err(PaymentError::Declined { why });
        }
        let mut charges = self.charges.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = format!("ch_{}", charges.len() + 1);
        let receipt = Receipt { order: order.to_owned(), cents, reference };
        Ok(charges.entry(order.to_owned()).or_insert(receipt).clone())
    }
}
