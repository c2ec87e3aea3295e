//! `skybox unit`: a systemd unit for a node.
//!
//! It is printed and not installed: whoever runs the machine looks at it first. What it says is judged before: a unit that
//! cannot start is found here, and not by its restarts.

mod quote;

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use skybox_node::DRAIN_MAX;
use skybox_node::config::{Config, FILE};

/// How long a node has to its end, unless something else is said: a drain, and what its `main` does afterwards.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
const _: () = assert!(STOP_TIMEOUT.as_secs() > DRAIN_MAX.as_secs() + 10, "a drain and a `main` fit into it");
/// The pause before a node that has ended is started again. Others notice an end by its lease, which takes longer.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
/// Descriptors: one for each request of the program's, one for each other node, and what the program itself opens.
const DESCRIPTORS: u32 = 65_536;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UnitArgs {
    /// The program's file, as it lies on the machine that the unit is for
    #[arg(value_name = "PROGRAM")]
    pub(crate) program: PathBuf,
    /// Where etcd is, such as etcd://10.0.0.1:2379,10.0.0.2:2379
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) store: Option<String>,
    /// The user that the node runs as
    #[arg(long, value_name = "USER", value_parser = user)]
    pub(crate) user: String,
    /// The node's name; by itself that in its certificate
    #[arg(long, value_name = "NODE")]
    pub(crate) name: Option<String>,
    /// Where it listens for other nodes, such as 0.0.0.0:7600
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Where /readyz, /livez and /metrics are served
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// A file of NAME=VALUE lines, read at each start
    #[arg(long, value_name = "FILE")]
    pub(crate) environment_file: Option<PathBuf>,
    /// A further variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) environment: Vec<(String, String)>,
    /// The working directory, in which a skybox.toml may lie
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
    /// How long it may take to its end before it is killed, such as 90s; longer than a drain
    #[arg(long, value_name = "TIME", value_parser = stop_timeout)]
    pub(crate) stop_timeout: Option<Duration>,
    /// The program's own arguments
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
}

/// Prints it.
pub(crate) fn unit(args: &UnitArgs) -> anyhow::Result<ExitCode> {
    let program = executable(&args.program)?;
    judge(args)?;
    std::io::stdout().write_all(text(args, &program)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// As systemd and useradd take them.
fn user(text: &str) -> Result<String, String> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    match begins && text.chars().all(is_known) {
        true => Ok(text.to_owned()),
        false => Err("a user has a name such as shop: letters, digits, `_`, `-` and `.`".to_owned()),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let is_name = |name: &&str| {
        let mut characters = name.chars();
        characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| is_name(name))
        .ok_or("write NAME=VALUE, such as SKYBOX_ADMIN__ADDRESS=127.0.0.1:9600")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn stop_timeout(text: &str) -> Result<Duration, String> {
    let time = skybox_core::parse_duration(text).filter(|time| *time > DRAIN_MAX);
    time.ok_or_else(|| {
        format!("write a time such as 90s; a drain may take {DRAIN_MAX:?}, and `main` has to end as well")
    })
}

/// The program's file, which has to be there and may be run; with its whole path, as systemd wants it.
fn executable(program: &Path) -> anyhow::Result<PathBuf> {
    let shown = program.display();
    let whole = std::path::absolute(program).with_context(|| format!("{shown} is no path"))?;
    let found = match std::fs::metadata(&whole) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no program at {}: build it with `cargo build --release` and name its file, as in `skybox unit \
             target/release/shop`, or where it is installed",
            whole.display()
        ),
        Err(error) => bail!("{} cannot be looked at: {error}", whole.display()),
    };
    if !found.is_file() {
        bail!("{} is no file that could be run", whole.display());
    }
    if found.permissions().mode() & 0o111 == 0 {
        bail!("{} may not be run: `chmod +x` it", whole.display());
    }
    // `./shop` and `a/../shop` are not what a person wants to find in a unit; links stay, as an installed one may be.
    let parts: PathBuf = whole.components().collect();
    Ok(if parts.components().any(|part| part.as_os_str() == "..") { whole.canonicalize()? } else { parts })
}

/// Whether a node could start with it: what it says is well formed, and there is a store.
fn judge(args: &UnitArgs) -> anyhow::Result<()> {
    let file = args.directory.as_ref().map(|directory| directory.join(FILE)).filter(|file| file.exists());
    let mut config = match &file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            Config::parse(file, &text)?
        }
        None => Config::default(),
    };
    let mut variables = variables(args);
    if let Some(file) = &args.environment_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read: the unit would not start", file.display()))?;
        // As in systemd, what the file says counts more than what the unit says.
        variables.retain(|(name, _)| !lines(&text).any(|(of_file, _)| of_file == *name));
        variables.extend(lines(&text));
    }
    config.override_with(variables)?;
    if config.store()?.is_none() {
        bail!(
            "nothing says where the store is, so the node would run alone: say --store etcd://HOST:2379, or have \
             SKYBOX_STORE in the file of --environment-file or `[store] address` in the skybox.toml of --directory"
        );
    }
    Ok(())
}

