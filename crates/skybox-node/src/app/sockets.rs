//! Where a node listens: to its own user's processes on a Unix socket, and to other nodes over TCP if it is told so,
//! with TLS as soon as another machine could connect.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use skybox_core::NodeName;

use super::AppError;
use super::identity::{Identity, own_name};
use crate::config::{Config, Place, StoreConfig, TlsFiles};
use crate::conn::{Address, Listener};

/// Where a node of a cloud listens if nothing is said: with certificates, and without.
const ANYWHERE: &str = "0.0.0.0:0";
const LOOPBACK: &str = "127.0.0.1:0";

/// A node's sockets, and what it shows at them.
pub(super) struct Sockets {
    pub(super) listeners: Vec<Listener>,
    /// Where other nodes find it.
    pub(super) address: Address,
    #[cfg(feature = "tls")]
    pub(super) tls: Security,
    /// Who says where the other nodes are, if there is no parent.
    pub(super) others: Others,
}

/// Who says where the other nodes are.
pub(super) enum Others {
    /// There are none, or the parent knows them.
    None,
    /// Their addresses are given by hand, and nobody plans.
    ByHand(BTreeMap<NodeName, String>),
    /// The store.
    Cloud(StoreConfig),
}

/// What this node's TCP connections are made with.
#[cfg(feature = "tls")]
pub(crate) type Security = Option<Arc<crate::conn::tls::Tls>>;
/// Without the feature `tls` there is only plain TCP, on the loopback interface.
#[cfg(not(feature = "tls"))]
pub(crate) type Security = Option<Arc<std::convert::Infallible>>;

/// What code has asked for, before the configuration.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) address: Option<String>,
    pub(super) tls: Option<TlsFiles>,
}

impl Sockets {
    /// Of an App that nobody connects to.
    pub(super) fn none(identity: &Identity) -> Sockets {
        Sockets {
            listeners: Vec::new(),
            address: identity.address(),
            #[cfg(feature = "tls")]
            tls: None,
            others: Others::None,
        }
    }

    /// Binds them. The node's name, where nothing else says it, is the one in its certificate.
    ///
    /// # Errors
    /// [`AppError`]: an address is in use, a certificate is wrong, other machines could connect without TLS.
    pub(super) async fn open(
        identity: &mut Identity,
        config: &Config,
        asked: Asked,
    ) -> Result<Sockets, AppError> {
        let alone = identity.parent.is_none();
        if alone && !identity.main {
            return Ok(Sockets::none(identity));
        }
        let hand = config.node();
        // Under a parent, `[node]` is for the machines where this program runs without one.
        let listen = hand.listen.as_ref().filter(|(_, place)| alone || matches!(place, Place::Variable(_)));
        let listen = asked.address.or_else(|| listen.map(|(address, _)| address.clone()));
        let store = if alone { config.store()? } else { None };
        let by_hand = alone && store.is_none() && (listen.is_some() || !hand.peers.is_empty());
        let mut tls = None;
        let mut listen = listen;
        if listen.is_some() || by_hand || store.is_some() {
            let files = asked.tls.map_or_else(|| config.tls(), |files| Ok(Some(files)))?;
            if store.is_some() {
                // Whoever is told nothing by a person listens where others may connect.
                let anywhere = if files.is_some() { ANYWHERE } else { LOOPBACK };
                listen = listen.or_else(|| Some(anywhere.to_owned()));
            }
            let mut known = if alone { hand.name.clone() } else { Some(identity.node.to_string()) };
            if store.is_some() && files.is_none() {
                known = known.or_else(|| Some(own_name()));
            }
            let (name, loaded) = secure(&identity.program, known, files)?;
            identity.node = NodeName::new(name);
            tls = loaded;
        }
        let mut peers: BTreeMap<_, _> =
            hand.peers.iter().map(|(name, at)| (NodeName::new(name.clone()), at.clone())).collect();
        let own = peers.remove(&identity.node);
        if let (Some(store), false) = (&store, peers.is_empty()) {
            return Err(AppError::PeersAndStore { store: store.to_string() });
        }
        let tcp = listen.or(own.filter(|_| by_hand));
        let local = identity.address();
        let mut listeners: Vec<_> = local_listener(&local, alone).await?.into_iter().collect();
        let mut address = local;
        if let Some(tcp) = tcp {
            let (listener, at) = tcp_listener(tcp, tls.is_some()).await?;
            listeners.push(listener);
            address = match (&hand.advertise, &store) {
                (Some(known), Some(_)) => known.parse().unwrap_or_else(|never: Infallible| match never {}),
                (None, Some(store)) => seen_from(&at, store).await,
                (_, None) => at,
            };
        }
        Ok(Sockets {
            listeners,
            address,
            #[cfg(feature = "tls")]
            tls,
            others: match store {
                Some(store) => Others::Cloud(store.of_node(identity.node.as_str())),
                None if by_hand => Others::ByHand(peers),
                None => Others::None,
            },
        })
    }
}

