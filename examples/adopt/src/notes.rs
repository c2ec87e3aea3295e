//! The notes of the user who asks.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::accounts::User;
use crate::error::AppError;
use crate::routes::AppState;

const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Notes in one answer, the newest: a page that a person still reads.
const LISTED_MAX: u32 = 100;

#[derive(Deserialize)]
pub(crate) struct NewNote {
    text: String,
}

#[derive(Serialize, sqlx::FromRow)]
pub(crate) struct Note {
    id: i64,
    text: String,
    /// Seconds since 1970.
    created_at: i64,
}

/// `POST /notes`
pub(crate) async fn add(
    State(state): State<AppState>,
    user: User,
    Json(note): Json<NewNote>,
) -> Result<(StatusCode, Json<Note>), AppError> {
    if note.text.is_empty() || note.text.len() > TEXT_BYTES_MAX {
        return Err(AppError::Invalid("a note has 1 to 16384 bytes"));
    }
    let note =
        sqlx::query_as("INSERT INTO notes (account_id, text) VALUES (?, ?) RETURNING id, text, created_at")
            .bind(user.account_id)
            .bind(note.text)
            .fetch_one(&state.pool)
            .await?;
    Ok((StatusCode::CREATED, Json(note)))
}

/// `GET /notes`: newest first.
pub(crate) async fn list(State(state): State<AppState>, user: User) -> Result<Json<Vec<Note>>, AppError> {
    let notes = sqlx::query_as(
        "SELECT id, text, created_at FROM notes WHERE account_id = ? ORDER BY id DESC LIMIT ?",
    )
    .bind(user.account_id)
    .bind(LISTED_MAX)
    .fetch_all(&state.pool)
    .await?;
    Ok(Json(notes))
}
