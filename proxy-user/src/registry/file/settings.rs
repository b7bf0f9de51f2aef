//! `[registry.NAME]` with `kind = "file"`, and what a `discover` entry may ask of it.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::parse::Format;
use crate::registry::fault::{Fault, duration};
use crate::registry::source::Query;

/// Option keys of a `discover` entry.
pub const OPTIONS: &[&str] = &["format"];

/// Files of endpoints. The `service` of a `discover` entry is the path of a file below `dir`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Directory of the files. Relative to the configuration file; left out: that file's own directory.
    pub dir: Option<String>,
    /// How often a file is read although no change was seen, for file systems that report none (NFS): `1s` to `1h`.
    #[schemars(extend("default" = "30s"))]
    pub poll: Option<String>,
}

/// Checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Directory of the files, absolute.
    pub dir: PathBuf,
    /// Time between two looks at a file.
    pub poll: Duration,
}

impl Raw {
    /// Checks the settings of a file in `dir`.
    ///
    /// # Errors
    /// The first key that cannot be.
    pub fn check(&self, dir: &Path) -> Result<Settings, Fault> {
        let own = self.dir.as_deref().unwrap_or("");
        if self.dir.as_deref() == Some("") || own.contains('\0') {
            let message = if own.is_empty() { "`dir` is empty" } else { "a path with a NUL byte" };
            return Err(Fault::new("dir", message, "name a directory, or leave it out"));
        }
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        let poll = self.poll.as_deref().unwrap_or("30s");
        let dir = Path::new(".").join(dir).join(own);
        // Changes are reported with the path that is watched: it must not depend on the working directory.
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        Ok(Settings { dir, poll: duration("poll", poll, range)? })
    }
}

/// Checks a query's path and format.
///
/// # Errors
/// The first key that cannot be.
pub fn check_query(query: &Query) -> Result<(), Fault> {
    let path = Path::new(&query.service);
    let below = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if path.file_name().is_none() || !below || query.service.contains('\0') {
        let message = format!("\"{}\" is no path below the registry's `dir`", query.service);
        let hint = "name a file, without `..` and without a slash in front; `dir` says where it is";
        return Err(Fault::new("service", message, hint));
    }
    format(query).map(|_| ())
}

/// The form of a query's file: by the option, else by the file's extension.
pub(super) fn format(query: &Query) -> Result<Format, Fault> {
    let hint = "write `format = \"json\"`, `\"toml\"` or `\"lines\"`";
    if let Some(word) = query.options.get("format") {
        return match word.as_str() {
            "json" => Ok(Format::Json),
            "toml" => Ok(Format::Toml),
            "lines" => Ok(Format::Lines),
            _ => Err(Fault::new("format", format!("there is no format \"{word}\""), hint)),
        };
    }
    match Path::new(&query.service).extension().and_then(|e| e.to_str()) {
        Some("json") => Ok(Format::Json),
        Some("toml") => Ok(Format::Toml),
        None | Some("txt" | "list" | "lines") => Ok(Format::Lines),
        Some(other) => Err(Fault::new("service", format!("`.{other}` does not say the file's format"), hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(service: &str, format: Option<&str>) -> Query {
        let options = format.map(|f| ("format".to_owned(), f.to_owned())).into_iter().collect();
        Query { service: service.to_owned(), options }
    }

    #[test]
    fn settings_are_checked() {
        let check = |text: &str| toml::from_str::<Raw>(text).unwrap().check(Path::new("/etc/weir"));
        let poll = Duration::from_secs(30);
        assert_eq!(check("").unwrap(), Settings { dir: "/etc/weir/".into(), poll });
        assert_eq!(check("dir = 'ep'").unwrap().dir, Path::new("/etc/weir/ep"));
        assert_eq!(check("dir = '/srv'\npoll = '1m'").unwrap().dir, Path::new("/srv"));
        let here = Raw::default().check(Path::new("")).unwrap().dir;
        assert_eq!(here, std::env::current_dir().unwrap());
        assert_eq!(check("poll = '0s'").unwrap_err().key, "poll");
        assert!(toml::from_str::<Raw>("pol = '1s'").is_err());
    }

    #[test]
    fn paths_stay_below_and_have_a_format() {
        for (path, option, want) in [
            ("a.json", None, Some(Format::Json)),
            ("sub/./a.toml", None, Some(Format::Toml)),
            ("a", None, Some(Format::Lines)),
            ("a.conf", Some("lines"), Some(Format::Lines)),
            ("a.conf", None, None),
            ("a.json", Some("yaml"), None),
        ] {
            assert_eq!(format(&query(path, option)).ok(), want, "{path}");
            assert_eq!(check_query(&query(path, option)).is_ok(), want.is_some(), "{path}");
        }
        for path in ["", "..", "/etc/passwd", "../a.json", "a/../../b", "a\0b", "a/.."] {
            assert_eq!(check_query(&query(path, Some("lines"))).unwrap_err().key, "service", "{path:?}");
        }
    }
}
