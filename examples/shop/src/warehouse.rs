//! Where orders are packed. An order must not be packed twice, so packing is not idempotent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skybox::App;

use crate::error::ShopError;
use crate::store::Pool;

/// A packed order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parcel {
    pub(crate) order: String,
    /// The process that packed it.
    pub(crate) packed_by: u32,
}

/// Packs orders.
#[derive(Debug)]
pub(crate) struct Warehouse {
    pool: Pool,
}

#[skybox::module]
impl Warehouse {
    async fn start(app: &App) -> Result<Warehouse, ShopError> {
        Ok(Warehouse { pool: app.value::<Pool>()?.clone() })
    }

    /// Packs an order, which takes its time.
    pub(crate) async fn pack(&self, order: &str, for_ms: u64) -> Result<Parcel, ShopError> {
        self.pool.append(&format!("packing {order}")).await?;
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        Ok(Parcel { order: order.to_owned(), packed_by: std::process::id() })
    }
}

/// What a customer pays with postage; nobody remembers anything, so it may run anywhere.
#[skybox::task(idempotent)]
pub(crate) fn with_postage(price_cents: u32, parcels: u32) -> Result<u32, ShopError> {
    Ok(price_cents + 490 * parcels)
}
