//! What can be bought.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ShopError;

/// Something to buy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) price_cents: u32,
}

/// Every item and its price.
#[derive(Debug)]
pub(crate) struct Catalog {
    items: BTreeMap<String, Item>,
}

impl Default for Catalog {
    fn default() -> Catalog {
        let item = |(id, price_cents): (&str, u32)| (id.to_owned(), Item { id: id.to_owned(), price_cents });
        Catalog { items: [("pear", 30), ("plum", 12), ("quince", 95)].into_iter().map(item).collect() }
    }
}

#[skybox::module]
impl Catalog {
    /// Finds an item.
    #[idempotent]
    pub(crate) async fn get(&self, id: &str) -> Result<Item, ShopError> {
        self.items.get(id).cloned().ok_or_else(|| ShopError::NoItem { id: id.to_owned() })
    }
}
