//! The keys of `[registry.NAME]` with `kind = "etcd"`, and the options of what is asked of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use tonic::codegen::http::Uri;

use super::layout::Layout;
use super::register::Registration;
use crate::registry::fault::Fault;
use crate::registry::source::{Publication, Query};

/// Options of a `discover` entry.
pub const OPTIONS: &[&str] = &["format", "key", "port", "value"];
/// Options of a `publish` entry.
pub const PUBLISH_OPTIONS: &[&str] = &["format", "key", "weight"];

/// An etcd cluster (API version 3).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// URLs of the members, such as `http://10.0.0.5:2379` or `https://etcd-1.example:2379`. One is used at a time; after an
    /// error it is the next one's turn.
    pub endpoints: Vec<String>,
    /// User name, where etcd's authentication is on. Needs `password_file` or `password_env`.
    pub user: Option<String>,
    /// File with the user's password, read at each session; one line end at its end is left out.
    pub password_file: Option<PathBuf>,
    /// Environment variable with the user's password, instead of `password_file`.
    pub password_env: Option<String>,
    /// PEM file with the certificates that sign the members' own. Without it the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file with weir's own certificate, where the members ask for one. Needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Name that the members' certificates must have, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Longest wait for a connection or an answer, `100ms` to `1m`; `5s` by default.
    pub timeout: Option<String>,
    /// Time between two pings, `5s` to `10m`; `10s` by default. A member that does not answer one within `timeout` is given
    /// up. etcd itself cuts connections that ping more often than each 5 s.
    pub keepalive: Option<String>,
    /// How long what weir registers stays after weir has fallen silent, `5s` to `1h`; `15s` by default.
    pub lease: Option<String>,
}

/// Checked settings; no secrets in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The members' URLs, at least one.
    pub endpoints: Vec<String>,
    /// Name, and where the password is.
    pub user: Option<(String, Password)>,
    /// Certificates that sign the members' own; none for the system's.
    pub ca_file: Option<PathBuf>,
    /// weir's own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name that certificates must have.
    pub server_name: Option<String>,
    /// Longest wait for a connection or an answer.
    pub timeout: Duration,
    /// Time between pings.
    pub keepalive: Duration,
    /// Time to live of registrations.
    pub lease: Duration,
}

/// Where a password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Environment(String),
}

impl Raw {
    /// Checks the settings; paths are relative to `dir`. No file is read.
    ///
    /// # Errors
    /// The first key with a value that cannot be.
    pub fn check(&self, dir: &Path) -> Result<Settings, Fault> {
        if self.endpoints.is_empty() {
            return Err(Fault::new(
                "endpoints",
                "there is no endpoint",
                "write endpoints = [\"http://10.0.0.5:2379\"]",
            ));
        }
        self.endpoints.iter().try_for_each(|url| check_url(url))?;
        let secure = self.endpoints.iter().any(|url| url.starts_with("https:"));
        let tls_keys = [
            ("ca_file", self.ca_file.is_some()),
            ("cert_file", self.cert_file.is_some()),
            ("key_file", self.key_file.is_some()),
            ("server_name", self.server_name.is_some()),
        ];
        if let Some((key, _)) = tls_keys.into_iter().find(|(_, given)| *given && !secure) {
            return Err(Fault::new(
                key,
                format!("`{key}` is for TLS, and no endpoint has it"),
                "begin endpoints with https://",
            ));
        }
        let path = |file: &PathBuf| dir.join(file);
        let identity = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Some((path(cert), path(key))),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Fault::new(
                    "cert_file",
                    "a certificate without its key",
                    "write key_file as well",
                ));
            }
            (None, Some(_)) => {
                return Err(Fault::new(
                    "key_file",
                    "a key without its certificate",
                    "write cert_file as well",
                ));
            }
        };
        Ok(Settings {
            endpoints: self.endpoints.clone(),
            user: self.user(dir)?,
            ca_file: self.ca_file.as_ref().map(path),
            identity,
            server_name: self.server_name.clone(),
            timeout: span("timeout", self.timeout.as_deref(), "5s", ("100ms", "1m"))?,
            keepalive: span("keepalive", self.keepalive.as_deref(), "10s", ("5s", "10m"))?,
            lease: span("lease", self.lease.as_deref(), "15s", ("5s", "1h"))?,
        })
    }

    fn user(&self, dir: &Path) -> Result<Option<(String, Password)>, Fault> {
        let password = match (&self.password_file, &self.password_env) {
            (Some(_), Some(_)) => {
                return Err(Fault::new(
                    "password_env",
                    "the password is in two places",
                    "keep one of password_file and password_env",
                ));
            }
            (Some(file), None) => Some(("password_file", Password::File(dir.join(file)))),
            (None, Some(name)) => Some(("password_env", Password::Environment(name.clone()))),
            (None, None) => None,
        };
        match (&self.user, password) {
            (Some(user), _) if user.is_empty() => {
                Err(Fault::new("user", "the user has no name", "leave it out, or name one"))
            }
            (Some(user), Some((_, password))) => Ok(Some((user.clone(), password))),
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err(Fault::new("user", "a user without a password", "write password_file or password_env"))
            }
            (None, Some((key, _))) => Err(Fault::new(key, "a password without a user", "write user as well")),
        }
    }
}

