//! `/livez`, `/readyz` and `/metrics` on `[admin] address`.
//!
//! The nodes of one machine share the address, and any of them answers for all: there is one figure for each node,
//! and the machine is ready as long as one node is.

use crate::app::{App, AppError};
#[cfg(feature = "admin")]
use crate::{app::AppInner, conn::Address, control::Leave, exposition::Figures, operate::Operator};

/// Serves them, if the configuration says where.
#[cfg(feature = "admin")]
pub(crate) async fn serve(app: &App) -> Result<(), AppError> {
    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper::{Request, Response, StatusCode};
    use hyper_util::rt::TokioIo;

    /// Connections that may be open at once. A probe and a scraper need two.
    const CONNECTIONS_MAX: usize = 64;

    let Some(address) = app.inner().config.admin() else { return Ok(()) };
    let failed = |source| AppError::Listen { address: address.to_owned(), source };
    let Some(listener) = app.inner().control.listener("admin", address).await.map_err(AppError::Listener)?
    else {
        return Ok(());
    };
    app.inner().gave_out("admin", &listener);
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    tracing::info!("admin: http://{}", listener.local_addr().map_err(failed)?);
    let weak = std::sync::Arc::downgrade(app.inner());
    app.inner().runtime.spawn(async move {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else { continue };
            let weak = weak.clone();
            tokio::spawn(async move {
                let answer = service_fn(move |request: Request<Incoming>| {
                    let app = weak.upgrade().map(App::from_inner);
                    async move {
                        let ready = app.as_ref().is_some_and(|app| is_ready(app.inner()));
                        let (status, body) = match (request.uri().path(), app) {
                            ("/livez", Some(_)) => (StatusCode::OK, "alive\n".to_owned()),
                            ("/readyz", Some(_)) if ready => (StatusCode::OK, "ready\n".to_owned()),
                            ("/readyz" | "/livez", _) => {
                                (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
                            }
                            ("/metrics", Some(app)) => (StatusCode::OK, figures(&app).await),
                            _ => {
                                (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".to_owned())
                            }
                        };
                        Response::builder().status(status).body(Full::new(Bytes::from(body)))
                    }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
                if let Err(error) = served {
                    tracing::debug!("an admin connection ended: {error}");
                }
                drop(place);
            });
        }
    });
    Ok(())
}

/// Whether this node takes calls from outside and has started what it was told to run, or leaves while others go on that
/// answer at the same address.
///
/// What is moved here later does not count: a node that goes on serving is not taken out of rotation for it.
#[cfg(feature = "admin")]
fn is_ready(app: &AppInner) -> bool {
    let others = || {
        app.control.plans().borrow().nodes.iter().any(|(node, entry)| *node != app.node && !entry.draining)
    };
    let handing_over = || *app.control.leaving().borrow() == Some(Leave::HandOver);
    let is_set = |flag: &std::sync::atomic::AtomicBool| flag.load(std::sync::atomic::Ordering::Acquire);
    (is_set(&app.ready) && is_set(&app.warm)) || (handing_over() && others())
}

/// The figures of every node of this machine; of those that answer in time.
#[cfg(feature = "admin")]
async fn figures(app: &App) -> String {
    /// A node that is as slow as this has other trouble than a missing figure.
    const PEER_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

    let inner = app.inner();
    let plan = inner.control.plans().borrow().clone();
    // Those of other machines are asked there: nobody collects through one node what a whole cloud has.
    let here = plan.nodes.iter().filter_map(|(node, entry)| {
        let Ok(address) = entry.address.parse::<Address>();
        (*node != inner.node && !matches!(address, Address::Tcp(_))).then_some((node, address))
    });
    let asked = here.map(|(node, address)| {
        let program = inner.program.clone();
        let ask = async move { Operator::connect(&program, &address).await?.status().await };
        (node, inner.runtime.spawn(tokio::time::timeout(PEER_WAIT, ask)))
    });
    let asked: Vec<_> = asked.collect();
    let mut nodes = vec![Figures::of(inner)];
    for (node, asked) in asked {
        match asked.await {
            Ok(Ok(Ok(status))) => nodes.push(Figures {
                node: node.to_string(),
                edges: status.edges,
                handshakes: status.handshakes,
                plan: status.plan,
            }),
            _ => crate::log_limit::warn("figures", &format!("{node} did not say its figures")),
        }
    }
    crate::exposition::render(&nodes)
}

/// Says that it cannot, if it is asked to.
#[cfg(not(feature = "admin"))]
pub(crate) async fn serve(app: &App) -> Result<(), AppError> {
    match app.inner().config.admin() {
        None => Ok(()),
        Some(_) => Err(AppError::Split(
            "`[admin] address` is set, but the program is built without the feature `admin` of skybox"
                .to_owned(),
        )),
    }
}
