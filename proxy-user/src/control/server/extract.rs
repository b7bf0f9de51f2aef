//! Reading requests: bodies with their limits, parameters and preconditions, each with an error of ours.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, IF_MATCH};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::catalog::Refusal;
use crate::control::types::{Code, FieldError, Peer};

/// A JSON body of so many bytes at most.
pub(super) struct Json<T, const MOST: usize = SMALL_BODY>(pub(super) T);

/// Query parameters; unknown ones are refused by the types.
pub(super) struct Params<T>(pub(super) T);

/// Parts of the path.
pub(super) struct Names<T>(pub(super) T);

/// The generation of `If-Match`, where there is one.
pub(super) struct IfMatch(pub(super) Option<u64>);

/// The process that asks.
pub(super) struct From(pub(super) Peer);

/// Parameters of every change.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangeParams {
    /// Plan the change and say what would come of it, but apply nothing.
    #[param(default = false)]
    pub(super) dry_run: bool,
}

/// Parameters of an accept.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct AcceptParams {
    /// Number of the hold that was shown: refused with 412 if other removals wait by now. Without it, whatever waits is
    /// accepted.
    pub(super) hold: Option<u32>,
}

/// Parameters of a PATCH.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct PatchParams {
    /// Plan the change and say what would come of it, but apply nothing.
    #[param(default = false)]
    pub(super) dry_run: bool,
    /// Whether one refused item refuses the whole.
    #[param(default = true)]
    pub(super) atomic: bool,
}

impl Default for PatchParams {
    fn default() -> Self {
        Self { dry_run: false, atomic: true }
    }
}

impl<S: Send + Sync, T: DeserializeOwned, const MOST: usize> FromRequest<S> for Json<T, MOST> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let kind = media_type(request.headers());
        if kind != "application/json" {
            return Err(wrong_type(&kind, "application/json"));
        }
        parse_json(&read(request.into_body(), MOST).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Refusal::new(
                Code::InvalidRequest,
                format!(
                    "a query parameter cannot be read: {}",
                    std::error::Error::source(&rejection)
                        .map_or_else(|| rejection.to_string(), ToString::to_string)
                ),
            )
            .hint("/openapi.json lists the parameters of each call")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Names<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(rejection) => {
                Err(Refusal::new(Code::InvalidRequest, format!("the path cannot be read: {rejection}")))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let wrong = || {
            Refusal::new(Code::InvalidRequest, "If-Match is not a generation")
                .hint("give one ETag as it was read, such as If-Match: \"42\"")
        };
        let mut values = parts.headers.get_all(IF_MATCH).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        if values.next().is_some() {
            return Err(wrong());
        }
        match value.to_str().map_err(|_| wrong())?.trim() {
            "*" => Ok(Self(None)),
            tag => tag.trim_matches('"').parse().map(|tag| Self(Some(tag))).map_err(|_| wrong()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts
            .extensions
            .get::<Peer>()
            .copied()
            .map(Self)
            .ok_or_else(|| Refusal::new(Code::Internal, "the connection has no peer"))
    }
}

/// Reads a whole body of at most `limit` bytes.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIME, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if too_large(&error) => {
            Err(Refusal::new(Code::BodyTooLarge, format!("the body is larger than {limit} bytes"))
                .hint("a list can be changed in parts, with PATCH; all else goes in one piece"))
        }
        Ok(Err(error)) => Err(Refusal::new(Code::InvalidRequest, format!("the body broke off: {error}"))),
        Err(_) => Err(Refusal::new(
            Code::Timeout,
            format!("the body did not arrive within {} s", BODY_TIME.as_secs()),
        )),
    }
}

/// Reads JSON; an error says where.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        let message = error.inner().to_string();
        Refusal::new(Code::InvalidRequest, format!("the body cannot be read: {message}"))
            .errors(vec![FieldError { pointer, message }])
    })?;
    reader.end().map_err(|error| {
        Refusal::new(Code::InvalidRequest, format!("the body goes on after its end: {error}"))
    })?;
    Ok(value)
}

/// The media type of a body, in lower case, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub(super) fn wrong_type(found: &str, wanted: &str) -> Refusal {
    Refusal::new(Code::UnsupportedMediaType, format!("this call does not take a body of type {found:?}"))
        .hint(format!("set Content-Type: {wanted}"))
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path.iter() {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

fn too_large(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Largest body of most calls, bytes.
pub(super) const SMALL_BODY: usize = 1 << 20;
/// Largest body with L7 settings, bytes: more than any form of settings has that are within their own bound, which is of
/// JSON without blanks (a letter may be escaped, in six).
pub(super) const L7_BODY: usize = 8 << 20;
/// Largest body of a whole list, bytes.
pub(super) const LIST_BODY: usize = 64 << 20;
/// Time for a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);
