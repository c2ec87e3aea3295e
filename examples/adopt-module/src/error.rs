//! What can go wrong in a request, and what the client is told about it.

use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error, skybox::WireError)]
pub(crate) enum AppError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("this name is taken")]
    NameTaken,
    #[error("wrong name or password")]
    WrongPassword,
    #[error("a valid bearer token is needed")]
    Unauthorized,
    #[error("too many attempts")]
    TooManyAttempts { retry_after: Duration },
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    #[wire(call, rest)]
    Internal(#[from] anyhow::Error),
}

impl AppError {
    fn status(&self) -> StatusCode {
        match self {
            AppError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            AppError::NameTaken => StatusCode::CONFLICT,
            AppError::WrongPassword | AppError::Unauthorized => StatusCode::UNAUTHORIZED,
            AppError::TooManyAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
            AppError::Database(_) | AppError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let status = self.status();
        let message = if status.is_server_error() {
            // The cause is for us: the client could only learn from it what it should not know.
            tracing::error!(error = &self as &dyn std::error::Error, "request failed");
            "something went wrong on our side".to_owned()
        } else {
            self.to_string()
        };
        let mut response = (status, Json(json!({ "error": message }))).into_response();
        if let AppError::TooManyAttempts { retry_after } = self {
            // Whole seconds, rounded up: a client that waits as told must not come too early.
            let secs = retry_after.as_secs() + 1;
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        response
    }
}
