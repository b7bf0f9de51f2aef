//! Errors of the API: RFC 9457 problem details with a stable code.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of every error, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Where the code is described.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: Code,
    /// What was wrong with this request.
    pub detail: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What was wrong where in the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Generation in force, where the request's was stale or missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// One fault at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body, or the name of a query parameter.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

/// Stable codes. New ones may be added: a client takes one it does not know by its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The body or a parameter could not be read.
    InvalidRequest,
    /// The request could be read, but what it asks for cannot be.
    InvalidState,
    /// No such call.
    UnknownRoute,
    /// The call exists, not with this method.
    MethodNotAllowed,
    /// No such list.
    UnknownList,
    /// No such service.
    UnknownService,
    /// No such backend.
    UnknownBackend,
    /// No such registry.
    UnknownRegistry,
    /// No removals of the service wait.
    NothingHeld,
    /// The file or a flag set it: the API may not alter it.
    OriginConflict,
    /// Two objects claim the same order or VIP.
    Conflict,
    /// `If-Match` is not the generation in force.
    StaleGeneration,
    /// This call needs `If-Match`.
    PreconditionRequired,
    /// More than a limit allows.
    LimitExceeded,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The body's type is not supported by this call.
    UnsupportedMediaType,
    /// The peer may not do this.
    NotPermitted,
    /// The body or the answer took too long.
    Timeout,
    /// Too many requests at once.
    Overloaded,
    /// The configuration file is not in order: the old state is kept.
    InvalidConfig,
    /// The kernel refused; the old state is in force.
    KernelRefused,
    /// The state could not be stored; the old state is in force.
    StoreFailed,
    /// The daemon is ending.
    ShuttingDown,
    /// A fault of weir.
    Internal,
    /// A code that this client does not know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// HTTP status of the code.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::NotPermitted => 403,
            Self::UnknownRoute
            | Self::UnknownList
            | Self::UnknownService
            | Self::UnknownBackend
            | Self::UnknownRegistry => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::OriginConflict | Self::Conflict | Self::NothingHeld => 409,
            Self::StaleGeneration => 412,
            Self::BodyTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidState | Self::LimitExceeded | Self::InvalidConfig => 422,
            Self::PreconditionRequired => 428,
            Self::Internal | Self::Unknown => 500,
            Self::KernelRefused | Self::StoreFailed | Self::ShuttingDown | Self::Overloaded => 503,
        }
    }

    /// The code in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request could not be read",
            Self::InvalidState => "The request asks for something that cannot be",
            Self::UnknownRoute => "No such call",
            Self::MethodNotAllowed => "Not with this method",
            Self::UnknownList => "No such list",
            Self::UnknownService => "No such service",
            Self::UnknownBackend => "No such backend",
            Self::UnknownRegistry => "No such registry",
            Self::NothingHeld => "No removals wait",
            Self::OriginConflict => "Set by the configuration file or a flag",
            Self::Conflict => "Taken by another object",
            Self::StaleGeneration => "The state has changed since it was read",
            Self::PreconditionRequired => "If-Match is missing",
            Self::LimitExceeded => "Over a limit",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body's type is not supported",
            Self::NotPermitted => "Not permitted",
            Self::Timeout => "Took too long",
            Self::Overloaded => "Too many requests at once",
            Self::InvalidConfig => "The configuration is not in order",
            Self::KernelRefused => "The kernel refused the change",
            Self::StoreFailed => "The change could not be stored",
            Self::ShuttingDown => "The daemon is ending",
            Self::Internal => "A fault of weir",
            Self::Unknown => "An error that this version does not know",
        }
    }

    /// The code as written in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidState => "invalid_state",
            Self::UnknownRoute => "unknown_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnknownList => "unknown_list",
            Self::UnknownService => "unknown_service",
            Self::UnknownBackend => "unknown_backend",
            Self::UnknownRegistry => "unknown_registry",
            Self::NothingHeld => "nothing_held",
            Self::OriginConflict => "origin_conflict",
            Self::Conflict => "conflict",
            Self::StaleGeneration => "stale_generation",
            Self::PreconditionRequired => "precondition_required",
            Self::LimitExceeded => "limit_exceeded",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::NotPermitted => "not_permitted",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::InvalidConfig => "invalid_config",
            Self::KernelRefused => "kernel_refused",
            Self::StoreFailed => "store_failed",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }
}

impl Problem {
    /// A problem without a hint.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://example.invalid/weir/docs/api.md#{}", code.label()),
            title: code.title().into(),
            status: code.status(),
            code,
            detail: detail.into(),
            hint: None,
            errors: Vec::new(),
            generation: None,
        }
    }
}
