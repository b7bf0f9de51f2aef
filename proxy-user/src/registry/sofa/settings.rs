//! Settings of a SOFARegistry in the configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

pub use super::query::{OPTIONS, PUBLISH_OPTIONS, check_publication, check_query};

use super::query::{self, Scope};
use crate::registry::fault::{Fault, duration};

/// The keys of a registry of the kind `sofa`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Where session servers are asked for, over HTTP: `host:port` (port 9603 by default). Each is tried in turn; while none
    /// answers, the last list counts.
    #[serde(default)]
    endpoints: Vec<String>,
    /// Session servers themselves, `ip:port` (port 9600 by default), in the place of `endpoints`.
    #[serde(default)]
    servers: Vec<String>,
    /// Where session servers are reached, by the address that the list says, for NAT: `"10.0.0.1" = "192.0.2.1"`, or with
    /// ports `"10.0.0.1:9600" = "192.0.2.1:19600"`.
    #[serde(default)]
    addresses: BTreeMap<String, String>,
    /// Zone whose session servers are asked for. By default that of the server that answers.
    zone: Option<String>,
    /// Group of the names, where they say none. SOFARPC uses `SOFA`. Default `DEFAULT_GROUP`.
    group: Option<String>,
    /// Instance of the names, where they say none. Default `DEFAULT_INSTANCE_ID`.
    instance: Option<String>,
    /// Publishers that count, where a name does not say: `global`, `dataCenter` or `zone`. Default `global`.
    scope: Option<String>,
    /// Application that weir says it is. Default `weir`.
    app: Option<String>,
    /// Attributes of every registration, as the server's access control wants them.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Attributes whose values are in files, read at each connection: secrets.
    #[serde(default)]
    attribute_files: BTreeMap<String, PathBuf>,
    /// Time to connect, and to wait for the list of servers. Default 3s.
    connect_timeout: Option<String>,
    /// Time to wait for the answer to a registration; after three the connection is given up. Default 3s.
    answer_timeout: Option<String>,
    /// Idle time after which the server is asked whether it lives; unanswered, it is asked twice more. Default 10s.
    heartbeat: Option<String>,
    /// How often the list of servers is fetched again. Default 30s.
    refresh: Option<String>,
}

/// Checked settings; a copy is the same settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings(Arc<Checked>);

/// What they are.
#[derive(Debug, PartialEq)]
pub struct Checked {
    pub(super) sources: Sources,
    pub(super) addresses: BTreeMap<String, String>,
    pub(super) zone: String,
    pub(super) group: String,
    pub(super) instance: String,
    pub(super) scope: Scope,
    pub(super) app: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) attribute_files: BTreeMap<String, PathBuf>,
    pub(super) connect_timeout: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) heartbeat: Duration,
    pub(super) refresh: Duration,
}

/// Where session servers come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sources {
    /// HTTP endpoints, `host:port`.
    Endpoints(Vec<String>),
    /// The servers themselves.
    Servers(Vec<SocketAddr>),
}

impl Deref for Settings {
    type Target = Checked;

    fn deref(&self) -> &Checked {
        &self.0
    }
}

impl Settings {
    /// Whether nothing but times differs: a connection that was made with the one is as good with the other.
    #[must_use]
    pub fn differ_in_times(&self, other: &Self) -> bool {
        let what = |own: &Self| {
            let own = &*own.0;
            (
                (own.sources.clone(), own.addresses.clone(), own.zone.clone(), own.group.clone()),
                (own.instance.clone(), own.app.clone(), own.attributes.clone(), own.attribute_files.clone()),
            )
        };
        what(self) == what(other) && self.scope == other.scope
    }
}

impl Raw {
    /// Checks the settings. Files are named from `dir`; none is read yet.
    ///
    /// # Errors
    /// [`Fault`] with the key at fault.
    pub fn check(&self, dir: &Path) -> Result<Settings, Fault> {
        let text = |key, value: &Option<String>, default: &str| match value {
            Some(text) => query::name(key, text).map(str::to_owned),
            None => Ok(default.to_owned()),
        };
        let time = |key, value: &Option<String>, range, default| match value {
            Some(text) => duration(key, text, range),
            None => Ok(Duration::from_secs(default)),
        };
        let second = Duration::from_secs(1);
        if let Some(key) = self.attribute_files.keys().find(|key| self.attributes.contains_key(*key)) {
            let message = format!("\"{key}\" is in attributes too");
            return Err(Fault::new("attribute_files", message, "keep it in one of them"));
        }
        Ok(Settings(Arc::new(Checked {
            sources: self.sources()?,
            addresses: self.checked_addresses()?,
            zone: text("zone", &self.zone, "")?,
            group: text("group", &self.group, "DEFAULT_GROUP")?,
            instance: text("instance", &self.instance, "DEFAULT_INSTANCE_ID")?,
            scope: self.scope.as_deref().map_or(Ok(Scope::Global), |text| Scope::read("scope", text))?,
            app: text("app", &self.app, "weir")?,
            attributes: self.attributes.clone(),
            attribute_files: self
                .attribute_files
                .iter()
                .map(|(key, path)| (key.clone(), dir.join(path)))
                .collect(),
            connect_timeout: time("connect_timeout", &self.connect_timeout, second / 10..=second * 30, 3)?,
            answer_timeout: time("answer_timeout", &self.answer_timeout, second / 10..=second * 30, 3)?,
            // The server ends a connection that is silent for 45 s.
            heartbeat: time("heartbeat", &self.heartbeat, second / 10..=second * 15, 10)?,
            refresh: time("refresh", &self.refresh, second..=second * 3600, 30)?,
        })))
    }

