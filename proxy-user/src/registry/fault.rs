//! What is wrong with a registry's settings, a `discover` entry or a `publish` entry.

use thiserror::Error;

/// A setting that cannot be; the configuration's reader shows it with a caret at the key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}; {hint}")]
pub struct Fault {
    /// The key, within the table that was checked.
    pub key: &'static str,
    /// What is wrong with its value.
    pub message: String,
    /// How to mend it.
    pub hint: String,
}

impl Fault {
    /// A fault of `key`.
    pub fn new(key: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { key, message: message.into(), hint: hint.into() }
    }
}
