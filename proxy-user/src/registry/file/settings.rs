//! Placeholder until branch local.
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::registry::fault::Fault;
use crate::registry::source::Query;

/// A file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Directory that names are relative to.
    pub dir: Option<String>,
}

/// Checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Directory.
    pub dir: PathBuf,
}

impl Raw {
    /// Checks.
    ///
    /// # Errors
    /// When wrong.
    pub fn check(&self, dir: &Path) -> Result<Settings, Fault> {
        if self.dir.as_deref() == Some("") {
            return Err(Fault { key: "dir", message: "`dir` is empty".into(), hint: "leave it out".into() });
        }
        Ok(Settings { dir: dir.join(self.dir.as_deref().unwrap_or("")) })
    }
}

/// Checks.
///
/// # Errors
/// When wrong.
pub fn check_query(query: &Query) -> Result<(), Fault> {
    match query.options.get("format").map(String::as_str) {
        None | Some("json" | "toml" | "lines") => Ok(()),
        Some(other) => Err(Fault {
            key: "format",
            message: format!("`{other}` is not a format"),
            hint: "write json, toml or lines".into(),
        }),
    }
}

/// Options.
pub const OPTIONS: &[&str] = &["format"];
