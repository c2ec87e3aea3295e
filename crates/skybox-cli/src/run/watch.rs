//! `skybox run --watch`: builds when a source changes, and puts the new build in the place of the running one.
//!
//! A build that fails changes nothing: the compiler says why, and what runs goes on. A build that does not start leaves
//! nothing that runs; its listeners stay open for the next one.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skybox_cloud::parent::{Done, Parent};
use tokio::sync::oneshot;

use super::build::{self, Built};
use super::say;
use super::sources::{Look, Mark, Sources, difference};
use crate::args::RunArgs;

/// Between two looks at the sources. Editors write several files at once: a build begins when two looks are the same.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// The sources of a program, as they were built last.
#[derive(Debug)]
pub(super) struct Watch {
    sources: Sources,
    /// How they looked when the last build began.
    seen: Look,
    /// What was built last.
    built: Option<(Built, Option<Mark>)>,
}

impl Watch {
    /// Builds until it succeeds once: from then on there is something that runs.
    pub(super) async fn first_build(args: &RunArgs) -> anyhow::Result<(Watch, PathBuf)> {
        let mut watch = Watch { sources: Sources::default(), seen: Look::new(), built: None };
        loop {
            if let Some(program) = watch.build(args).await {
                return Ok((watch, program));
            }
            if watch.sources == Sources::default() {
                anyhow::bail!("there is nothing to watch here: cargo knows no package in this directory");
            }
            watch.change().await;
        }
    }

    /// Replaces what the parent runs after each change.
    pub(super) async fn follow(mut self, parent: &Parent, args: &RunArgs) -> Infallible {
        let packages: Vec<_> = self.sources.packages().collect();
        say(&format!("watching the sources of {}\n", packages.join(", ")));
        loop {
            self.change().await;
            let before = self.built.clone();
            let Some(program) = self.build(args).await else {
                say("the program does not build; what runs goes on\n");
                continue;
            };
            if self.built == before {
                say("that changes nothing in the program\n");
                continue;
            }
            say("built; the nodes are replaced\n");
            match parent.replace(program).await {
                Done::Refused(why) => say(&format!("{why}; waiting for the next change\n")),
                _ => say("the new build runs\n"),
            }
        }
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

    /// Waits until the sources look otherwise than at the last build, and are left alone for a moment.
    async fn change(&mut self) {
        let mut last = self.seen.clone();
        loop {
            tokio::time::sleep(LOOK_PAUSE).await;
            let look = self.sources.look();
            if let Some(changed) = difference(&self.seen, &look).filter(|_| look == last) {
                say(&format!("{} has changed: building\n", shown(&changed)));
                return;
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
