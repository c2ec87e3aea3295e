//! The node's certificate, and the operator's: whether peers let them in, and for how long.

use std::time::Duration;

use skybox_core::TextChain;
use skybox_node::config::{Config, TlsFiles};
use skybox_node::tls::{Identity, judge_files, uris_in};

use super::Patient;
use super::finding::{Findings, Level};

const ABOUT: &str = "certificate";
/// A certificate that ends before is said to.
const SOON: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 24 * 3_600;

/// The program that the node's certificate is for.
pub(super) fn program_in(config: &Config) -> Option<String> {
    let files = of_node(config, config.tls().ok()??);
    let uris = uris_in(&std::fs::read(files.certificate).ok()?).ok()?;
    uris.iter().find_map(|uri| uri.strip_prefix("spiffe://")?.split('/').next()).map(str::to_owned)
}

fn of_node(config: &Config, files: TlsFiles) -> TlsFiles {
    files.of_node(config.node().name.as_deref().unwrap_or_default())
}

pub(super) fn look(patient: &Patient, program: &str, findings: &mut Findings) {
    match patient.config.tls() {
        Err(error) => findings.add(Level::Error, ABOUT, TextChain::of(&error).joined()),
        Ok(None) => findings.add(
            Level::Warning,
            ABOUT,
            "the node has none, so only nodes of this machine reach it: `skybox certs` makes one, and SKYBOX_TLS__AUTHORITY, \
             SKYBOX_TLS__CERTIFICATE and SKYBOX_TLS__KEY name its files",
        ),
        Ok(Some(files)) if files.needs_name() && patient.config.node().name.is_none() => findings.add(
            Level::Error,
            ABOUT,
            "`{node}` stands in the paths of its files, and nothing says which node this is: set \
                SKYBOX_NODE__NAME",
        ),
        Ok(Some(files)) => {
            let files = of_node(&patient.config, files);
            judge(program, &files, patient.config.node().name.as_deref(), findings);
        }
    }
    if let Some(identity) = &patient.identity {
        judge(program, &crate::choose::operator_files(identity), None, findings);
    }
}

/// `node`: whose it has to be, if that is known.
fn judge(program: &str, files: &TlsFiles, node: Option<&str>, findings: &mut Findings) {
    let file = files.certificate.display();
    let (identity, lasts) = match judge_files(program, files) {
        Ok(judged) => judged,
        Err(error) => return findings.add(Level::Error, ABOUT, TextChain::of(&error).joined()),
    };
    if let (Identity::Node(of), Some(node)) = (&identity, node)
        && of != node
    {
        let says = format!("{file} is that of node {of}, and this is node {node}: give each node its own");
        return findings.add(Level::Error, ABOUT, says);
    }
    let days = lasts.as_secs() / DAY;
    match lasts < SOON {
        true => findings.add(
            Level::Warning,
            ABOUT,
            format!(
                "{file} is {identity}'s and ends in {days} days: renew it; a node takes new \
                files up while it runs"
            ),
        ),
        false => findings.add(Level::Ok, ABOUT, format!("{file} is {identity}'s, for {days} days more")),
    }
}
