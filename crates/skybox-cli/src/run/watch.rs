//! `skybox run --watch`: builds when a source changes, and puts the new build in the place of the running one; when the
//! configuration changes, the same build with that one.
//!
//! A build that fails and a configuration that is wrong change nothing: it is said why, and what runs goes on. A build
//! that does not start leaves nothing that runs; its listeners stay open for the next one.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skybox_cloud::parent::{Done, Parent};
use skybox_node::AppError;
use skybox_node::config::{Config, FILE};
use tokio::sync::oneshot;

use super::build::{self, Built};
use super::say;
use super::sources::{Look, Mark, Sources, difference};
use crate::args::RunArgs;

/// Between two looks at the sources. Editors write several files at once: a build begins when two looks are the same.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// The file of the configuration, as it was read last; it need not be there.
#[derive(Debug)]
pub(super) struct Configuration {
    /// If it is not `skybox.toml`.
    named: Option<PathBuf>,
    /// How it looked before it was read.
    seen: Option<Mark>,
}

impl Configuration {
    /// Of this file, or of `skybox.toml`, as it looks now.
    pub(super) fn new(named: Option<PathBuf>) -> Configuration {
        let mut configuration = Configuration { named, seen: None };
        configuration.seen = configuration.look();
        configuration
    }

    fn path(&self) -> &Path {
        self.named.as_deref().unwrap_or(Path::new(FILE))
    }

    fn look(&self) -> Option<Mark> {
        Mark::of(self.path())
    }

    /// Reads it.
    pub(super) fn load(&self) -> Result<Config, AppError> {
        Ok(Config::load_from(self.named.clone())?)
    }
}

/// What a program is made of: what was built, if anything, and how its configuration looked.
type Made = (Option<(Built, Option<Mark>)>, Option<Mark>);

/// What looks otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Changed {
    /// A source, and perhaps the configuration.
    Sources,
    Configuration,
}

/// The sources of a program, as they were built last, and its configuration.
#[derive(Debug)]
pub(super) struct Watch {
    sources: Sources,
    /// How they looked when the last build began.
    seen: Look,
    configuration: Configuration,
    /// What was built last.
    built: Option<(Built, Option<Mark>)>,
}

impl Watch {
    /// Builds until it succeeds once: from then on there is something that can run, with the configuration as it is
    /// then.
    pub(super) async fn first_build(
        configuration: Configuration,
        args: &RunArgs,
    ) -> anyhow::Result<(Watch, PathBuf, Config)> {
        let mut watch = Watch { sources: Sources::default(), seen: Look::new(), configuration, built: None };
        loop {
            if let Some(program) = watch.build(args).await {
                watch.configuration.seen = watch.configuration.look();
                let config = watch.configuration.load()?;
                return Ok((watch, program, config));
            }
            if watch.sources == Sources::default() {
                anyhow::bail!("there is nothing to watch here: cargo knows no package in this directory");
            }
            // The configuration is read once there is something that can run.
            while watch.change().await == Changed::Configuration {}
        }
    }

    /// Replaces what the parent runs after each change.
    pub(super) async fn follow(mut self, parent: &Parent, args: &RunArgs) -> Infallible {
        let packages: Vec<_> = self.sources.packages().collect();
        say(&format!("watching the sources of {}\n", packages.join(", ")));
        let mut running: Made = (self.built.clone(), self.configuration.seen);
        loop {
            let changed = self.change().await;
            if changed == Changed::Sources && self.build(args).await.is_none() {
                say("the program does not build; what runs goes on\n");
                continue;
            }
            self.configuration.seen = self.configuration.look();
            let made: Made = (self.built.clone(), self.configuration.seen);
            let Some((built, _)) = &made.0 else { continue };
            if made == running {
                say("that changes nothing in the program\n");
                continue;
            }
            let config = match self.judged(parent, made.0 == running.0).await {
                Ok(config) => config,
                Err(error) => {
                    say(&format!("error: {:#}\nwhat runs goes on\n", anyhow::Error::from(error)));
                    continue;
                }
            };
            let (what, new) = match made.0 == running.0 {
                true => ("the nodes are replaced", "the nodes run with it"),
                false => ("built; the nodes are replaced", "the new build runs"),
            };
            say(&format!("{what}\n"));
            let done = parent.replace(built.file.clone(), config).await;
            running = made;
            match done {
                Done::Refused(why) => say(&format!("{why}; waiting for the next change\n")),
                _ => say(&format!("{new}\n")),
            }
        }
    }

    /// Reads the configuration and judges it; `same`: for the build that runs, whose modules are known.
    async fn judged(&self, parent: &Parent, same: bool) -> Result<Config, AppError> {
        let config = self.configuration.load()?;
        if same {
            parent.check(&config)?;
        } else {
            config.check(&[])?;
        }
        Ok(config)
    }

    /// Builds; `None` if that fails, and cargo has said why.
    async fn build(&mut self, args: &RunArgs) -> Option<PathBuf> {
        let package = self.built.as_ref().map(|(built, _)| built.package.clone());
        // A manifest may name other packages now.
        if let Some(sources) = Sources::ask(package.as_deref()) {
            self.sources = sources;
            if let Some((built, _)) = &self.built {
                self.sources.add_read(built);
            }
        }
        // Before the build: what changes meanwhile is seen afterwards.
        self.seen = self.sources.look();
        let built = match on_a_thread(args.clone()).await {
            Ok(built) => built,
            Err(error) => {
                say(&format!("error: {error:#}\n"));
                return None;
            }
        };
        let program = built.file.clone();
        if self.built.is_none()
            && let Some(sources) = Sources::ask(Some(&built.package))
        {
            self.sources = sources;
        }
        self.sources.add_read(&built);
        // What was not looked at before is as it was built.
        let look = self.sources.look();
        let as_built = |(path, mark)| {
            let mark = self.seen.get(&path).copied().unwrap_or(mark);
            (path, mark)
        };
        self.seen = look.into_iter().map(as_built).collect();
        let mark = Mark::of(&program);
        self.built = Some((built, mark));
        Some(program)
    }

    /// Waits until the sources look otherwise than at the last build, or the configuration than when it was read, and
    /// all are left alone for a moment.
    async fn change(&mut self) -> Changed {
        let mut last = (self.seen.clone(), self.configuration.seen);
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            let look = (self.sources.look(), self.configuration.look());
            if look == last {
                if let Some(changed) = difference(&self.seen, &look.0) {
                    say(&format!("{} has changed: building\n", shown(&changed)));
                    return Changed::Sources;
                }
                if look.1 != self.configuration.seen {
                    say(&format!("{} has changed\n", shown(self.configuration.path())));
                    self.configuration.seen = look.1;
                    return Changed::Configuration;
                }
            }
            last = look;
        }
    }
}

/// A file's path, as short as it can be said here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// Builds on a thread of its own: a program that is to end does not wait for cargo.
async fn on_a_thread(args: RunArgs) -> anyhow::Result<Built> {
    let (done, built) = oneshot::channel();
    let build = move || drop(done.send(build::build(&args)));
    std::thread::Builder::new().name("skybox-build".to_owned()).spawn(build)?;
    built.await?
}
