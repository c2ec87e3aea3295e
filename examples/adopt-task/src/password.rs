//! Password hashing with Argon2id: slow on purpose, and therefore never on a thread that serves requests.

use anyhow::Context;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

/// Hashes that run at the same time. Each takes a core and, at the default cost, 19 MiB: a rush of logins
/// must not take the machine's memory.
const HASHES_AT_ONCE_MAX: usize = 4;

static HASHES: Semaphore = Semaphore::const_new(HASHES_AT_ONCE_MAX);

/// What one hash costs; the defaults are those that OWASP recommends.
#[derive(Clone, Copy, Debug, clap::Args, serde::Serialize, serde::Deserialize)]
pub(crate) struct Cost {
    /// Memory of one password hash, in KiB.
    #[arg(long = "hash-memory-kib", env = "ADOPT_HASH_MEMORY_KIB", default_value_t = Params::DEFAULT_M_COST)]
    memory_kib: u32,

    /// Passes over that memory.
    #[arg(long = "hash-passes", env = "ADOPT_HASH_PASSES", default_value_t = Params::DEFAULT_T_COST)]
    passes: u32,
}

impl Cost {
    pub(crate) fn params(self) -> Result<Params, argon2::Error> {
        Params::new(self.memory_kib, self.passes, Params::DEFAULT_P_COST, None)
    }
}

/// Hashes a password with a new salt, into the text that [`verify`] reads.
#[skybox::task(cpu = 1)]
pub(crate) async fn hash(password: String, cost: Cost) -> anyhow::Result<String> {
    on_hash_thread(move || {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params()?);
        let hash: PasswordHash = argon2.hash_password(password.as_bytes())?;
        Ok(hash.to_string())
    })
    .await
    .context("hashing a password")
}

/// Whether `hash` was made from `password`; the hash itself says at which cost.
#[skybox::task(cpu = 1)]
pub(crate) async fn verify(password: String, hash: String) -> anyhow::Result<bool> {
    on_hash_thread(move || {
        match Argon2::default().verify_password(password.as_bytes(), &PasswordHash::new(&hash)?) {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(error.into()),
        }
    })
    .await
    .context("verifying a password")
}

async fn on_hash_thread<T, F>(work: F) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> anyhow::Result<T> + Send + 'static,
{
    let permit = HASHES.acquire().await.expect("this semaphore is never closed");
    let work = move || {
        // Held by the thread, not by the request: a client that hangs up does not end the hash.
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work).await.context("the hashing thread ended early")?
}
