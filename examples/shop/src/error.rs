//! Why the shop could not do something.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use skybox::CallError;

/// A failure, as callers see it, wherever the callee runs.
#[derive(Debug, thiserror::Error, skybox::WireError)]
pub(crate) enum ShopError {
    /// There is no such item.
    #[error("there is no item `{id}`")]
    NoItem {
        /// What was asked for.
        id: String,
    },
    /// The call failed, not the callee.
    #[error("the shop could not be asked")]
    #[wire(call)]
    Call(#[source] CallError),
    /// Anything else.
    #[error("the shop is closed")]
    #[wire(rest)]
    Other(#[source] skybox::Error),
}

impl From<std::io::Error> for ShopError {
    fn from(error: std::io::Error) -> ShopError {
        ShopError::Other(error.into())
    }
}

impl From<skybox::Missing> for ShopError {
    fn from(error: skybox::Missing) -> ShopError {
        ShopError::Other(error.into())
    }
}

/// A failure, as HTTP clients see it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// The kind of a failed call.
    kind: String,
    /// Whether that call ran: no, yes or maybe.
    ran: String,
    message: String,
}

impl IntoResponse for ShopError {
    fn into_response(self) -> Response {
        let (status, kind, ran) = match &self {
            ShopError::NoItem { .. } => (StatusCode::NOT_FOUND, "NoItem".to_owned(), "yes".to_owned()),
            ShopError::Call(error) => {
                (StatusCode::BAD_GATEWAY, error.kind().name().to_owned(), error.ran().to_string())
            }
            ShopError::Other(_) => (StatusCode::INTERNAL_SERVER_ERROR, "Other".to_owned(), "yes".to_owned()),
        };
        let message = skybox::TextChain::of(&self).joined();
        (status, Json(Problem { kind, ran, message })).into_response()
    }
}
