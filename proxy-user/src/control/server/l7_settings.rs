//! Calls about how the L7 path serves a service. The body is what stands under the service in the configuration file.

use std::sync::Arc;

use axum::Json as Reply;
use axum::extract::{FromRequest, Request, State};
use axum::response::IntoResponse;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG};
use serde_json::Value;

use super::Api;
use super::extract::read as read_body;
use super::extract::{
    ChangeParams, From, IfMatch, L7_BODY, Names, Params, media_type, parse_json, wrong_type,
};
use super::problem::Answer;
use super::render::{self, tagged};
use super::service::unknown_service;
use crate::catalog::{Change, Refusal};
use crate::config::{Code as Fault, L7Refused, Once, Severity, l7_text, read_l7_json, read_l7_toml};
use crate::control::types::{Applied, Code, FieldError, L7Settings, L7SettingsDocument, Problem, Warning};
use crate::model::{Forward, L7, Origin};

/// Settings as they were sent.
pub(super) enum Settings {
    /// An object.
    Json(Value),
    /// Text of the file's form.
    Toml(String),
}

impl<S: Send + Sync> FromRequest<S> for Settings {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let kind = media_type(request.headers());
        if !matches!(kind.as_str(), "application/json" | "application/toml") {
            return Err(wrong_type(&kind, "application/json, or application/toml"));
        }
        let body = read_body(request.into_body(), L7_BODY).await?;
        if kind == "application/json" {
            return parse_json::<Once>(&body).map(|once| Self::Json(once.0));
        }
        String::from_utf8(body.to_vec()).map(Self::Toml).map_err(|error| {
            Refusal::new(Code::InvalidRequest, format!("the body is not UTF-8 text: {}", error.utf8_error()))
        })
    }
}

/// How the L7 path serves a service: as JSON with who set it, or as TOML that can be put again.
#[utoipa::path(get, path = "/v1/services/{service}/l7", tag = "services", params(("service", Path)), responses(
    (status = 200, content((L7SettingsDocument = "application/json"), (String = "application/toml"))),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get(State(api): State<Api>, Names(name): Names<String>, headers: HeaderMap) -> Answer {
    let view = api.door.view();
    let set_aside = render::l7_set_aside(&view, &name);
    let service = view.desired.services.get(&name);
    let settings = match service {
        Some(service) if service.forward == Forward::L7 => render::l7_settings(service),
        _ if set_aside.is_some() => Arc::default(),
        Some(_) => {
            let why = format!("service {name} is not served by the L7 path");
            return Err(Refusal::new(Code::InvalidState, why).hint("forward = \"l7\" makes it one that is"));
        }
        None => return Err(unknown_service(&name)),
    };
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/toml") {
        let text = l7_text(&settings)
            .map_err(|error| Refusal::new(Code::Internal, format!("cannot be written as TOML: {error}")))?;
        let head =
            [(CONTENT_TYPE, "application/toml".to_owned()), (ETAG, format!("\"{}\"", view.generation))];
        return Ok((head, text).into_response());
    }
    let overridden = service.is_some_and(|service| render::l7_overridden(&view, &name, service));
    let found = L7SettingsDocument {
        generation: view.generation,
        service: name,
        origin: service.filter(|_| !overridden).map_or(Origin::Api, |service| service.origin),
        overridden,
        settings: L7Settings((*settings).clone()),
        set_aside,
    };
    Ok(tagged(view.generation, &found))
}

/// Sets how the L7 path serves a service, all of it at once, whoever set the service. Connections stay.
#[utoipa::path(put, path = "/v1/services/{service}/l7", tag = "services", params(("service", Path), ChangeParams),
    request_body(content((L7Settings = "application/json"), (String = "application/toml"))), responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    State(api): State<Api>,
    Names(service): Names<String>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
    settings: Settings,
) -> Answer<Reply<Applied>> {
    let (l7, warnings) = read(service.clone(), settings).await?;
    let change = Change::SetL7 { service, l7: Some(l7) };
    let mut applied = api.door.change(change, if_match, params.dry_run, by).await?;
    applied.warnings.extend(warnings);
    Ok(Reply(applied))
}

/// Drops what the API has set: what the file says holds, or plain TCP for a service of the API.
#[utoipa::path(delete, path = "/v1/services/{service}/l7", tag = "services",
    params(("service", Path), ChangeParams), responses((status = 200, body = Applied),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete(
    State(api): State<Api>,
    Names(service): Names<String>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
) -> Answer<Reply<Applied>> {
    api.door.change(Change::SetL7 { service, l7: None }, if_match, params.dry_run, by).await.map(Reply)
}

/// Reads and checks settings as the file's are, beside the runtime: a large table takes a while.
pub(super) async fn read(service: String, settings: Settings) -> Result<(Arc<L7>, Vec<Warning>), Refusal> {
    let read = tokio::task::spawn_blocking(move || {
        let read = match settings {
            Settings::Json(value) => read_l7_json(&service, &value),
            Settings::Toml(text) => read_l7_toml(&service, "body", &text),
        };
        read.map_err(|refused| refusal(&service, &refused))
    });
    let read = read.await.map_err(|error| Refusal::new(Code::Internal, error.to_string()))??;
    let warnings = read.warnings.iter().map(|found| Warning {
        code: found.code.as_str().into(),
        detail: format!("{}; {}", found.message, found.hint),
    });
    Ok((Arc::new(read.l7), warnings.collect()))
}

fn refusal(service: &str, refused: &L7Refused) -> Refusal {
    let errors = || refused.0.iter().filter(|one| one.diagnostic.severity == Severity::Error);
    let unread = |fault: Fault| {
        matches!(fault, Fault::Syntax | Fault::UnknownKey | Fault::UnknownValue | Fault::WrongType)
    };
    let code = match errors().any(|one| unread(one.diagnostic.code)) {
        true => Code::InvalidRequest,
        false => Code::InvalidState,
    };
    let field = |one: &crate::config::L7Finding| {
        let found = &one.diagnostic;
        // Of JSON, lines say nothing.
        let line = found.line.filter(|_| found.file.as_deref().is_some_and(|name| !name.is_empty()));
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        FieldError {
            pointer: one.pointer.clone(),
            message: format!("{line}{}; {}", found.message, found.hint),
        }
    };
    let fields: Vec<_> = errors().map(field).collect();
    let count = match fields.len() {
        1 => "one fault".to_owned(),
        count => format!("{count} faults"),
    };
    Refusal::new(code, format!("the L7 settings of service {service} are not in order: {count}"))
        .hint("docs/routing.md shows them, docs/configuration.md has every key; what was in force stays")
        .errors(fields)
}
