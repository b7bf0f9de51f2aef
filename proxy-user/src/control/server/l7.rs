//! Calls about the L7 path. They look at the workers themselves, and never wait for the daemon's loop.

use axum::Json as Reply;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::extract::{Json, Params};
use super::problem::Answer;
use super::render::{number, tagged};
use super::service::unknown_service;
use crate::catalog::Refusal;
use crate::control::l7;
use crate::control::types::{Code, L7Answer, L7Connections, L7Query, L7Routes, L7Status, Problem};
use crate::l7::explain::{self, L7ExplainError};

/// Workers of the L7 path: processes, generations, connections, restarts, what is wrong.
#[utoipa::path(get, path = "/v1/l7", tag = "l7", responses(
    (status = 200, body = L7Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn status(State(api): State<Api>) -> Response {
    let view = api.door.view();
    tagged(view.generation, &l7::status(view.l7.as_ref()))
}

/// Which connections.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConnectionParams {
    /// Those of this service; all without it.
    service: Option<String>,
    /// So many of each worker at most, up to 1000.
    #[serde(default = "hundred")]
    #[param(default = 100)]
    limit: u32,
}

/// Live connections of clients, a bounded number of each worker's.
#[utoipa::path(get, path = "/v1/l7/connections", tag = "l7", params(ConnectionParams), responses(
    (status = 200, body = L7Connections),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn connections(State(api): State<Api>, Params(asked): Params<ConnectionParams>) -> Answer {
    let view = api.door.view();
    if let Some(service) = asked.service.as_ref().filter(|name| !view.desired.services.contains_key(*name)) {
        return Err(unknown_service(service));
    }
    let answers = match &view.l7 {
        Some(observer) => observer.connections(asked.service, asked.limit.min(MOST)).await,
        None => Default::default(),
    };
    let found = L7Connections {
        more: answers.listed.values().any(|listed| listed.more),
        connections: answers.listed.into_values().flat_map(|listed| listed.connections).collect(),
        silent: answers.silent.into_iter().collect(),
    };
    Ok(tagged(view.generation, &found))
}

/// Which service's routes.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteParams {
    /// Those of this service; all without it.
    service: Option<String>,
}

/// What workers route by: services, virtual hosts, routes in order.
#[utoipa::path(get, path = "/v1/l7/routes", tag = "l7", params(RouteParams), responses(
    (status = 200, body = L7Routes),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn routes(State(api): State<Api>, Params(asked): Params<RouteParams>) -> Answer {
    let view = api.door.view();
    let only = asked.service.as_deref();
    if let Some(service) = only.filter(|name| !view.desired.services.contains_key(*name)) {
        return Err(unknown_service(service));
    }
    let mut found = L7Routes { generation: None, acknowledged: 0, workers: 0, services: Vec::new() };
    if let Some(observer) = &view.l7 {
        let views = observer.views();
        found.workers = number(views.len());
        observer.with_snapshot(|snapshot| {
            found.generation = Some(snapshot.generation);
            found.acknowledged = l7::acknowledged(&views, snapshot.generation);
            found.services = explain::routes(snapshot, only);
        });
    }
    Ok(tagged(view.generation, &found))
}

/// Says what becomes of a request by the routes that workers have; sends nothing and changes nothing.
#[utoipa::path(post, path = "/v1/explain/l7", tag = "l7", request_body = L7Query, responses(
    (status = 200, body = L7Answer),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn explain(State(api): State<Api>, Json(query): Json<L7Query>) -> Answer<Reply<L7Answer>> {
    let view = api.door.view();
    let explained = view.l7.as_ref().and_then(|observer| {
        let (stats, workers) = (observer.stats(), number(observer.views().len()));
        observer.with_snapshot(|snapshot| explain::explain(snapshot, &stats, workers, &query))
    });
    match explained {
        Some(Ok(answer)) => Ok(Reply(answer)),
        Some(Err(error)) => Err(refusal(&error)),
        None => Err(Refusal::new(Code::InvalidState, "no service is of mode l7, so that there are no routes")
            .hint("`forward = \"l7\"` in a service makes it one; `weir explain SRC DST PROTO PORT` explains packets")),
    }
}

fn refusal(error: &L7ExplainError) -> Refusal {
    let code = match error {
        L7ExplainError::UnknownService(_) => Code::UnknownService,
        L7ExplainError::Url(_) | L7ExplainError::Control(_) | L7ExplainError::Long(_) => Code::InvalidRequest,
        L7ExplainError::OtherCodec { .. }
        | L7ExplainError::NobodyAt(_)
        | L7ExplainError::Nobody { .. }
        | L7ExplainError::Several { .. } => Code::InvalidState,
    };
    Refusal::new(code, error.to_string()).hint("`weir l7 routes` shows services, hosts and routes")
}

const fn hundred() -> u32 {
    100
}

/// Connections of each worker at most.
const MOST: u32 = 1_000;
