//! Signing up, logging in, and finding out who sends a request.

use anyhow::Context;
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::AppError;
use crate::limits::Limits;
use crate::password;
use crate::routes::AppState;

const NAME_BYTES_MAX: usize = 32;
const PASSWORD_BYTES_MIN: usize = 8;
/// Long enough for any passphrase.
const PASSWORD_BYTES_MAX: usize = 256;
/// As many as a SHA-256 has: neither can be guessed.
const TOKEN_BYTES: usize = 32;

// No `Debug`, so that no password gets into a log.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    name: String,
    password: String,
}

#[derive(Serialize)]
pub(crate) struct Account {
    id: i64,
    name: String,
}

#[derive(Serialize)]
pub(crate) struct Session {
    token: String,
    expires_in_secs: u32,
}

/// `POST /signup`
pub(crate) async fn signup(
    State(state): State<AppState>,
    Json(credentials): Json<Credentials>,
) -> Result<(StatusCode, Json<Account>), AppError> {
    let name = checked_name(credentials.name)?;
    if !(PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&credentials.password.len()) {
        return Err(AppError::Invalid("a password has 8 to 256 bytes"));
    }
    let hash = password::hash(credentials.password, state.config.cost).await?;
    let id = sqlx::query_scalar("INSERT INTO accounts (name, password_hash) VALUES (?, ?) RETURNING id")
        .bind(&name)
        .bind(hash)
        .fetch_one(&state.pool)
        .await
        .map_err(|error| match error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() => AppError::NameTaken,
            other => other.into(),
        })?;
    Ok((StatusCode::CREATED, Json(Account { id, name })))
}

/// `POST /login`
pub(crate) async fn login(
    State(state): State<AppState>,
    Json(Credentials { name, password }): Json<Credentials>,
) -> Result<Json<Session>, AppError> {
    let name = checked_name(name)?;
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(AppError::WrongPassword);
    }
    let limits = state.app.at::<Limits>(&name[..1]);
    limits.take(&name).await?;

    let account: Option<(i64, String)> =
        sqlx::query_as("SELECT id, password_hash FROM accounts WHERE name = ?")
            .bind(&name)
            .fetch_optional(&state.pool)
            .await?;
    let Some((account_id, hash)) = account else {
        // Takes as long as a wrong password does, so that the clock does not tell which names exist.
        password::hash(password, state.config.cost).await?;
        return Err(AppError::WrongPassword);
    };
    if !password::verify(password, hash).await? {
        return Err(AppError::WrongPassword);
    }
    limits.forget(&name).await?;

    let token = new_token()?;
    sqlx::query("DELETE FROM sessions WHERE expires_at <= unixepoch()").execute(&state.pool).await?;
    sqlx::query("INSERT INTO sessions (token_hash, account_id, expires_at) VALUES (?, ?, unixepoch() + ?)")
        .bind(token_hash(&token))
        .bind(account_id)
        .bind(state.config.session_secs)
        .execute(&state.pool)
        .await?;
    Ok(Json(Session { token, expires_in_secs: state.config.session_secs }))
}

/// Who sends the request, by its bearer token.
pub(crate) struct User {
    pub(crate) account_id: i64,
}

impl FromRequestParts<AppState> for User {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<User, AppError> {
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(AppError::Unauthorized)?;
        let account_id = sqlx::query_scalar(
            "SELECT account_id FROM sessions WHERE token_hash = ? AND expires_at > unixepoch()",
        )
        .bind(token_hash(token))
        .fetch_optional(&state.pool)
        .await?
        .ok_or(AppError::Unauthorized)?;
        Ok(User { account_id })
    }
}

/// A name in the one form in which it is stored and counted: `Ann` and `ann` are the same user.
fn checked_name(name: String) -> Result<String, AppError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(AppError::Invalid("a name has 1 to 32 letters, digits, '-' and '_'"));
    }
    Ok(name.to_ascii_lowercase())
}

fn new_token() -> Result<String, AppError> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).context("the system gave no random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token).to_vec()
}
