//! `[registry.NAME]` with `kind = "dns"`, and what a `discover` entry may ask of it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::registry::fault::{Fault, duration};
use crate::registry::source::Query;

/// Option keys of a `discover` entry.
pub const OPTIONS: &[&str] = &["port", "record"];

/// DNS names. The `service` of a `discover` entry is a name, fully qualified with or without the dot at its end.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Name servers as `address` or `address:port`, asked in this order. Left out: those of `/etc/resolv.conf`, read again
    /// at each resync.
    pub servers: Option<Vec<String>>,
    /// Whether the search domains of `/etc/resolv.conf` are tried for names without a dot at their end.
    #[schemars(extend("default" = false))]
    pub search: Option<bool>,
    /// How long one server has for one answer: `100ms` to `30s`.
    #[schemars(extend("default" = "2s"))]
    pub timeout: Option<String>,
    /// How often all servers are asked before a look-up has failed.
    #[schemars(range(min = 1, max = 10), extend("default" = 2))]
    pub attempts: Option<u8>,
    /// A name is not asked for more often, whatever its TTL: `100ms` to `1h`.
    #[schemars(extend("default" = "1s"))]
    pub min_ttl: Option<String>,
    /// A name is asked for at least this often, whatever its TTL: `1s` to `1d`.
    #[schemars(extend("default" = "300s"))]
    pub max_ttl: Option<String>,
    /// How many times in a row the answer has to be that there is nothing (NXDOMAIN or no data) until it is believed.
    #[schemars(range(min = 1, max = 100), extend("default" = 3))]
    pub empty_after: Option<u8>,
    /// How long an address stays in the set after the last answer that had it, for servers that answer with a changing
    /// part of the whole: `0s` to `1d`.
    #[schemars(extend("default" = "0s"))]
    pub sticky: Option<String>,
}

/// Checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name servers; none for the system's.
    pub servers: Vec<SocketAddr>,
    /// Whether search domains are tried.
    pub search: bool,
    /// Time for one answer.
    pub timeout: Duration,
    /// Rounds through the servers.
    pub attempts: u8,
    /// Shortest time between two look-ups.
    pub min_ttl: Duration,
    /// Longest time between two look-ups.
    pub max_ttl: Duration,
    /// Negative answers in a row that count.
    pub empty_after: u8,
    /// How long addresses outlive the answers.
    pub sticky: Duration,
}

impl Raw {
    /// Checks the settings.
    ///
    /// # Errors
    /// The first key that cannot be.
    pub fn check(&self, _dir: &Path) -> Result<Settings, Fault> {
        let time = |key, text: &Option<String>, default, min: u64, max: u64| {
            let range = Duration::from_millis(min)..=Duration::from_millis(max);
            duration(key, text.as_deref().unwrap_or(default), range)
        };
        let settings = Settings {
            servers: self.servers.iter().flatten().map(|s| server(s)).collect::<Result<_, _>>()?,
            search: self.search.unwrap_or(false),
            timeout: time("timeout", &self.timeout, "2s", 100, 30_000)?,
            attempts: within("attempts", self.attempts.unwrap_or(2), 10)?,
            min_ttl: time("min_ttl", &self.min_ttl, "1s", 100, 3_600_000)?,
            max_ttl: time("max_ttl", &self.max_ttl, "300s", 1_000, 86_400_000)?,
            empty_after: within("empty_after", self.empty_after.unwrap_or(3), 100)?,
            sticky: time("sticky", &self.sticky, "0s", 0, 86_400_000)?,
        };
        if self.servers.as_ref().is_some_and(Vec::is_empty) {
            let hint = "name at least one, or leave `servers` out for those of /etc/resolv.conf";
            return Err(Fault::new("servers", "no name server", hint));
        }
        if settings.min_ttl > settings.max_ttl {
            return Err(Fault::new(
                "min_ttl",
                "longer than `max_ttl`",
                "make it shorter, or `max_ttl` longer",
            ));
        }
        Ok(settings)
    }
}

/// What a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// As it is written; no dot at its end: search domains may be tried.
    pub name: Name,
    /// Records.
    pub record: Record,
}

/// Which records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Addresses, of this port: IPv4, IPv6.
    Address { port: u16, v4: bool, v6: bool },
    /// Targets and ports.
    Srv,
}

/// Checks a query's name and options.
///
/// # Errors
/// The first key that cannot be.
pub fn check_query(query: &Query) -> Result<(), Fault> {
    question(query).map(|_| ())
}

