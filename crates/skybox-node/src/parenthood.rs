//! `SKYBOX_NODES=3 ./program`: the process that becomes the parent of its own nodes. The parent itself lives in
//! `skybox-cloud`, which this crate does not know; it says that it is there through the linker.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use crate::app::AppError;
use crate::config::Config;
use crate::control::PARENT_ENV;

/// Asks a process to run its program as that many nodes.
pub const NODES_ENV: &str = "SKYBOX_NODES";

/// The end of a parent: its exit code.
pub type Ending = Pin<Box<dyn Future<Output = Result<i32, String>> + Send>>;

/// Something that can be a parent.
pub struct Parenthood {
    /// Runs this very program as so many nodes; resolves when all of it has ended, with the exit code.
    pub run: fn(Family) -> Ending,
}

/// What a parent has to know.
#[derive(Clone, Debug)]
pub struct Family {
    /// How many nodes.
    pub nodes: u32,
    /// The configuration.
    pub config: Config,
    /// The addresses of listeners that the program says itself.
    pub listeners: HashMap<String, String>,
}

inventory::collect!(Parenthood);

/// In a process that is asked to be several nodes: runs them, and ends the process when they have ended.
pub(crate) async fn become_parent_if_asked(
    config: &Config,
    listeners: &HashMap<String, String>,
) -> Result<(), AppError> {
    let Ok(asked) = std::env::var(NODES_ENV) else { return Ok(()) };
    if std::env::var_os(PARENT_ENV).is_some() {
        return Ok(());
    }
    let nodes = asked.parse().ok().filter(|n| *n > 0);
    let nodes = nodes
        .ok_or_else(|| AppError::Split(format!("{NODES_ENV} takes a number above zero, not `{asked}`")))?;
    let Some(parenthood) = inventory::iter::<Parenthood>().next() else {
        let why = format!(
            "{NODES_ENV}={nodes} is set, but the program is built without the feature `cloud` of skybox"
        );
        return Err(AppError::Split(why));
    };
    let family = Family { nodes, config: config.clone(), listeners: listeners.clone() };
    let code = (parenthood.run)(family).await.map_err(AppError::Split)?;
    std::process::exit(code);
}

impl std::fmt::Debug for Parenthood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parenthood")
    }
}
