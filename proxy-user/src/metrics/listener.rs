//! The optional loopback listener for Prometheus and for probes: `GET /metrics`, `/livez`, `/readyz`, and the shapes of
//! Layotto's actuator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{Metrics, actuator};
use crate::control::door::Door;

/// Why the listener cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// Others could reach it.
    #[error(
        "metrics are served on loopback only, not on {0} (use 127.0.0.1 or [::1] and a proxy in front of it)"
    )]
    NotLoopback(SocketAddr),
    /// The kernel refuses.
    #[error("cannot listen on {address} for metrics: {source} (is the port taken? choose another)")]
    Io {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Listens on a loopback address.
///
/// # Errors
/// When it is not loopback, or the kernel refuses.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenerError> {
    if !address.ip().is_loopback() {
        return Err(ListenerError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| ListenerError::Io { address, source })
}

/// Serves metrics until the future is dropped.
pub async fn serve(listener: TcpListener, door: Door, metrics: Arc<Metrics>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (door, metrics) = (door.clone(), metrics.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (door, metrics) = (door.clone(), metrics.clone());
                async move { Ok::<_, std::convert::Infallible>(answer(&request, &door, &metrics).await) }
            });
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            let served = connection.serve_connection(TokioIo::new(stream), service);
            // A scraper's kept-alive connection ends with its next silence.
            let _ = tokio::time::timeout(CONNECTION_TIME, served).await;
            drop(place);
        });
    }
}

async fn answer(request: &Request<Incoming>, door: &Door, metrics: &Metrics) -> Response<Full<Bytes>> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    let (status, kind, body) = match (path, actuator::answer(path, &door.view(), door.alive())) {
        ("/metrics", _) | (_, Some(_)) if !reads => {
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into())
        }
        ("/metrics", _) => {
            let stats = door.stats().await.ok();
            (StatusCode::OK, super::CONTENT_TYPE, metrics.text(&door.view(), stats.as_deref()))
        }
        (_, Some(found)) => {
            let status = if found.up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, found.kind, found.body)
        }
        (_, None) => (StatusCode::NOT_FOUND, TEXT, ELSE.into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// What is not there.
const ELSE: &str = "only /metrics, /livez, /readyz, /actuator/health/liveness, /actuator/health/readiness and \
                    /actuator/info are served here\n";
/// Media type of a sentence.
const TEXT: &str = "text/plain; charset=utf-8";
/// Connections at once.
const CONNECTIONS: usize = 16;
/// Longest life of a connection.
const CONNECTION_TIME: Duration = Duration::from_secs(600);
