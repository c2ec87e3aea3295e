//! Orders become payments. This crate knows the interface, and no implementation of it.

use payments_api::{PaymentError, Payments, Receipt};
use skybox::Handle;

/// Something that is bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How many.
    pub count: u32,
    /// The price of one.
    pub cents: u32,
}

/// The way out of the shop.
#[derive(Clone, Debug)]
pub struct Checkout {
    payments: Handle<dyn Payments>,
}

impl Checkout {
    /// A checkout whose payments go there: `Checkout::new(app.get())`.
    pub fn new(payments: Handle<dyn Payments>) -> Checkout {
        Checkout { payments }
    }

    /// Pays an order as a whole.
    ///
    /// # Errors
    /// [`PaymentError`], from whoever takes the money.
    pub async fn buy(&self, order: &str, lines: &[Line]) -> Result<Receipt, PaymentError> {
        let prices = lines.iter().map(|line| line.count.checked_mul(line.cents));
        let total = prices.reduce(|sum, price| sum?.checked_add(price?)).unwrap_or(Some(0));
        let Some(cents) = total else {
            return Err(PaymentError::Declined { why: "nobody has that much".to_owned() });
        };
        self.payments.pay(order, cents).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Declines what costs more than it has: a plain value, a plain `impl`.
    struct Purse {
        cents: u32,
    }

    impl Payments for Purse {
        async fn pay(&self, order: &str, cents: u32) -> Result<Receipt, PaymentError> {
            if cents > self.cents {
                return Err(PaymentError::Declined { why: format!("{} cents are left", self.cents) });
            }
            Ok(Receipt { order: order.to_owned(), cents, reference: "purse".to_owned() })
        }
    }

    fn checkout(cents: u32) -> Checkout {
        Checkout::new(Handle::from_impl(Purse { cents }))
    }

    #[tokio::test]
    async fn an_order_is_paid_as_a_whole() {
        let lines = [Line { count: 3, cents: 30 }, Line { count: 1, cents: 95 }];
        let receipt = checkout(200).buy("1", &lines).await.unwrap();
        assert_eq!(receipt, Receipt { order: "1".to_owned(), cents: 185, reference: "purse".to_owned() });
        assert_eq!(checkout(200).buy("2", &[]).await.unwrap().cents, 0);
    }

    #[tokio::test]
    async fn what_cannot_be_paid_is_declined() {
        let declined = async |lines: &[Line]| checkout(200).buy("1", lines).await.unwrap_err().to_string();
        assert_eq!(declined(&[Line { count: 201, cents: 1 }]).await, "declined: 200 cents are left");
        assert_eq!(declined(&[Line { count: 2, cents: u32::MAX }]).await, "declined: nobody has that much");
    }
}
