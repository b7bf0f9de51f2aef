//! Why a change was not made. Whoever gets one finds the old state in force.

use crate::control::types::{Code, FieldError};

/// A change that was not made, in the vocabulary of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct Refusal {
    /// Stable code.
    pub code: Code,
    /// What was wrong.
    pub detail: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// What was wrong where.
    pub errors: Vec<FieldError>,
    /// Generation in force, where the request's was stale.
    pub generation: Option<u64>,
}

impl Refusal {
    /// A refusal without a hint.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), hint: None, errors: Vec::new(), generation: None }
    }

    /// Says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was wrong where.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Other removals wait than those that were shown.
    #[must_use]
    pub fn other_hold(service: &str) -> Self {
        let message = format!("other removals of service {service} wait by now than those that were shown");
        Self::new(Code::StaleGeneration, message)
            .hint("`weir registry dump` shows what is held now; nothing was removed")
    }

    /// The request was made for another generation than the one in force.
    #[must_use]
    pub fn stale(wanted: u64, current: u64) -> Self {
        Self {
            generation: Some(current),
            ..Self::new(
                Code::StaleGeneration,
                format!("the request was made for generation {wanted}, in force is {current}"),
            )
            .hint("read the object again and repeat the change with the new ETag")
        }
    }
}
