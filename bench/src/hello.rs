//! What the smallest program costs: the crates it adds, the seconds they take to build, its cold start and the
//! memory of an idle node.
//!
//! The same program without Skybox (tokio and its `main`) is built and run beside it, and the one with Skybox once more
//! with the feature `tls`, and once with `otel`: there with a subscriber that has its layer, since a feature that
//! nothing uses is not in the binary.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// Cold starts that are measured.
const STARTS: usize = 31;
/// Nodes whose memory is measured.
const NODES: usize = 3;

/// What is measured, and in which form it is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Measures these alone: tokio, skybox, skybox-tls, skybox-otel.
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
}

/// A program to be measured.
struct Subject<'s> {
    subject: &'static str,
    manifest: &'s Path,
    /// Of its binary.
    name: &'static str,
    /// Arguments that cargo gets.
    features: &'static [&'static str],
}

/// Builds and runs the programs, each in a directory of its own that is removed afterwards.
///
/// # Errors
/// When one of them cannot be built or run.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the bench is a directory of the workspace")?;
    let scratch = Scratch::make()?;
    let (plain, traced) = (scratch.0.join("plain"), scratch.0.join("traced"));
    write_plain(&plain)?;
    write_traced(&traced, root)?;
    let hello = root.join("examples/hello/Cargo.toml");
    let subjects = [
        Subject { subject: "tokio", manifest: &plain.join("Cargo.toml"), name: "plain", features: &[] },
        Subject { subject: "skybox", manifest: &hello, name: "hello", features: &[] },
        Subject {
            subject: "skybox-tls",
            manifest: &hello,
            name: "hello",
            features: &["--features", "skybox/tls"],
        },
        Subject {
            subject: "skybox-otel",
            manifest: &traced.join("Cargo.toml"),
            name: "traced",
            features: &[],
        },
    ];
    for name in &options.subjects {
        ensure!(subjects.iter().any(|known| known.subject == name), "there is no subject `{name}`");
    }
    for Subject { subject, manifest, name, features } in subjects {
        if !options.subjects.is_empty() && options.subjects.iter().all(|wanted| wanted != subject) {
            continue;
        }
        let print = |metric: &str, values: &mut [f64], unit: &str| {
            print_row(options.json, subject, metric, values, unit)
        };
        print("crates", &mut [crates(manifest, features)? as f64], "crates");
        let target = scratch.0.join(format!("target-{subject}"));
        print("build_s", &mut [build(manifest, features, &target)?], "s");
        let program = target.join("release").join(name);
        print("binary", &mut [fs::metadata(&program)?.len() as f64 / 1e6], "MB");
        let mut starts = (0..STARTS).map(|_| cold_start(&program)).collect::<Result<Vec<_>>>()?;
        print("cold_start_ms", &mut starts, "ms");
        print("idle_memory", &mut [idle_memory(&program)?], "MiB");
        if subject != "tokio" {
            print("node_memory", &mut node_memory(&program)?, "MiB");
        }
    }
    Ok(())
}

fn print_row(json: bool, subject: &str, metric: &str, values: &mut [f64], unit: &str) {
    values.sort_by(f64::total_cmp);
    let (min, median, max) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    if json {
        let row = serde_json::json!({
            "bench": "hello", "subject": subject, "metric": metric,
            "median": median, "min": min, "max": max, "unit": unit,
        });
        println!("{row}");
    } else {
        println!("{subject:<10} {metric:<14} {median:>8.2} {unit:<7} {min:.2} .. {max:.2}");
    }
}

/// The same program without Skybox.
fn write_plain(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory.join("src"))?;
    fs::write(
        directory.join("Cargo.toml"),
        "[package]\nname = \"plain\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         tokio = { version = \"1\", features = [\"rt-multi-thread\", \"macros\", \"net\", \"signal\", \"time\"] }\n\n\
         [profile.release]\nlto = \"thin\"\n",
    )?;
    fs::write(
        directory.join("src/main.rs"),
        "fn hello(name: String) -> String {\n    format!(\"hello {name}, from process {}\", std::process::id())\n}\n\n\
         #[tokio::main]\nasync fn main() {\n    println!(\"{}\", hello(\"world\".to_owned()));\n    \
         if std::env::args().any(|argument| argument == \"--stay\") {\n        \
         tokio::signal::ctrl_c().await.unwrap();\n    }\n}\n",
    )?;
    Ok(())
}

