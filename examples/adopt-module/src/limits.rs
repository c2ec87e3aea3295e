//! How often a user may try to log in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use skybox::{App, Missing};

use crate::config::Config;
use crate::error::AppError;

/// Users with attempts on record, about 10 MB of them. A guesser who invents names fills this table, and
/// then new names are refused until windows end.
const USERS_MAX: usize = 100_000;

/// Attempts to log in, counted for each user over a window that starts with the first of them.
pub(crate) struct Limits {
    config: Arc<Config>,
    users: Mutex<HashMap<String, Attempts>>,
}

struct Attempts {
    count: u32,
    since: Instant,
}

// One for each initial, however many names a guesser invents; it sleeps when each of its windows is over.
#[skybox::module(keyed, idle = "1h")]
impl Limits {
    fn start(app: &App, _initial: &str) -> Result<Limits, Missing> {
        Ok(Limits { config: app.value::<Arc<Config>>()?.clone(), users: Mutex::default() })
    }

    /// Takes one attempt of this user.
    ///
    /// It is taken before the password is looked at, so that guesses sent all at once count too; a login
    /// that succeeds gives all of them back with [`Limits::forget`].
    ///
    /// # Errors
    /// [`AppError::TooManyAttempts`] when none is left, with the time until there are new ones.
    pub(crate) fn take(&self, user: &str) -> Result<(), AppError> {
        let (now, window) = (Instant::now(), self.config.login_window());
        let mut users = self.users();
        if !users.contains_key(user) && users.len() >= USERS_MAX {
            users.retain(|_, attempts| now - attempts.since < window);
            if users.len() >= USERS_MAX {
                return Err(AppError::TooManyAttempts { retry_after: window });
            }
        }
        let attempts = users.entry(user.to_owned()).or_insert(Attempts { count: 0, since: now });
        if now - attempts.since >= window {
            *attempts = Attempts { count: 0, since: now };
        }
        if attempts.count >= self.config.login_attempts_max {
            return Err(AppError::TooManyAttempts { retry_after: attempts.since + window - now });
        }
        attempts.count += 1;
        Ok(())
    }

    /// Forgets this user's attempts.
    pub(crate) fn forget(&self, user: &str) -> Result<(), AppError> {
        self.users().remove(user);
        Ok(())
    }

    fn users(&self) -> MutexGuard<'_, HashMap<String, Attempts>> {
        // Each change is a single assignment: a panic elsewhere cannot have left one half done.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
