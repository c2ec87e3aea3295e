//! What can go wrong in the gallery, in words for whoever looks at the page.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use skybox::CallError;

/// Every failure of the gallery. Each variant is plain data, so it arrives in another process as itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, skybox::WireError)]
#[non_exhaustive]
pub enum AppError {
    /// The gallery ends before this number.
    #[error("there is no picture {picture}, the last one is {last}")]
    NoSuchPicture { picture: u32, last: u32 },
    /// The width asked for would be no thumbnail.
    #[error("a thumbnail is {min_px} to {max_px} pixels wide, not {width_px}")]
    Width { width_px: u32, min_px: u32, max_px: u32 },
    /// A picture could not be read or written as JPEG.
    #[error("picture {picture} is no good: {message}")]
    Picture { picture: u32, message: String },
    /// The load asked for is not a number the gallery can aim at.
    #[error("the load is 0 to {max_per_s} thumbnails per second")]
    Load { max_per_s: u32 },
    /// What a button asked for did not happen.
    #[error("{message}")]
    Stage { message: String },
    /// A call did not come back with a result of its own.
    #[wire(call)]
    #[error("{0}")]
    Call(CallError),
    /// The error of another version of this program, as text.
    #[wire(rest)]
    #[error("{0}")]
    Other(String),
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let status = match self {
            AppError::NoSuchPicture { .. } => StatusCode::NOT_FOUND,
            AppError::Width { .. } | AppError::Load { .. } => StatusCode::BAD_REQUEST,
            AppError::Picture { .. } | AppError::Other(_) => StatusCode::INTERNAL_SERVER_ERROR,
            AppError::Call(_) => StatusCode::SERVICE_UNAVAILABLE,
            AppError::Stage { .. } => StatusCode::CONFLICT,
        };
        (status, Json(serde_json::json!({ "error": self.to_string() }))).into_response()
    }
}