/// The program of `examples/hello`, with a subscriber whose only layer is that of the feature `otel`. No collector is
/// named, so that nothing is sent.
fn write_traced(directory: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(directory.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"traced\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         skybox = {{ path = {:?}, features = [\"otel\"] }}\n\
         tokio = {{ version = \"1\", default-features = false, features = [\"rt-multi-thread\"] }}\n\
         tracing-subscriber = {{ version = \"0.3\", default-features = false, features = [\"registry\"] }}\n\n\
         [profile.release]\nlto = \"thin\"\n",
        root.join("crates/skybox")
    );
    fs::write(directory.join("Cargo.toml"), manifest)?;
    // The versions that the others are built with.
    fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock"))?;
    let hello = fs::read_to_string(root.join("examples/hello/src/main.rs"))?;
    let (begin, spans) = (
        "async fn main() -> skybox::Result<()> {\n",
        "    use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};\n    \
         let (layer, _sending) = skybox::otel::layer()?;\n    tracing_subscriber::registry().with(layer).init();\n",
    );
    ensure!(hello.contains(begin), "the main of examples/hello begins otherwise");
    fs::write(directory.join("src/main.rs"), hello.replace(begin, &format!("{begin}{spans}")))?;
    Ok(())
}

/// Crates of the program and of its build, its own among them.
fn crates(manifest: &Path, features: &[&str]) -> Result<usize> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["tree", "--edges", "normal,build", "--prefix", "none", "--manifest-path"])
        .arg(manifest)
        .args(features);
    let output = cargo.output().context("cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut names: Vec<_> =
        text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.len())
}

/// Seconds from nothing to a release build; what has to be downloaded is downloaded before.
fn build(manifest: &Path, features: &[&str], target: &Path) -> Result<f64> {
    let cargo = |verb: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg(verb).arg("--quiet").arg("--manifest-path").arg(manifest);
        // As cargo's release profile has it; this workspace keeps line tables, which are most of a binary.
        cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
        cargo
    };
    ensure!(cargo("fetch").status()?.success(), "the crates could not be fetched");
    let began = Instant::now();
    let status = cargo("build").arg("--release").args(features).arg("--target-dir").arg(target).status()?;
    ensure!(status.success(), "{} could not be built", manifest.display());
    Ok(began.elapsed().as_secs_f64())
}

/// Milliseconds from starting the process until it has said hello.
fn cold_start(program: &Path) -> Result<f64> {
    let began = Instant::now();
    let mut child = Command::new(program).stdout(Stdio::piped()).spawn()?;
    read_hello(&mut child, 1)?;
    let time = began.elapsed().as_secs_f64() * 1e3;
    ensure!(child.wait()?.success(), "{} failed", program.display());
    Ok(time)
}

/// MiB of resident memory once it has said hello and waits.
fn idle_memory(program: &Path) -> Result<f64> {
    let mut child = Command::new(program).arg("--stay").stdout(Stdio::piped()).spawn()?;
    let memory = read_hello(&mut child, 1).and_then(|()| resident_mib(child.id()));
    child.kill()?;
    child.wait()?;
    memory
}

/// The same of each node, where there are several: once all of them have said hello, connected to one another.
fn node_memory(program: &Path) -> Result<Vec<f64>> {
    let mut parent = Command::new(program)
        .arg("--stay")
        .env("SKYBOX_NODES", NODES.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let memory = read_hello(&mut parent, NODES)
        .and_then(|()| children(parent.id()))
        .and_then(|nodes| nodes.into_iter().map(resident_mib).collect());
    // Its nodes end with it.
    parent.kill()?;
    parent.wait()?;
    memory
}

/// The processes that any thread of this one has started.
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{parent}/task"))? {
        let started = fs::read_to_string(thread?.path().join("children"))?;
        for pid in started.split_whitespace() {
            children.push(pid.parse()?);
        }
    }
    ensure!(children.len() == NODES, "{} nodes instead of {NODES}", children.len());
    Ok(children)
}

fn read_hello(child: &mut Child, times: usize) -> Result<()> {
    let mut lines = BufReader::new(child.stdout.take().context("its output is a pipe")?).lines();
    for _ in 0..times {
        let line = lines.next().context("it ended without a word")??;
        ensure!(line.starts_with("hello"), "it said {line:?}");
    }
    Ok(())
}

fn resident_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")) else {
        bail!("no VmRSS of process {pid}")
    };
    Ok(kib.trim().parse::<f64>()? / 1024.0)
}

/// A directory that is removed when it is no longer needed.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("skybox-bench-hello-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} was left behind: {error}", self.0.display());
        }
    }
}