/// Whether a query's options make sense.
///
/// # Errors
/// The first option that does not.
pub fn check_query(query: &Query) -> Result<(), Fault> {
    Layout::of(query).map(drop)
}

/// Whether a registration's options make sense.
///
/// # Errors
/// The first option that does not.
pub fn check_publication(publication: &Publication) -> Result<(), Fault> {
    Registration::of(publication).map(drop)
}

fn check_url(url: &str) -> Result<(), Fault> {
    let fault = |why: &str| {
        let hint = "write http://HOST:PORT or https://HOST:PORT, such as http://10.0.0.5:2379";
        Err(Fault::new("endpoints", format!("\"{}\" {why}", crate::registry::endpoint::shown(url)), hint))
    };
    let Ok(uri) = url.parse::<Uri>() else { return fault("is no URL") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return fault("does not begin with http:// or https://");
    }
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return fault("has a user in it, or no host; users are named by `user`");
    }
    match uri.port_u16() {
        None | Some(0) => fault("has no port"),
        Some(_) if uri.path() != "/" || uri.query().is_some() => fault("has a path"),
        Some(_) => Ok(()),
    }
}

fn span(
    key: &'static str,
    text: Option<&str>,
    default: &'static str,
    (least, most): (&'static str, &'static str),
) -> Result<Duration, Fault> {
    let read =
        |text: &str| text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    let text = text.unwrap_or(default);
    match read(text) {
        Some(span)
            if read(least).is_some_and(|least| least <= span)
                && read(most).is_some_and(|most| span <= most) =>
        {
            Ok(span)
        }
        _ => Err(Fault::new(
            key,
            format!("\"{text}\" is no time from {least} to {most}"),
            format!("write {key} = \"{default}\", or leave it out"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Settings, Fault> {
        toml::from_str::<Raw>(text).unwrap().check(Path::new("/etc/weir"))
    }

    #[test]
    fn defaults_and_paths() {
        let settings =
            check("endpoints = ['https://a.example:2379']\nuser = 'weir'\npassword_file = 'secret'").unwrap();
        assert_eq!(settings.user, Some(("weir".into(), Password::File("/etc/weir/secret".into()))));
        assert_eq!((settings.timeout, settings.keepalive), (Duration::from_secs(5), Duration::from_secs(10)));
        assert_eq!(settings.lease, Duration::from_secs(15));
    }

    #[test]
    fn each_fault_names_its_key() {
        let http = "endpoints = ['http://127.0.0.1:2379']\n";
        let https = "endpoints = ['https://127.0.0.1:2379']\n";
        for (text, key) in [
            ("endpoints = []".to_owned(), "endpoints"),
            ("endpoints = ['127.0.0.1:2379']".to_owned(), "endpoints"),
            ("endpoints = ['http://127.0.0.1']".to_owned(), "endpoints"),
            ("endpoints = ['http://u:p@127.0.0.1:1']".to_owned(), "endpoints"),
            ("endpoints = ['http://127.0.0.1:1/x']".to_owned(), "endpoints"),
            ("endpoints = ['ftp://127.0.0.1:1']".to_owned(), "endpoints"),
            (format!("{http}user = 'a'"), "user"),
            (format!("{http}password_env = 'A'"), "password_env"),
            (format!("{http}user = 'a'\npassword_env = 'A'\npassword_file = 'B'"), "password_env"),
            (format!("{http}ca_file = 'a'"), "ca_file"),
            (format!("{https}cert_file = 'a'"), "cert_file"),
            (format!("{https}key_file = 'a'"), "key_file"),
            (format!("{http}keepalive = '1s'"), "keepalive"),
            (format!("{http}timeout = 'soon'"), "timeout"),
            (format!("{http}lease = '-5s'"), "lease"),
        ] {
            let fault = check(&text).unwrap_err();
            assert_eq!(fault.key, key, "{text}: {fault}");
            assert!(!fault.message.contains("u:p"), "{fault}");
        }
    }
}
