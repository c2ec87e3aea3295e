//! A module that is there to be crashed. It lives in a process of its own, so it takes nobody with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use skybox::App;

use crate::AppError;
use crate::stage::Staged;

/// How long the next one may take to be there: restarts of what crashes often are paced.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What can go wrong with code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crash {
    /// It panics: its instance is replaced.
    Panic,
    /// It calls abort, as a library might: its process ends.
    Abort,
    /// It calls itself until the stack is full.
    Stack,
    /// It computes for ever: its process is killed when the call's time is up.
    Loop,
    /// It takes memory until it may have no more.
    Memory,
}

/// One life: a process, and the instances that it has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    pid: u32,
    instance: u64,
}

/// It does nothing, until it is told to crash.
#[derive(Debug)]
pub struct Mortal {
    life: Life,
}

#[skybox::module(isolate = "process", memory = "256MiB", cpu = 0.5, deadline = "1s", overrun = "500ms")]
impl Mortal {
    fn start(_app: &App) -> Mortal {
        static LIVES: AtomicU64 = AtomicU64::new(0);
        let instance = LIVES.fetch_add(1, Ordering::Relaxed);
        Mortal { life: Life { pid: std::process::id(), instance } }
    }

    /// Which one it is.
    ///
    /// # Errors
    /// [`AppError::Call`] while there is none.
    #[idempotent]
    pub async fn life(&self) -> Result<Life, AppError> {
        Ok(self.life)
    }

    /// Crashes.
    ///
    /// # Errors
    /// [`AppError::Call`], in every case.
    pub async fn crash(&self, kind: Crash) -> Result<(), AppError> {
        match kind {
            Crash::Panic => panic!("somebody has pressed the button"),
            Crash::Abort => std::process::abort(),
            Crash::Stack => Err(AppError::Other(format!("{} calls fit on the stack", dive(0)))),
            Crash::Loop => loop {
                std::hint::spin_loop();
            },
            Crash::Memory => {
                let mut hoard = Vec::new();
                loop {
                    // Written to, so that it is there and not merely promised.
                    hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
        }
    }
}

/// Calls itself until it cannot.
fn dive(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    if depth == u64::MAX { 0 } else { dive(depth + 1) + page[0].min(1) }
}

/// Has the module crash, and waits until its successor answers.
///
/// # Errors
/// [`AppError::Stage`] if there is none to crash, or none that follows.
pub async fn crash(kind: Crash) -> Result<Staged, AppError> {
    let refused = |message: String| AppError::Stage { message };
    let mortal = App::current().map_err(|error| refused(error.to_string()))?.get::<Mortal>();
    let before =
        mortal.life().await.map_err(|error| refused(format!("there is nothing to crash: {error}")))?;
    let caller = match mortal.crash(kind).await {
        Ok(()) => "its caller saw nothing".to_owned(),
        Err(error) => format!("its caller was told: {error}"),
    };
    let began = Instant::now();
    let after = loop {
        match mortal.life().await {
            Ok(life) if life != before => break life,
            Err(error) if began.elapsed() > BACK_WITHIN => return Err(refused(error.to_string())),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
        if began.elapsed() > BACK_WITHIN {
            return Err(refused(format!("{kind:?} did not end process {}", before.pid)));
        }
    };
    let back = match before.pid == after.pid {
        true => format!("a new instance answers in the same process, {}", after.pid),
        false => format!("process {} answers instead of {}", after.pid, before.pid),
    };
    let text =
        format!("{}: {back} after {:.0?}; {caller}", format!("{kind:?}").to_lowercase(), began.elapsed());
    Ok(Staged { text, place: None, killed: None })
}