pub(super) fn question(query: &Query) -> Result<Question, Fault> {
    let name = Name::from_utf8(&query.service).ok().filter(|name| name.iter().next().is_some());
    let Some(name) = name else {
        let message = format!("\"{}\" is no DNS name", query.service);
        return Err(Fault::new("service", message, "write it like web.example.org"));
    };
    let port = match query.options.get("port") {
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err(Fault::new("port", format!("\"{text}\" is no port"), "write 1 to 65535")),
        },
        None => None,
    };
    let (v4, v6) = match query.options.get("record").map_or("address", String::as_str) {
        "address" => (true, true),
        "a" => (true, false),
        "aaaa" => (false, true),
        "srv" if port.is_some() => {
            return Err(Fault::new("port", "SRV records say the port themselves", "leave `port` out"));
        }
        "srv" => return Ok(Question { name, record: Record::Srv }),
        other => {
            let hint = "write \"address\" (A and AAAA), \"a\", \"aaaa\" or \"srv\"";
            return Err(Fault::new("record", format!("there is no record \"{other}\""), hint));
        }
    };
    let Some(port) = port else {
        let hint = "add `port = 8080`, or ask for `record = \"srv\"`";
        return Err(Fault::new("port", "addresses in DNS have no port", hint));
    };
    Ok(Question { name, record: Record::Address { port, v4, v6 } })
}

fn server(text: &str) -> Result<SocketAddr, Fault> {
    let addr =
        text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
    addr.ok().filter(|addr| addr.port() != 0).ok_or_else(|| {
        let message = format!("\"{text}\" is no name server's address");
        Fault::new(
            "servers",
            message,
            "write it like \"192.0.2.53\", \"192.0.2.53:5353\" or \"[2001:db8::53]:53\"",
        )
    })
}

fn within(key: &'static str, value: u8, max: u8) -> Result<u8, Fault> {
    if (1..=max).contains(&value) {
        return Ok(value);
    }
    Err(Fault::new(key, format!("{value} is not from 1 to {max}"), "write a number within these bounds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let check = |text: &str| toml::from_str::<Raw>(text).unwrap().check(Path::new("/"));
        let settings = check("").unwrap();
        assert_eq!((settings.min_ttl, settings.max_ttl), (Duration::from_secs(1), Duration::from_secs(300)));
        assert_eq!((settings.empty_after, settings.search, settings.servers.len()), (3, false, 0));
        let servers = check("servers = ['192.0.2.1', '[2001:db8::1]:5353', '2001:db8::2']").unwrap().servers;
        assert_eq!(
            servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            "192.0.2.1:53 [2001:db8::1]:5353 [2001:db8::2]:53"
        );
        for (text, key) in [
            ("servers = []", "servers"),
            ("servers = ['dns.example']", "servers"),
            ("timeout = '1h'", "timeout"),
            ("attempts = 0", "attempts"),
            ("empty_after = 101", "empty_after"),
            ("min_ttl = '10m'", "min_ttl"),
        ] {
            assert_eq!(check(text).unwrap_err().key, key, "{text}");
        }
    }

    #[test]
    fn queries_are_checked() {
        let ask = |service: &str, options: &[(&str, &str)]| {
            let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            question(&Query { service: service.to_owned(), options }).map(|q| q.record).map_err(|f| f.key)
        };
        let port = ("port", "80");
        assert_eq!(ask("a.example", &[port]), Ok(Record::Address { port: 80, v4: true, v6: true }));
        assert_eq!(
            ask("a.example.", &[port, ("record", "aaaa")]),
            Ok(Record::Address { port: 80, v4: false, v6: true })
        );
        assert_eq!(ask("_http._tcp.a.example", &[("record", "srv")]), Ok(Record::Srv));
        assert_eq!(ask("a.example", &[]), Err("port"));
        assert_eq!(ask("a.example", &[("port", "0")]), Err("port"));
        assert_eq!(ask("a.example", &[port, ("record", "srv")]), Err("port"));
        assert_eq!(ask("a.example", &[port, ("record", "mx")]), Err("record"));
        assert_eq!(ask("", &[port]), Err("service"));
        assert_eq!(ask(".", &[port]), Err("service"));
        assert_eq!(ask("a..b", &[port]), Err("service"));
        assert_eq!(ask(&"a.".repeat(200), &[port]), Err("service"));
    }
}
