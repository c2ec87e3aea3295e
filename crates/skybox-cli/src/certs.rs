//! `skybox certs`: an authority in a directory, and what it issues.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use skybox_cloud::certs::{AUTHORITY_CERTIFICATE, AUTHORITY_KEY, Authority, CertsError};
use skybox_node::config::TlsFiles;
use skybox_node::tls::Identity;

use crate::args::{CertsArgs, CertsCommand};

/// Makes what was asked for, and says what is to be done with it.
pub(crate) fn certs(args: &CertsArgs) -> anyhow::Result<ExitCode> {
    let text = match &args.what {
        CertsCommand::Init(init) => make_authority(&init.program, init.days, &init.at.directory)?,
        CertsCommand::Node(of) => {
            let identity = Identity::Node(of.node.to_string());
            let (files, program) = issue(&identity, of.days, &of.at.directory)?;
            format!(
                "{} is a node of {program}, for {}; give it these three files:\n{}",
                of.node,
                days(of.days),
                toml_of(&files)
            )
        }
        CertsCommand::Operator(of) => {
            let identity = Identity::Operator { right: of.role, name: of.name.clone() };
            let (files, program) = issue(&identity, of.days, &of.at.directory)?;
            format!(
                "{} may {} in {program}, for {}\n  {}\n  {}\n  {}\n",
                of.name,
                allowed(of.role),
                days(of.days),
                files.authority.display(),
                files.certificate.display(),
                files.key.display()
            )
        }
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn make_authority(program: &str, valid: u32, directory: &Path) -> Result<String, CertsError> {
    let authority = Authority::make(program, lifetime(valid))?;
    authority.save(directory)?;
    Ok(format!(
        "{} is the authority of {}, for {}\n  {}  every node and operator needs it\n  {}  keep it here: who has it can make nodes\n",
        directory.display(),
        authority.program(),
        days(valid),
        directory.join(AUTHORITY_CERTIFICATE).display(),
        directory.join(AUTHORITY_KEY).display(),
    ))
}

fn issue(identity: &Identity, valid: u32, directory: &Path) -> Result<(TlsFiles, String), CertsError> {
    let authority = Authority::open(directory)?;
    let files = authority.issue(identity, lifetime(valid))?.write(directory)?;
    Ok((files, authority.program().to_owned()))
}

fn lifetime(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 3600)
}

fn days(days: u32) -> String {
    if days == 1 { "a day".to_owned() } else { format!("{days} days") }
}

fn allowed(right: skybox_node::Right) -> &'static str {
    match right {
        skybox_node::Right::Read => "look",
        skybox_node::Right::Call => "look and call",
        skybox_node::Right::Admin => "look, call and change what runs",
    }
}

fn toml_of(files: &TlsFiles) -> String {
    format!(
        "  [tls]\n  authority = \"{}\"\n  certificate = \"{}\"\n  key = \"{}\"\n",
        files.authority.display(),
        files.certificate.display(),
        files.key.display()
    )
}
