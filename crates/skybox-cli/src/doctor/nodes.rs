//! The nodes of the cloud: who plans, and whether each is reached from here.

use std::collections::BTreeMap;
use std::time::Duration;

use skybox_cloud::records::{LEADER, Leader, NODE, Node};
use skybox_cloud::store::{Etcd, Store};
use skybox_core::{NodeName, TextChain};
use skybox_node::{Address, Operator};

use super::Patient;
use super::finding::{Findings, Level};

const ABOUT: &str = "nodes";
/// A node may take so long to say how it is.
const NODE_WAIT: Duration = Duration::from_secs(5);

pub(super) async fn look(patient: &Patient, program: &str, etcd: &Etcd, findings: &mut Findings) {
    let listed = match etcd.list(NODE).await {
        Ok(listed) => listed,
        Err(error) => return findings.add(Level::Error, ABOUT, TextChain::of(&error).joined()),
    };
    let nodes: Vec<Node> =
        listed.entries.iter().filter_map(|entry| serde_json::from_str(&entry.value).ok()).collect();
    if nodes.is_empty() {
        return findings.add(Level::Ok, ABOUT, format!("no node of {program} has joined yet"));
    }
    let mut by_name: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in &nodes {
        by_name.entry(node.name.as_str()).or_default().push(node);
    }
    for (name, lives) in by_name.iter().filter(|(_, lives)| lives.len() > 1) {
        let at: Vec<_> = lives.iter().map(|life| life.address.as_str()).collect();
        let says = format!(
            "{name} is there {} times, at {}: one of them may have ended just now; if not, two processes have one name, and \
             only the newer one is used",
            lives.len(),
            at.join(" and ")
        );
        findings.add(Level::Warning, ABOUT, says);
    }
    let asked: Vec<_> = nodes
        .iter()
        .map(|node| {
            tokio::spawn(ask(
                program.to_owned(),
                node.name.clone(),
                node.address.clone(),
                files(patient),
                has_tls(patient),
            ))
        })
        .collect();
    for (node, asked) in nodes.iter().zip(asked) {
        let (name, address) = (&node.name, &node.address);
        let said = asked.await.unwrap_or_else(|error| Err(error.to_string()));
        match said {
            Ok(Said::Ready) => findings.add(Level::Ok, ABOUT, format!("{name} answers at {address}")),
            Ok(Said::NotReady) => {
                findings.add(
                    Level::Warning,
                    ABOUT,
                    format!(
                        "{name} answers at {address}, and is \
                    not ready: it starts or leaves"
                    ),
                );
            }
            Ok(Said::Nothing) => findings.add(
                Level::Warning,
                ABOUT,
                format!(
                    "{name} listens at {address}, and was not asked how it is: say --identity, \
                    with an operator's certificate"
                ),
            ),
            Ok(Said::Other(other)) => findings.add(
                Level::Error,
                ABOUT,
                format!(
                    "{other} answers at {address}, which is where {name} says it is: look at \
                    SKYBOX_NODE__ADVERTISE of both"
                ),
            ),
            Err(why) => findings.add(
                Level::Error,
                ABOUT,
                format!(
                    "{name} is not reached at {address}: {why}. Look at firewalls, and at its \
                    SKYBOX_NODE__ADVERTISE"
                ),
            ),
        }
    }
    // At last: a cloud that has just begun has elected somebody by now.
    who_plans(etcd, findings).await;
}

async fn who_plans(etcd: &Etcd, findings: &mut Findings) {
    let listed = etcd.list(LEADER).await.ok();
    let leader =
        listed.and_then(|listed| serde_json::from_str::<Leader>(&listed.entries.first()?.value).ok());
    match leader {
        Some(leader) => findings.add(Level::Ok, ABOUT, format!("{} plans", leader.name)),
        None => findings.add(
            Level::Error,
            ABOUT,
            "nobody plans: an election is under way, or no node reaches etcd; look again in some seconds",
        ),
    }
}

/// What a node has said.
enum Said {
    Ready,
    NotReady,
    /// It was not asked.
    Nothing,
    /// It is another node.
    Other(String),
}

fn files(patient: &Patient) -> Option<skybox_node::config::TlsFiles> {
    patient.identity.as_deref().map(crate::choose::operator_files)
}

fn has_tls(patient: &Patient) -> bool {
    matches!(patient.config.tls(), Ok(Some(_)))
}

async fn ask(
    program: String,
    name: NodeName,
    address: String,
    files: Option<skybox_node::config::TlsFiles>,
    has_tls: bool,
) -> Result<Said, String> {
    let asking = async {
        let operator = match (files, has_tls) {
            (Some(files), _) => Operator::connect_tls(&program, &address, files).await,
            (None, true) => {
                let connected = tokio::net::TcpStream::connect(&address).await;
                return connected.map(|_| Said::Nothing).map_err(|error| error.to_string());
            }
            (None, false) => {
                let Ok(address) = address.parse::<Address>();
                Operator::connect(&program, &address).await
            }
        };
        let told = |error| TextChain::of(&error).joined();
        let status = operator.map_err(told)?.status().await.map_err(told)?;
        Ok(match status.ready {
            _ if status.node != name => Said::Other(status.node.to_string()),
            true => Said::Ready,
            false => Said::NotReady,
        })
    };
    tokio::time::timeout(NODE_WAIT, asking)
        .await
        .unwrap_or_else(|_| Err(format!("it says nothing for {NODE_WAIT:?}")))
}
