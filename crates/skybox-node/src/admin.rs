//! `/livez`, `/readyz` and `/metrics` on `[admin] address`.

use crate::app::{App, AppError};

/// Serves them, if the configuration says where.
#[cfg(feature = "admin")]
pub(crate) async fn serve(app: &App) -> Result<(), AppError> {
    use std::sync::atomic::Ordering;

    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper::{Request, Response, StatusCode};
    use hyper_util::rt::TokioIo;

    /// Connections that may be open at once. A probe and a scraper need two.
    const CONNECTIONS_MAX: usize = 64;

    let Some(address) = app.inner().config.admin() else { return Ok(()) };
    let failed = |source| AppError::Listen { address: address.to_owned(), source };
    let Some(listener) = app.inner().control.listener("admin", address).await.map_err(AppError::Listener)? else { return Ok(()) };
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
                        let ready = app.as_ref().is_some_and(|app| app.inner().ready.load(Ordering::Relaxed));
                        let (status, body) = match (request.uri().path(), app) {
                            ("/livez", Some(_)) => (StatusCode::OK, "alive\n".to_owned()),
                            ("/readyz", Some(_)) if ready => (StatusCode::OK, "ready\n".to_owned()),
                            ("/readyz" | "/livez", _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
                            ("/metrics", Some(app)) => (StatusCode::OK, app.metrics()),
                            _ => (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".to_owned()),
                        };
                        Response::builder().status(status).body(Full::new(Bytes::from(body)))
                    }
                });
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                if let Err(error) = served {
                    tracing::debug!("an admin connection ended: {error}");
                }
                drop(place);
            });
        }
    });
    Ok(())
}

/// Says that it cannot, if it is asked to.
#[cfg(not(feature = "admin"))]
pub(crate) async fn serve(app: &App) -> Result<(), AppError> {
    match app.inner().config.admin() {
        None => Ok(()),
        Some(_) => Err(AppError::Split("`[admin] address` is set, but the program is built without the feature `admin` of skybox".to_owned())),
    }
}
