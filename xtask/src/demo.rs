//! The demo: a gallery under load, as four nodes. The gallery does all of it; this builds it and becomes it.

use std::path::Path;
use std::process::ExitCode;

use crate::run::{Run, cargo, program, target};

/// How the demo is played.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Demo {
    /// Plays the show without a browser, prints the figures, and exits 0 only if no call failed.
    #[arg(long)]
    headless: bool,
    /// The port of the page; 0 takes a free one.
    #[arg(long, conflicts_with = "hosts")]
    port: Option<u16>,
    /// Thumbnails asked for per second at the beginning.
    #[arg(long)]
    load: Option<u32>,
    /// Runs it on five hosts out of network namespaces, as one cloud over mutual TLS; it takes root and an etcd.
    #[arg(long)]
    hosts: bool,
}

impl Demo {
    /// The show that nobody looks at, as a test.
    pub(crate) fn headless() -> Demo {
        Demo { headless: true, ..Demo::default() }
    }

    /// Becomes the demo.
    pub(crate) fn play(&self, root: &Path) -> anyhow::Result<ExitCode> {
        if self.hosts {
            return Err(self.on_hosts(root)?.instead_of_this_process());
        }
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

    /// Builds both the gallery and what starts it on hosts.
    fn on_hosts(&self, root: &Path) -> anyhow::Result<Run> {
        let build = ["build", "--quiet", "--package", "gallery", "--bin", "gallery", "--example", "hosts"];
        cargo(root).args(build).finish()?;
        let mut arguments = vec![format!("--pictures={}", target(root).join("gallery-pictures").display())];
        arguments.extend(self.headless.then(|| "--headless".to_owned()));
        arguments.extend(self.load.map(|load| format!("--load={load}")));
        let example = target(root).join("debug/examples/hosts");
        Ok(program(root, &example.to_string_lossy()).args(arguments))
    }
}