/// The variables in a file, as far as they are written simply.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines.filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let value = value.trim();
        let bare = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
        let value = bare('"').or_else(|| bare('\'')).unwrap_or(value);
        Some((name.trim().to_owned(), value.to_owned()))
    })
}

/// What the unit itself sets.
fn variables(args: &UnitArgs) -> Vec<(String, String)> {
    let said = [
        ("SKYBOX_STORE", &args.store),
        ("SKYBOX_NODE__NAME", &args.name),
        ("SKYBOX_NODE__LISTEN", &args.listen),
        ("SKYBOX_ADMIN__ADDRESS", &args.admin),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
    said.chain(args.environment.iter().cloned()).collect()
}

/// What a node may do: all that cells need, and little of what faults do.
const HARDENING: &str = "\
# Cells are processes with limits of their own. ProtectControlGroups=, PrivateUsers= and a SystemCallFilter= are left out,
# since a node makes control groups and starts processes.
Delegate=cpu memory
# A cell that is out of memory is replaced by its node; the service goes on.
OOMPolicy=continue
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
";

fn text(args: &UnitArgs, program: &Path) -> anyhow::Result<String> {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let mut exec = quote::word(program.as_os_str());
    for argument in &args.arguments {
        exec.push(' ');
        exec.push_str(&quote::argument(argument));
    }
    let mut of_service = format!("Type=exec\nUser={}\n", args.user);
    if let Some(directory) = &args.directory {
        writeln!(of_service, "WorkingDirectory={}", line(directory)?)?;
    }
    for (name, value) in variables(args) {
        writeln!(of_service, "Environment={}", quote::word(OsStr::new(&format!("{name}={value}"))))?;
    }
    if let Some(file) = &args.environment_file {
        writeln!(of_service, "EnvironmentFile={}", line(file)?)?;
    }
    let stop = args.stop_timeout.unwrap_or(STOP_TIMEOUT).as_secs_f64().ceil();
    // A description is no place for what systemd would replace.
    let shown: String = name.chars().filter(|c| !c.is_control() && *c != '%' && *c != '\\').collect();
    Ok(format!(
        "\
# Made by `skybox unit`. Put it at /etc/systemd/system/{shown}.service, then `systemctl daemon-reload` and
# `systemctl enable --now {shown}`. Values in `systemctl edit {shown}` override those here.

[Unit]
Description={shown}, a node of its cloud
Wants=network-online.target
After=network-online.target time-sync.target
# A node that does not reach the store ends, and is started again until it does, however long that takes.
StartLimitIntervalSec=0

[Service]
{of_service}ExecStart={exec}
Restart=always
RestartSec={restart}s
# The first SIGTERM has the node hand over what it has: within {drain} s, and then its `main` has to end. To the node
# alone, and not to its cells.
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec={stop}s
LimitNOFILE={DESCRIPTORS}
{HARDENING}
[Install]
WantedBy=multi-user.target
",
        restart = RESTART_PAUSE.as_secs(),
        drain = DRAIN_MAX.as_secs(),
    ))
}

/// A path that has a line for itself; with all of it, as systemd wants it.
fn line(path: &Path) -> anyhow::Result<String> {
    let whole = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
    quote::path(whole.as_os_str())
        .with_context(|| format!("{} cannot stand in a unit: give it a plainer name", path.display()))
}

#[cfg(test)]
mod tests;
