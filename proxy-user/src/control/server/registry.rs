//! Calls about registries and what comes from them.

use axum::Json as Reply;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;

use super::Api;
use super::extract::{AcceptParams, ChangeParams, From, IfMatch, Json, Names, Params};
use super::problem::Answer;
use super::render::tagged;
use super::service::unknown_service;
use crate::catalog::{Change, Refusal};
use crate::control::registry;
use crate::control::types::{
    AcceptAnswer, Applied, Code, Endpoints, Problem, PublishPut, Registries, RegistryStatus, SyncAnswer,
};

/// All registries: sessions, what is asked, what is known, what is registered.
#[utoipa::path(get, path = "/v1/registries", tag = "registries", responses(
    (status = 200, body = Registries), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(api): State<Api>) -> Response {
    let (view, now) = (api.door.view(), Timestamp::now());
    let registries = view
        .registries
        .iter()
        .map(|(name, session)| registry::status(&view.pool, name, session, now))
        .collect();
    tagged(view.generation, &Registries { generation: view.generation, registries })
}

/// A registry.
#[utoipa::path(get, path = "/v1/registries/{registry}", tag = "registries", params(("registry", Path)), responses(
    (status = 200, body = RegistryStatus),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(State(api): State<Api>, Names(name): Names<String>) -> Answer {
    let view = api.door.view();
    let session = view.registries.get(&name).ok_or_else(|| {
        Refusal::new(Code::UnknownRegistry, format!("there is no registry {name}"))
            .hint("GET /v1/registries names them")
    })?;
    Ok(tagged(view.generation, &registry::status(&view.pool, &name, session, Timestamp::now())))
}

/// Asks every registry again for everything, without remembered positions.
#[utoipa::path(post, path = "/v1/registries/sync", tag = "registries", responses(
    (status = 200, body = SyncAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sync_all(State(api): State<Api>, From(by): From) -> Answer<Reply<SyncAnswer>> {
    api.door.sync(None, by).await.map(Reply)
}

/// Asks a registry again for everything, without remembered positions.
#[utoipa::path(post, path = "/v1/registries/{registry}/sync", tag = "registries", params(("registry", Path)), responses(
    (status = 200, body = SyncAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sync(
    State(api): State<Api>,
    Names(name): Names<String>,
    From(by): From,
) -> Answer<Reply<SyncAnswer>> {
    api.door.sync(Some(name), by).await.map(Reply)
}

/// Every endpoint and backend that is known of for a service: where it comes from, and why it is not used.
#[utoipa::path(get, path = "/v1/services/{service}/endpoints", tag = "registries", params(("service", Path)), responses(
    (status = 200, body = Endpoints),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn endpoints(State(api): State<Api>, Names(service): Names<String>) -> Answer {
    let view = api.door.view();
    if !view.desired.services.contains_key(&service) {
        return Err(unknown_service(&service));
    }
    let found = registry::endpoints(&view, &service, Timestamp::now()).unwrap_or_else(|| Endpoints {
        generation: view.generation,
        service,
        sources: Vec::new(),
        hold: None,
        panic: false,
        candidates: Vec::new(),
    });
    Ok(tagged(view.generation, &found))
}

/// Carries out the removals of a service that the guard holds.
#[utoipa::path(post, path = "/v1/services/{service}/accept", tag = "registries", params(("service", Path), AcceptParams),
    responses((status = 200, body = AcceptAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn accept(
    State(api): State<Api>,
    Names(service): Names<String>,
    Params(params): Params<AcceptParams>,
    From(by): From,
) -> Answer<Reply<AcceptAnswer>> {
    api.door.accept(service, params.hold, by).await.map(Reply)
}

/// Takes a service's VIP out of its registries, or puts it back. It survives a restart.
#[utoipa::path(put, path = "/v1/services/{service}/publish", tag = "registries", params(("service", Path), ChangeParams),
    request_body = PublishPut, responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn publish(
    State(api): State<Api>,
    Names(service): Names<String>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
    Json(body): Json<PublishPut>,
) -> Answer<Reply<Applied>> {
    let change = Change::SetWithdrawn { service, withdrawn: body.withdrawn };
    api.door.change(change, if_match, params.dry_run, by).await.map(Reply)
}
