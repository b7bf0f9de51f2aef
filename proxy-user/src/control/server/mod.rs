//! Server of the control API: HTTP/1.1 over a Unix socket.
//!
//! The kernel names the process at the other end. Everyone whom the socket's mode lets in may read; root, the daemon's
//! own user and members of the socket's group may change things.

#[allow(unused_qualifications, reason = "in the code that utoipa::path makes")]
mod acl;
mod daemon;
mod extract;
#[allow(unused_qualifications, reason = "in the code that utoipa::path makes")]
mod l7;
#[allow(unused_qualifications, reason = "in the code that utoipa::path makes")]
mod l7_settings;
#[allow(unused_qualifications, reason = "in the code that utoipa::path makes")]
mod lookup;
mod problem;
#[allow(unused_qualifications, reason = "in the code that utoipa::path makes")]
mod registry;
mod render;
mod service;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::Method;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tower::ServiceExt;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::socket::Writers;
pub use self::socket::{Socket, SocketError};
use super::door::Door;
use super::types::{Code, Peer};
use crate::catalog::Refusal;
use crate::metrics::Metrics;

/// Serves the API until the future is dropped.
pub async fn serve(socket: Socket, door: Door, metrics: Arc<Metrics>) {
    let app = router(Api { door, metrics, writers: socket.writers() });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match socket.listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket did not accept a connection");
                // Out of descriptors, most likely: let others end first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = places.clone().try_acquire_owned();
        let app = app.clone();
        connections.spawn(async move {
            let Ok(credentials) = stream.peer_cred() else { return };
            let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() };
            let full = place.is_err();
            let _place = place;
            serve_connection(stream, app, peer, full).await;
        });
    }
}

/// The description of the API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().split_for_parts().1
}

async fn serve_connection(stream: UnixStream, app: Router, peer: Peer, full: bool) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let app = app.clone();
        async move {
            if full {
                return Ok(overloaded());
            }
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let answer = tokio::time::timeout(CALL_TIME, app.oneshot(request)).await;
            answer.unwrap_or_else(|_| Ok(timed_out()))
        }
    });
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).keep_alive(!full);
    if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the control socket broke");
    }
}

fn overloaded() -> Response {
    Refusal::new(Code::Overloaded, format!("{CONNECTIONS} connections are open"))
        .hint("try again in a moment")
        .into_response()
}

fn timed_out() -> Response {
    Refusal::new(Code::Timeout, format!("the call took more than {} s", CALL_TIME.as_secs()))
        .hint("the change may have been applied: check `weir status`")
        .into_response()
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Api {
    door: Door,
    metrics: Arc<Metrics>,
    writers: Writers,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "weir control API",
    description = "Changes and shows what weir does. Every read has the generation as its ETag; every change takes it in \
                   If-Match. Every error is a problem (RFC 9457) with a stable code.",
    license(name = "Apache-2.0 OR MIT")
))]
struct Description;

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(daemon::status))
        .routes(routes!(daemon::live))
        .routes(routes!(daemon::ready))
        .routes(routes!(daemon::stats))
        .routes(routes!(daemon::config))
        .routes(routes!(daemon::reload))
        .routes(routes!(daemon::explain))
        .routes(routes!(daemon::detach))
        .routes(routes!(daemon::metrics))
        .routes(routes!(acl::lists))
        .routes(routes!(acl::get_list, acl::put_list, acl::patch_list, acl::delete_list))
        .routes(routes!(lookup::lookup))
        .routes(routes!(service::list))
        .routes(routes!(service::get, service::put, service::delete))
        .routes(routes!(service::get_backend, service::put_backend, service::delete_backend))
        .routes(routes!(service::weight))
        .routes(routes!(service::drain))
        .routes(routes!(service::undrain))
        .routes(routes!(l7_settings::get, l7_settings::put, l7_settings::delete))
        .routes(routes!(registry::list))
        .routes(routes!(registry::get))
        .routes(routes!(registry::sync_all))
        .routes(routes!(registry::sync))
        .routes(routes!(registry::endpoints))
        .routes(routes!(registry::accept))
        .routes(routes!(registry::publish))
        .routes(routes!(l7::status))
        .routes(routes!(l7::connections))
        .routes(routes!(l7::routes))
        .routes(routes!(l7::explain))
}

fn router(api: Api) -> Router {
    let (router, description) = routes().split_for_parts();
    router
        .route(
            "/openapi.json",
            axum::routing::get(|Extension(text): Extension<Arc<str>>| async move {
                ([("content-type", "application/json")], text.to_string())
            }),
        )
        .layer(Extension::<Arc<str>>(description.to_pretty_json().unwrap_or_default().into()))
        .method_not_allowed_fallback(async |request: Request| {
            let method = request.method().clone();
            Refusal::new(
                Code::MethodNotAllowed,
                format!("{method} is not possible at {}", request.uri().path()),
            )
            .hint("the Allow header and /openapi.json list the methods of each call")
        })
        .fallback(async |request: Request| {
            Refusal::new(Code::UnknownRoute, format!("there is no call at {}", request.uri().path()))
                .hint("/openapi.json lists the calls")
        })
        .layer(from_fn_with_state(api.clone(), gate))
        .with_state(api)
}

/// Lets changes through only from those who may, and counts the calls.
async fn gate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let explains = matches!(route.as_str(), "/v1/explain" | "/v1/explain/l7");
    let reads = explains || matches!(*request.method(), Method::GET | Method::HEAD);
    let peer = request.extensions().get::<Peer>().copied();
    let answer = if reads || peer.is_some_and(|peer| api.writers.allow(peer)) {
        next.run(request).await
    } else {
        Refusal::new(Code::NotPermitted, "this process may read, not change")
            .hint("run it as root, as the daemon's user, or as a member of the socket's group")
            .into_response()
    };
    api.metrics.count_request(&route, answer.status().as_u16());
    answer
}

/// Connections at once.
const CONNECTIONS: usize = 128;
/// Time for the head of a request to arrive.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Time for a call as a whole.
const CALL_TIME: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
