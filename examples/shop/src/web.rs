//! The shop's pages.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use skybox::App;

use crate::carts::Cart;
use crate::catalog::{Catalog, Item};
use crate::error::ShopError;
use crate::warehouse::{Parcel, Warehouse, with_postage};

/// Every path, and the function behind it.
pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/", get(who))
        .route("/items/{id}", get(item))
        .route("/carts/{customer}/{id}", post(add))
        .route("/orders/{order}", post(order))
        .route("/postage/{price_cents}", get(postage))
        .with_state(app)
}

/// Who answers.
#[derive(Debug, Serialize)]
struct Who {
    node: String,
    process: u32,
}

async fn who(State(app): State<App>) -> Json<Who> {
    Json(Who { node: app.node().to_owned(), process: std::process::id() })
}

async fn item(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Item>, ShopError> {
    Ok(Json(app.get::<Catalog>().get(&id).await?))
}

async fn add(
    State(app): State<App>,
    Path((customer, id)): Path<(String, String)>,
) -> Result<Json<u32>, ShopError> {
    Ok(Json(app.at::<Cart>(&customer).add(&id, 1).await?))
}

/// How an order is packed.
#[derive(Debug, Deserialize)]
struct Packing {
    /// How long it takes.
    #[serde(default)]
    ms: u64,
}

async fn order(
    State(app): State<App>,
    Path(order): Path<String>,
    Query(packing): Query<Packing>,
) -> Result<Json<Parcel>, ShopError> {
    Ok(Json(app.get::<Warehouse>().pack(&order, packing.ms).await?))
}

async fn postage(Path(price_cents): Path<u32>) -> Result<Json<u32>, ShopError> {
    Ok(Json(with_postage(price_cents, 1).await?))
}
