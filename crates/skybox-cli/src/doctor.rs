//! `skybox doctor`: what keeps a node of this machine from joining its cloud, or will.
//!
//! It reads the configuration that the node reads, and tries what the node does: with its files, at its store. Nothing is
//! changed anywhere, but for a key in the store that is gone when it ends.

mod certificates;
mod clock;
mod finding;
#[cfg(feature = "etcd")]
mod nodes;
#[cfg(feature = "etcd")]
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use skybox_core::TextChain;
use skybox_node::config::{CONFIG_ENV, Config};

use finding::{Findings, Level};

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// The file with the node's variables, as its unit names it
    #[arg(long, value_name = "FILE")]
    environment_file: Option<PathBuf>,
    /// The configuration, instead of skybox.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An operator's certificate and key, without .pem and .key; authority.pem lies beside them
    #[arg(long, value_name = "PATH", env = "SKYBOX_IDENTITY")]
    identity: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Who is looked after.
struct Patient {
    config: Config,
    /// The program's name, where anything says it.
    program: Option<String>,
    /// An operator's files, without their ends.
    #[cfg_attr(not(feature = "etcd"), expect(dead_code, reason = "only nodes are asked with it"))]
    identity: Option<PathBuf>,
}

/// Looks, says what it has found, and fails if something is wrong.
pub(crate) async fn doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    clock::look(&mut findings);
    match patient(args) {
        Err(error) => findings.add(Level::Error, "configuration", format!("{error:#}")),
        Ok(patient) => look_at(&patient, &mut findings).await,
    }
    findings.print(args.json)?;
    Ok(if findings.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn patient(args: &DoctorArgs) -> anyhow::Result<Patient> {
    let mut config =
        Config::load_from(args.config.clone().or_else(|| std::env::var_os(CONFIG_ENV).map(PathBuf::from)))
            .map_err(|error| anyhow::anyhow!(TextChain::of(&error).joined()))?;
    let mut program = std::env::var("SKYBOX_PROGRAM").ok();
    if let Some(file) = &args.environment_file {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let variables: Vec<_> = crate::unit::lines(&text).collect();
        let named = variables.iter().find(|(name, _)| name == "SKYBOX_PROGRAM");
        program = named.map(|(_, program)| program.clone()).or(program);
        config.override_with(variables)?;
    }
    let program = program.or_else(|| certificates::program_in(&config));
    Ok(Patient { config, program, identity: args.identity.clone() })
}

async fn look_at(patient: &Patient, findings: &mut Findings) {
    let Some(program) = &patient.program else {
        let says = "nothing says which program this is about: set SKYBOX_PROGRAM, as for its nodes, or name the file that \
                    sets it with --environment-file";
        return findings.add(Level::Error, "configuration", says);
    };
    certificates::look(patient, program, findings);
    let store = match patient.config.store() {
        Ok(Some(store)) => store,
        Ok(None) => {
            let says = "no store is configured, so nodes of several machines do not find each other: set SKYBOX_STORE, as for \
                        the nodes, or name the file that sets it with --environment-file";
            return findings.add(Level::Error, "store", says);
        }
        Err(error) => return findings.add(Level::Error, "store", TextChain::of(&error).joined()),
    };
    let store = store.of_node(patient.config.node().name.as_deref().unwrap_or_default());
    #[cfg(feature = "etcd")]
    if let Some(etcd) = store::look(&store, program, findings).await {
        nodes::look(patient, program, &etcd, findings).await;
    }
    #[cfg(not(feature = "etcd"))]
    findings.add(
        Level::Warning,
        "store",
        format!("{store} was not asked: this `skybox` is built without its feature `etcd`"),
    );
}