    fn sources(&self) -> Result<Sources, Fault> {
        match (self.endpoints.is_empty(), self.servers.is_empty()) {
            (false, true) => {
                let endpoints = self.endpoints.iter().map(|text| with_port(text));
                Ok(Sources::Endpoints(endpoints.collect::<Result<_, _>>()?))
            }
            (true, false) => {
                let servers = self.servers.iter().map(|text| server(text).ok_or(text));
                let servers = servers.collect::<Result<_, _>>().map_err(|text| {
                    Fault::new("servers", format!("\"{text}\" is no address"), "write ip:port or ip")
                })?;
                Ok(Sources::Servers(servers))
            }
            (true, true) => Err(Fault::new(
                "endpoints",
                "no server is named",
                "name HTTP endpoints in endpoints, such as [\"10.0.0.1:9603\"], or session servers in servers",
            )),
            (false, false) => Err(Fault::new(
                "servers",
                "endpoints are named as well",
                "keep endpoints or servers, not both",
            )),
        }
    }

    fn checked_addresses(&self) -> Result<BTreeMap<String, String>, Fault> {
        for (from, to) in &self.addresses {
            let pair = (from.parse::<SocketAddr>().is_ok(), to.parse::<SocketAddr>().is_ok());
            let plain = from.parse::<std::net::IpAddr>().is_ok() && to.parse::<std::net::IpAddr>().is_ok();
            if pair != (true, true) && !plain {
                let message = format!("\"{from}\" = \"{to}\" is no pair of addresses");
                return Err(Fault::new("addresses", message, "write ip = ip, or ip:port = ip:port"));
            }
        }
        Ok(self.addresses.clone())
    }
}

/// Reads a session server's address; port 9600 if it says none.
pub(super) fn server(text: &str) -> Option<SocketAddr> {
    let at = crate::registry::endpoint::address(text.trim(), Some(SESSION_PORT)).ok()?;
    Some(SocketAddr::new(at.addr, at.port))
}

/// `host:port` of an HTTP endpoint, which may be a name.
fn with_port(text: &str) -> Result<String, Fault> {
    let fault = || {
        let hint = "write host:port, without http:// and path; IPv6 in brackets";
        Fault::new("endpoints", format!("\"{text}\" is no endpoint"), hint)
    };
    let good = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
    };
    if !good(text) {
        return Err(fault());
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0 && good(host))
            .map(|_| text.to_owned())
            .ok_or_else(fault),
        Some(_) if !text.starts_with('[') => Err(fault()),
        _ => Ok(format!("{text}:{HTTP_PORT}")),
    }
}

const SESSION_PORT: u16 = 9600;
const HTTP_PORT: u16 = 9603;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Settings, Fault> {
        toml::from_str::<Raw>(text).unwrap().check(Path::new("/etc/weir"))
    }

    #[test]
    fn defaults_and_ports() {
        let settings = check("endpoints = [\"registry.example\", \"[::1]:1\", \"10.0.0.1:99\"]").unwrap();
        let want = ["registry.example:9603", "[::1]:1", "10.0.0.1:99"].map(str::to_owned).to_vec();
        assert_eq!(settings.sources, Sources::Endpoints(want));
        assert_eq!((settings.group.as_str(), settings.heartbeat), ("DEFAULT_GROUP", Duration::from_secs(10)));
        let settings =
            check("servers = [\"10.0.0.1\", \"[::1]:1\"]\nattribute_files = { a = \"b\" }").unwrap();
        let want = vec!["10.0.0.1:9600".parse().unwrap(), "[::1]:1".parse().unwrap()];
        assert_eq!(settings.sources, Sources::Servers(want));
        assert_eq!(settings.attribute_files["a"], Path::new("/etc/weir/b"));
    }

    #[test]
    fn faults_name_the_key() {
        for (text, key) in [
            ("", "endpoints"),
            ("endpoints = [\"http://a/\"]", "endpoints"),
            ("endpoints = [\"::1\"]", "endpoints"),
            ("endpoints = [\"a\"]\nservers = [\"10.0.0.1\"]", "servers"),
            ("servers = [\"name\"]", "servers"),
            ("servers = [\"10.0.0.1\"]\nheartbeat = \"20s\"", "heartbeat"),
            ("servers = [\"10.0.0.1\"]\nrefresh = \"soon\"", "refresh"),
            ("servers = [\"10.0.0.1\"]\nscope = \"GLOBAL\"", "scope"),
            ("servers = [\"10.0.0.1\"]\naddresses = { \"10.0.0.1\" = \"10.0.0.1:1\" }", "addresses"),
            (
                "servers = [\"10.0.0.1\"]\nattributes = { a = \"1\" }\nattribute_files = { a = \"b\" }",
                "attribute_files",
            ),
            ("servers = [\"10.0.0.1\"]\ngroup = \" \"", "group"),
        ] {
            assert_eq!(check(text).unwrap_err().key, key, "{text}");
        }
    }
}
