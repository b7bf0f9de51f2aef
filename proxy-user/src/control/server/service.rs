//! Calls about services and backends.

use std::collections::BTreeMap;

use axum::Json as Reply;
use axum::extract::State;
use axum::response::Response;

use super::Api;
use super::extract::{ChangeParams, From, IfMatch, Json, L7_BODY, Names, Params};
use super::l7_settings::{self, Settings};
use super::problem::Answer;
use super::render::{self, tagged};
use crate::catalog::{Change, NewBackend, Refusal, ServiceDefinition, parse_backend, parse_vip};
use crate::control::types::{
    Applied, BackendDocument, BackendPut, Code, FieldError, Problem, ServiceDocument, ServicePut, Services,
    WeightPut,
};
use crate::model::{AdminState, BackendAddr};

/// All services with their backends.
#[utoipa::path(get, path = "/v1/services", tag = "services", responses(
    (status = 200, body = Services), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(api): State<Api>) -> Response {
    let view = api.door.view();
    let services =
        view.desired.services.iter().map(|(name, service)| render::service(&view, name, service)).collect();
    tagged(view.generation, &Services { generation: view.generation, services })
}

/// A service with its backends.
#[utoipa::path(get, path = "/v1/services/{service}", tag = "services", params(("service", Path)), responses(
    (status = 200, body = ServiceDocument),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(State(api): State<Api>, Names(name): Names<String>) -> Answer {
    let view = api.door.view();
    let service = view.desired.services.get(&name).ok_or_else(|| unknown_service(&name))?;
    Ok(tagged(view.generation, &render::service(&view, &name, service)))
}

/// Creates or replaces a service of the API, with all its backends.
#[utoipa::path(put, path = "/v1/services/{service}", tag = "services", params(("service", Path), ChangeParams),
    request_body = ServicePut, responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    State(api): State<Api>,
    Names(service): Names<String>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
    Json(body): Json<ServicePut, L7_BODY>,
) -> Answer<Reply<Applied>> {
    let at = |pointer: String| {
        move |refusal: Refusal| {
            let message = refusal.to_string();
            refusal.errors(vec![FieldError { pointer, message }])
        }
    };
    let definition = ServiceDefinition {
        vip: parse_vip(&body.vip).map_err(at("/vip".into()))?,
        forward: body.forward,
        announce: body.announce,
        unknown_port: body.unknown_port,
        syn_budget: body.syn_budget.unwrap_or(SYN_BUDGET),
    };
    let mut backends = BTreeMap::new();
    for (index, new) in body.backends.iter().enumerate() {
        let pointer = format!("/backends/{index}/address");
        let address = new.address.as_deref().unwrap_or_default();
        let backend = parse_backend(address).map_err(at(pointer.clone()))?;
        let wanted = NewBackend { weight: new.weight, state: new.state };
        if backends.insert(backend, wanted).is_some() {
            let twice = Refusal::new(Code::InvalidState, format!("backend {address} is listed twice"));
            return Err(at(pointer)(twice));
        }
    }
    let read = match body.settings() {
        Some(settings) => Some(l7_settings::read(service.clone(), Settings::Json(settings)).await?),
        None => None,
    };
    let (l7, warnings) = read.map_or_else(Default::default, |(l7, warnings)| (Some(l7), warnings));
    let change = Change::PutService { service, definition, backends, l7 };
    let mut applied = api.door.change(change, if_match, params.dry_run, by).await?;
    applied.warnings.extend(warnings);
    Ok(Reply(applied))
}

/// Deletes a service of the API.
#[utoipa::path(delete, path = "/v1/services/{service}", tag = "services", params(("service", Path), ChangeParams),
    responses((status = 200, body = Applied),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(api): State<Api>,
    Names(service): Names<String>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
) -> Answer<Reply<Applied>> {
    api.door.change(Change::DeleteService { service }, if_match, params.dry_run, by).await.map(Reply)
}

