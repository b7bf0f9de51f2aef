//! What is wrong with a registry's settings, with a query or with a publication.

use thiserror::Error;

/// A finding of a kind's own checks. The configuration shows it at the key that it names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}; {hint}")]
pub struct Fault {
    /// Key of the table that the value stands at; the table itself where the key is not there.
    pub key: &'static str,
    /// What is wrong and why.
    pub message: String,
    /// How to mend it.
    pub hint: String,
}
