//! The check of every merged state, whoever set its parts, in the vocabulary of the API.

use super::Refusal;
use crate::config::{Code as Fault, Limits, Problem, Severity, semantic_check_within};
use crate::control::types::{Code, FieldError, Warning};
use crate::model::Desired;

/// What is wrong with a state as a whole refuses it; what the operator should know is returned.
///
/// # Errors
/// Names every fault.
pub(super) fn check(desired: &Desired, limits: Limits) -> Result<Vec<Warning>, Refusal> {
    let found = semantic_check_within(desired, limits);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|problem| problem.severity == Severity::Error);
    let Some(first) = errors.first() else {
        return Ok(warnings.iter().map(warning).collect());
    };
    let refusal = Refusal::new(code(first.code), format!("{}: {}", first.at, first.message))
        .hint(first.hint.clone())
        .errors(errors.iter().take(MAX_ERRORS).map(field).collect());
    Err(refusal)
}

fn code(fault: Fault) -> Code {
    match fault {
        Fault::OrderTie | Fault::VipOverlap | Fault::UnknownPortConflict => Code::Conflict,
        Fault::TooMany => Code::LimitExceeded,
        _ => Code::InvalidState,
    }
}

fn field(problem: &Problem) -> FieldError {
    FieldError { pointer: problem.at.to_string(), message: format!("{}; {}", problem.message, problem.hint) }
}

fn warning(problem: &Problem) -> Warning {
    Warning { code: problem.code.as_str().into(), detail: problem.to_string() }
}

/// Largest weight of a backend.
pub(super) use crate::config::parse::MAX_WEIGHT;
/// Faults that are listed in an answer.
const MAX_ERRORS: usize = 100;