/// A backend.
#[utoipa::path(get, path = "/v1/services/{service}/backends/{backend}", tag = "services",
    params(("service", Path), ("backend", Path)), responses((status = 200, body = BackendDocument),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_backend(
    State(api): State<Api>,
    Names((name, backend)): Names<(String, String)>,
) -> Answer {
    let view = api.door.view();
    let service = view.desired.services.get(&name).ok_or_else(|| unknown_service(&name))?;
    let found = render::backend(&view, &name, service, parse_backend(&backend)?).ok_or_else(|| {
        Refusal::new(Code::UnknownBackend, format!("service {name} has no backend {backend}"))
            .hint("GET /v1/services/{service} lists its backends")
    })?;
    Ok(tagged(view.generation, &found))
}

/// Creates or changes a backend of the API.
#[utoipa::path(put, path = "/v1/services/{service}/backends/{backend}", tag = "services",
    params(("service", Path), ("backend", Path), ChangeParams), request_body = BackendPut, responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put_backend(
    State(api): State<Api>,
    Names((service, backend)): Names<(String, String)>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
    Json(body): Json<BackendPut>,
) -> Answer<Reply<Applied>> {
    let backend = parse_backend(&backend)?;
    if let Some(address) = &body.address
        && parse_backend(address)? != backend
    {
        let message = format!("{address} is not the backend of the path");
        let errors = vec![FieldError { pointer: "/address".into(), message: message.clone() }];
        return Err(Refusal::new(Code::InvalidState, message).errors(errors));
    }
    let new = NewBackend { weight: body.weight, state: body.state };
    let change = Change::PutBackend { service, backend, new };
    api.door.change(change, if_match, params.dry_run, by).await.map(Reply)
}

/// Deletes a backend of the API at once; drain it first to keep its flows.
#[utoipa::path(delete, path = "/v1/services/{service}/backends/{backend}", tag = "services",
    params(("service", Path), ("backend", Path), ChangeParams), responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_backend(
    State(api): State<Api>,
    Names((service, backend)): Names<(String, String)>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
) -> Answer<Reply<Applied>> {
    let change = Change::DeleteBackend { service, backend: parse_backend(&backend)? };
    api.door.change(change, if_match, params.dry_run, by).await.map(Reply)
}

/// Sets a backend's weight, whoever set the backend.
#[utoipa::path(post, path = "/v1/services/{service}/backends/{backend}/weight", tag = "services",
    params(("service", Path), ("backend", Path), ChangeParams), request_body = WeightPut, responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn weight(
    State(api): State<Api>,
    Names((service, backend)): Names<(String, String)>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
    Json(body): Json<WeightPut>,
) -> Answer<Reply<Applied>> {
    let new = NewBackend { weight: Some(body.weight), state: None };
    let change = set(service, parse_backend(&backend)?, new);
    api.door.change(change, if_match, params.dry_run, by).await.map(Reply)
}

/// Drains a backend: flows that it has go on, new ones go elsewhere.
#[utoipa::path(post, path = "/v1/services/{service}/backends/{backend}/drain", tag = "services",
    params(("service", Path), ("backend", Path), ChangeParams), responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn drain(
    State(api): State<Api>,
    Names((service, backend)): Names<(String, String)>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
) -> Answer<Reply<Applied>> {
    let new = NewBackend { weight: None, state: Some(AdminState::Drain) };
    let change = set(service, parse_backend(&backend)?, new);
    api.door.change(change, if_match, params.dry_run, by).await.map(Reply)
}

/// Ends a drain.
#[utoipa::path(post, path = "/v1/services/{service}/backends/{backend}/undrain", tag = "services",
    params(("service", Path), ("backend", Path), ChangeParams), responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn undrain(
    State(api): State<Api>,
    Names((service, backend)): Names<(String, String)>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
) -> Answer<Reply<Applied>> {
    let new = NewBackend { weight: None, state: Some(AdminState::Active) };
    let change = set(service, parse_backend(&backend)?, new);
    api.door.change(change, if_match, params.dry_run, by).await.map(Reply)
}

fn set(service: String, backend: BackendAddr, new: NewBackend) -> Change {
    Change::SetBackend { service, backend, new }
}

pub(super) fn unknown_service(name: &str) -> Refusal {
    Refusal::new(Code::UnknownService, format!("there is no service {name}"))
        .hint("GET /v1/services names them")
}

/// Budget of a service that names none.
const SYN_BUDGET: u32 = 4_096;