/// Where other nodes find what is bound to every address of this machine: at the one from which the store is reached. No
/// packet is sent to find out.
async fn seen_from(bound: &Address, store: &StoreConfig) -> Address {
    let Address::Tcp(text) = bound else { return bound.clone() };
    let Some(at) = text.parse::<SocketAddr>().ok().filter(|at| at.ip().is_unspecified()) else {
        return bound.clone();
    };
    let members = store.members();
    for member in members.iter().map(|member| member.rsplit("//").next().unwrap_or(member)) {
        let Ok(found) = tokio::net::lookup_host(member).await else { continue };
        for member in found {
            let any = if member.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let from = std::net::UdpSocket::bind(any).and_then(|socket| {
                socket.connect(member)?;
                socket.local_addr()
            });
            if let Ok(from) = from {
                return Address::Tcp(SocketAddr::new(from.ip(), at.port()).to_string());
            }
        }
    }
    bound.clone()
}

async fn local_listener(address: &Address, alone: bool) -> Result<Option<Listener>, AppError> {
    match Listener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        // Alone, the socket is for operators: a program runs without it.
        Err(error) if alone => {
            tracing::debug!("no socket for operators at {address}: {error}");
            Ok(None)
        }
        Err(source) => Err(AppError::Listen { address: address.to_string(), source }),
    }
}

async fn tcp_listener(address: String, secure: bool) -> Result<(Listener, Address), AppError> {
    let asked = Address::Tcp(address.clone());
    let listener = Listener::bind(&asked).await;
    let listener = listener.map_err(|source| AppError::Listen { address: address.clone(), source })?;
    if !secure && !listener.is_private() {
        return Err(AppError::Unsafe { address });
    }
    let bound = listener.local_address(&asked);
    Ok((listener, bound))
}

/// Loads the certificate, and settles the node's name.
#[cfg(feature = "tls")]
fn secure(
    program: &str,
    name: Option<String>,
    files: Option<TlsFiles>,
) -> Result<(String, Security), AppError> {
    use crate::conn::tls::{Identity, Tls};
    let Some(files) = files else { return Ok((name.ok_or(AppError::Nameless)?, None)) };
    if name.is_none() && files.needs_name() {
        return Err(AppError::Nameless);
    }
    let files = files.of_node(name.as_deref().unwrap_or_default());
    let certificate = files.certificate.clone();
    let tls = Tls::load(program, files)?;
    let identity = tls.identity();
    match (&identity, name) {
        (Identity::Node(of), None) => Ok((of.clone(), Some(Arc::new(tls)))),
        (Identity::Node(of), Some(name)) if *of == name => Ok((name, Some(Arc::new(tls)))),
        (_, name) => Err(AppError::OthersCertificate {
            certificate,
            of: identity.to_string(),
            node: name.unwrap_or_else(|| "a node".to_owned()),
        }),
    }
}

#[cfg(not(feature = "tls"))]
fn secure(
    _program: &str,
    name: Option<String>,
    files: Option<TlsFiles>,
) -> Result<(String, Security), AppError> {
    match files {
        None => Ok((name.ok_or(AppError::Nameless)?, None)),
        Some(_) => Err(AppError::BuiltWithoutTls),
    }
}
