//! The check of every merged state, whoever set its parts, in the vocabulary of the API.

use super::Refusal;
use super::l7::pointer;
use crate::config::{Code as Fault, Limits, Problem, Severity, semantic_check_within};
use crate::control::types::{Code, FieldError, Warning};
use crate::model::{Desired, L7};

/// What the operator should know of a state.
///
/// # Errors
/// Everything that is wrong with it as a whole.
pub(super) fn check(desired: &Desired, limits: Limits) -> Result<Vec<Warning>, Vec<Problem>> {
    let found = semantic_check_within(desired, limits);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|problem| problem.severity == Severity::Error);
    if errors.is_empty() { Ok(warnings.iter().map(warning).collect()) } else { Err(errors) }
}

/// What is wrong with a state refuses it. Faults in the L7 settings that were just set are named by their keys.
pub(super) fn refusal(errors: &[Problem], subject: Option<(&str, &L7)>) -> Refusal {
    let Some(first) = errors.first() else {
        return Refusal::new(Code::Internal, "a state was refused without a fault");
    };
    Refusal::new(code(first.code), format!("{}: {}", first.at, first.message))
        .hint(first.hint.clone())
        .errors(errors.iter().take(MAX_ERRORS).map(|problem| field(problem, subject)).collect())
}

fn code(fault: Fault) -> Code {
    match fault {
        Fault::OrderTie | Fault::VipOverlap | Fault::UnknownPortConflict => Code::Conflict,
        Fault::TooMany => Code::LimitExceeded,
        _ => Code::InvalidState,
    }
}

fn field(problem: &Problem, subject: Option<(&str, &L7)>) -> FieldError {
    let key = subject.and_then(|(service, l7)| pointer(service, l7, &problem.at));
    FieldError {
        pointer: key.unwrap_or_else(|| problem.at.to_string()),
        message: format!("{}; {}", problem.message, problem.hint),
    }
}

fn warning(problem: &Problem) -> Warning {
    Warning { code: problem.code.as_str().into(), detail: problem.to_string() }
}

/// Largest weight of a backend.
pub(super) use crate::config::parse::MAX_WEIGHT;
/// Faults that are listed in an answer.
const MAX_ERRORS: usize = 100;
