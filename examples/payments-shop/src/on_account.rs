//! Customers who are known pay later.

use payments_api::{PaymentError, Payments, Receipt};

/// Takes nothing now.
#[derive(Debug, Default)]
pub(crate) struct OnAccount;

#[skybox::module]
impl Payments for OnAccount {
    async fn pay(&self, order: &str, cents: u32) -> Result<Receipt, PaymentError> {
        Ok(Receipt { order: order.to_owned(), cents, reference: "on account".to_owned() })
    }
}
