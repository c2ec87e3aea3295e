//! The demo: a gallery under load, as four nodes. The gallery does all of it; this builds it and becomes it.

use std::path::Path;
use std::process::ExitCode;

use crate::run::{Run, cargo, target};

/// How the demo is played.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Demo {
    /// Plays the show without a browser, prints the figures, and exits 0 only if no call failed.
    #[arg(long)]
    headless: bool,
    /// The port of the page; 0 takes a free one.
    #[arg(long)]
    port: Option<u16>,
    /// Thumbnails asked for per second at the beginning.
    #[arg(long)]
    load: Option<u32>,
}

impl Demo {
    /// The show that nobody looks at, as a test.
    pub(crate) fn headless() -> Demo {
        Demo { headless: true, ..Demo::default() }
    }

    /// Becomes the demo.
    pub(crate) fn play(&self, root: &Path) -> anyhow::Result<ExitCode> {
        Err(self.command(root).instead_of_this_process())
    }

    /// Development profile: its thumbnails are as fast as a release's, and the page is there in half the time.
    pub(crate) fn command(&self, root: &Path) -> Run {
        let mut arguments: Vec<String> = vec!["--demo".to_owned()];
        arguments.push(if self.headless { "--headless" } else { "--open" }.to_owned());
        // A show that nobody looks at shall not need a certain port.
        let port = self.port.or(self.headless.then_some(0));
        arguments.extend(port.map(|port| format!("--port={port}")));
        arguments.extend(self.load.map(|load| format!("--load={load}")));
        arguments.push(format!("--pictures={}", target(root).join("gallery-pictures").display()));
        cargo(root).args(["run", "--quiet", "--package", "gallery", "--"]).args(arguments)
    }
}
