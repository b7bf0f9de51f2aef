//! Every error leaves as `application/problem+json`.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use crate::catalog::Refusal;
use crate::control::types::Problem;

/// Result of a handler.
pub(super) type Answer<T = Response> = Result<T, Refusal>;

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            hint: refusal.hint,
            errors: refusal.errors,
            generation: refusal.generation,
            ..Self::new(refusal.code, refusal.detail)
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&Problem::from(self)).unwrap_or_default();
        let kind = (CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (status, [kind], body).into_response()
    }
}
