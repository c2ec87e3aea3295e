//! What each customer wants: one cart for each, wherever it lives.

use std::collections::BTreeMap;

use skybox::App;

use crate::catalog::Catalog;
use crate::error::ShopError;

/// One customer's cart.
#[derive(Debug)]
pub(crate) struct Cart {
    app: App,
    items: BTreeMap<String, u32>,
}

#[skybox::module(keyed, idle = "2m")]
impl Cart {
    async fn start(app: &App, _customer: &str) -> Result<Cart, ShopError> {
        Ok(Cart { app: app.clone(), items: BTreeMap::new() })
    }

    /// Puts items into the cart; returns how many of them are in it.
    pub(crate) async fn add(&mut self, id: &str, count: u32) -> Result<u32, ShopError> {
        let item = self.app.get::<Catalog>().get(id).await?;
        let total = self.items.entry(item.id).or_default();
        *total += count;
        Ok(*total)
    }
}
