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

/// Reads a duration such as `30s` that has to be within `range`.
pub fn duration(
    key: &'static str,
    text: &str,
    range: std::ops::RangeInclusive<std::time::Duration>,
) -> Result<std::time::Duration, Fault> {
    let span = text.trim().parse::<jiff::SignedDuration>().ok();
    match span.and_then(|span| std::time::Duration::try_from(span).ok()) {
        Some(duration) if range.contains(&duration) => Ok(duration),
        Some(duration) => {
            let message = format!("{duration:?} is not from {:?} to {:?}", range.start(), range.end());
            Err(Fault::new(key, message, "write a duration within these bounds"))
        }
        None => Err(Fault::new(key, format!("\"{text}\" is no duration"), "write it like 500ms, 30s or 2m")),
    }
}
