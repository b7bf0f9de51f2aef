//! Texts that name an endpoint, as SOFARPC, Dubbo and plain writers write them.
//!
//! `[scheme://][user@]host:port[/path][?key=value&...]`, where the host is an IPv4 address or an IPv6 address in brackets.
//! One place for every registry; what is no address is refused with a reason and never looked up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use thiserror::Error;

use super::source::{Endpoint, MAX_ENDPOINT_TEXT, MAX_LABEL_TEXT, MAX_LABELS};
use crate::model::BackendAddr;

/// Why a text names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadEndpoint {
    /// Longer than [`MAX_ENDPOINT_TEXT`].
    #[error("{0} bytes long, more than {MAX_ENDPOINT_TEXT}")]
    TooLong(usize),
    /// Nothing where the host should be.
    #[error("no address in it")]
    NoHost,
    /// A name, or a mistyped address.
    #[error("\"{0}\" is no IP address; register the address, or have the dns registry resolve the name")]
    NotAnAddress(String),
    /// No port, and none by default.
    #[error("a host without a port")]
    NoPort,
    /// A port that is none.
    #[error("\"{0}\" is no port from 1 to 65535")]
    BadPort(String),
    /// A weight that is none.
    #[error("\"{0}\" is no weight: a number from 0 up")]
    BadWeight(String),
}

/// Reads an endpoint text. `default_port` is for texts without a port, which are refused where it is none.
///
/// The weight is that of `weight`, else of `_WEIGHT`; the zone that of `zone`. Labels: `protocol` (or the scheme), `version`,
/// `application` (`appName`, `app_name`), `serialization`, `rpc_version` (`rpcVer`, `release`, `dubbo`), `path`, and the
/// writer's other keys as they are; times, process numbers and what may be a [`secret`] left out. Keys and values that are too long are left out.
pub fn parse(text: &str, default_port: Option<u16>) -> Result<Endpoint, BadEndpoint> {
    if text.len() > MAX_ENDPOINT_TEXT {
        return Err(BadEndpoint::TooLong(text.len()));
    }
    let parts = Parts::of(text.trim());
    let addr = address(parts.authority, default_port)?;
    let fields = parts.fields();
    let weight = match fields.get("weight").or_else(|| fields.get("_WEIGHT")) {
        Some(text) => Some(weight(text)?),
        None => None,
    };
    let says = |key: &str, value: &str| fields.get(key).is_some_and(|v| v.eq_ignore_ascii_case(value));
    Ok(Endpoint {
        addr,
        weight,
        enabled: !(says("enabled", "false") || says("disabled", "true")),
        zone: fields.get("zone").filter(|z| fits(z)).map(|z| Arc::from(z.as_str())),
        labels: labels(&parts, &fields),
    })
}

/// Reads `host:port`, `[v6]:port` or, with a default port, an address alone.
pub fn address(text: &str, default_port: Option<u16>) -> Result<BackendAddr, BadEndpoint> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(|| BadEndpoint::NotAnAddress(shown(text)))?;
            let addr = host.parse::<Ipv6Addr>().map_err(|_| BadEndpoint::NotAnAddress(shown(host)))?;
            match after.strip_prefix(':') {
                Some(port) => (IpAddr::V6(addr), Some(port)),
                None if after.is_empty() => (IpAddr::V6(addr), None),
                None => return Err(BadEndpoint::NotAnAddress(shown(text))),
            }
        }
        // More than one colon without brackets is an IPv6 address, and where its port would begin nobody can say.
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (ip(host)?, Some(port)),
            _ => (ip(text)?, None),
        },
    };
    let port = match port {
        Some(text) => number(text).ok_or_else(|| BadEndpoint::BadPort(shown(text)))?,
        None => default_port.ok_or(BadEndpoint::NoPort)?,
    };
    Ok(BackendAddr { addr: host.to_canonical(), port })
}

/// Reads a weight: finite and not negative.
pub fn weight(text: &str) -> Result<f64, BadEndpoint> {
    match text.trim().parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
        _ => Err(BadEndpoint::BadWeight(shown(text))),
    }
}

/// A text from outside, fit for a log line: short, without control characters, and without what may be a secret: what stands
/// before an `@`, and a query with a key of [`secret`].
pub fn shown(text: &str) -> String {
    let text = without_user(text);
    let text = match text.split_once('?') {
        Some((head, query))
            if query.split('&').any(|field| secret(field.split('=').next().unwrap_or(field))) =>
        {
            return format!("{}?…", shown(head));
        }
        _ => text,
    };
    let mut shown: String =
        text.chars().take(LONGEST_SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// What follows the last `@`, if a user and password may stand before it. A password may have any character, `@`, `/` and `?`
/// among them; only a text that begins with an address has none.
fn without_user(text: &str) -> &str {
    let Some((before, after)) = text.rsplit_once('@').filter(|(before, _)| before.contains(':')) else {
        return text;
    };
    let authority = before.split_once("://").map_or(before, |(_, rest)| rest);
    let first = authority.split(['/', '?']).next().unwrap_or_default();
    let is_address = first.parse::<SocketAddr>().is_ok() || first.parse::<IpAddr>().is_ok();
    if is_address { text } else { after }
}

/// Whether a key names something that nobody but its owner is to see. Such labels are not kept.
pub fn secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRETS.iter().any(|word| key.contains(word))
}

/// For fuzzing: whatever the bytes are, no panic, and nothing kept that is longer than they are.
pub fn fuzz(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(endpoint) = parse(text, data.len().is_multiple_of(2).then_some(80))
    {
        let kept: usize = endpoint.labels.iter().map(|(key, value)| key.len().min(value.len())).sum();
        assert!(endpoint.labels.len() <= MAX_LABELS && kept <= data.len(), "{text:?}");
    }
}

struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, rest) = match rest.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, rest),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Self { scheme, authority, path, query }
    }

    /// The query's fields; of a key that comes twice the first, as Java writers mean it.
    fn fields(&self) -> BTreeMap<&'a str, String> {
        let mut fields = BTreeMap::new();
        for (key, value) in self.query.split('&').filter_map(|field| field.split_once('=')) {
            fields.entry(key).or_insert_with(|| decoded(value));
        }
        fields
    }
}

fn labels(parts: &Parts<'_>, fields: &BTreeMap<&str, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut labels: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    let mut keep = |key: &str, value: &str| {
        if fits(key) && fits(value) && labels.len() < MAX_LABELS && !labels.contains_key(key) {
            labels.insert(Arc::from(key), Arc::from(value));
        }
    };
    for (label, keys) in NAMED {
        if let Some(value) = keys.iter().find_map(|key| fields.get(key)) {
            keep(label, value);
        }
    }
    keep("protocol", parts.scheme.unwrap_or_default());
    keep("path", parts.path);
    for (key, value) in fields.iter().filter(|(key, _)| !ELSEWHERE.contains(key) && !secret(key)) {
        keep(key, value);
    }
    labels
}

fn ip(text: &str) -> Result<IpAddr, BadEndpoint> {
    if text.is_empty() {
        return Err(BadEndpoint::NoHost);
    }
    text.parse().map_err(|_| BadEndpoint::NotAnAddress(shown(text)))
}

fn number(text: &str) -> Option<u16> {
    // `parse` takes a plus sign, too.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn fits(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LABEL_TEXT && !text.chars().any(char::is_control)
}

/// `%41` as `A`; as it is where that makes no text.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| {
            after.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
        };
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

const LONGEST_SHOWN: usize = 160;

/// Parts of the keys of secrets: Dubbo's `token`, `password`, `accessKeyId`, and what others call them.
const SECRETS: [&str; 9] =
    ["passw", "pwd", "secret", "token", "credential", "accesskey", "access_key", "apikey", "api_key"];

/// Labels with a name of weir's own, and the writers' keys for them.
const NAMED: [(&str, &[&str]); 5] = [
    ("protocol", &["protocol"]),
    ("version", &["version"]),
    ("application", &["application", "appName", "app_name"]),
    ("serialization", &["serialization"]),
    ("rpc_version", &["rpcVer", "release", "dubbo"]),
];

/// Keys that are fields of the endpoint, labels under another name, or different at each start of the same process.
const ELSEWHERE: [&str; 19] = [
    "weight",
    "_WEIGHT",
    "zone",
    "enabled",
    "disabled",
    "application",
    "appName",
    "app_name",
    "rpcVer",
    "release",
    "dubbo",
    "_SERIALIZETYPE",
    "_TIMEOUT",
    "p",
    "v",
    "startTime",
    "timestamp",
    "pid",
    "methods",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labelled(endpoint: &Endpoint) -> Vec<(&str, &str)> {
        endpoint.labels.iter().map(|(key, value)| (&**key, &**value)).collect()
    }

    #[test]
    fn as_sofarpc_writes_it() {
        let text = "10.99.0.1:12200?rpcVer=51302&serialization=hessian2&weight=50&appName=prov&p=1&v=4.0\
                    &_SERIALIZETYPE=hessian2&_WEIGHT=100&app_name=prov&startTime=1795378918158";
        let endpoint = parse(text, None).unwrap();
        assert_eq!(endpoint.addr, BackendAddr { addr: "10.99.0.1".parse().unwrap(), port: 12200 });
        assert_eq!((endpoint.weight, endpoint.enabled, endpoint.zone.as_deref()), (Some(50.0), true, None));
        let want = [("application", "prov"), ("rpc_version", "51302"), ("serialization", "hessian2")];
        assert_eq!(labelled(&endpoint), want);
        assert_eq!(parse("10.0.0.1:80?_WEIGHT=7", None).unwrap().weight, Some(7.0));
    }

    #[test]
    fn as_dubbo_writes_it() {
        let text = "dubbo://u:secret@[2001:db8::1]:20880/a.b.Hello?application=shop&version=1.2&zone=rz%2001&enabled=false&tag=gray";
        let endpoint = parse(text, None).unwrap();
        assert_eq!(endpoint.addr, BackendAddr { addr: "2001:db8::1".parse().unwrap(), port: 20880 });
        assert_eq!(
            (endpoint.weight, endpoint.enabled, endpoint.zone.as_deref()),
            (None, false, Some("rz 01"))
        );
        let want = [
            ("application", "shop"),
            ("path", "a.b.Hello"),
            ("protocol", "dubbo"),
            ("tag", "gray"),
            ("version", "1.2"),
        ];
        assert_eq!(labelled(&endpoint), want);
    }

    #[test]
    fn secrets_are_no_labels() {
        let text = "dubbo://10.0.0.1:80/a?token=t&Password=p&accessKeyId=k&client_secret=s&tag=gray";
        let endpoint = parse(text, None).unwrap();
        assert_eq!(labelled(&endpoint), [("path", "a"), ("protocol", "dubbo"), ("tag", "gray")]);
    }

    #[test]
    fn plain_forms_and_the_default_port() {
        for (text, port, want) in [
            ("10.0.0.1:80", None, "10.0.0.1:80"),
            (" 10.0.0.1:80\n", None, "10.0.0.1:80"),
            ("bolt://10.0.0.1:80", None, "10.0.0.1:80"),
            ("[::1]:80", None, "[::1]:80"),
            ("::1", Some(9), "[::1]:9"),
            ("[::1]", Some(9), "[::1]:9"),
            ("10.0.0.1", Some(9), "10.0.0.1:9"),
            ("[::ffff:10.0.0.1]:80", None, "10.0.0.1:80"),
        ] {
            let want: SocketAddr = want.parse().unwrap();
            let addr = parse(text, port).unwrap().addr;
            assert_eq!((addr.addr, addr.port), (want.ip(), want.port()), "{text}");
        }
    }

    #[test]
    fn refused_with_the_reason() {
        for (text, why) in [
            ("10.0.0.1", "a host without a port"),
            ("::1", "a host without a port"),
            ("", "no address in it"),
            (":80", "no address in it"),
            (
                "db.example:80",
                "\"db.example\" is no IP address; register the address, or have the dns registry resolve the name",
            ),
            (
                "[::1]80",
                "\"[::1]80\" is no IP address; register the address, or have the dns registry resolve the name",
            ),
            ("10.0.0.1:0", "\"0\" is no port from 1 to 65535"),
            ("10.0.0.1:+80", "\"+80\" is no port from 1 to 65535"),
            ("10.0.0.1:65536", "\"65536\" is no port from 1 to 65535"),
            ("10.0.0.1:80?weight=-1", "\"-1\" is no weight: a number from 0 up"),
            ("10.0.0.1:80?weight=NaN", "\"NaN\" is no weight: a number from 0 up"),
            ("10.0.0.1:80?weight=", "\"\" is no weight: a number from 0 up"),
        ] {
            assert_eq!(parse(text, None).unwrap_err().to_string(), why, "{text}");
        }
        assert_eq!(parse(&"1".repeat(9000), None), Err(BadEndpoint::TooLong(9000)));
    }

    #[test]
    fn shown_without_passwords_and_control_characters() {
        for text in ["dubbo://u:p@host:1\n", "u:p@host:1\n", "u:p@s:s@host:1\n", "x://u:p/@?@host:1\n"] {
            assert_eq!(shown(text), "host:1?", "{text}");
        }
        for text in ["x://10.0.0.1:1/a@b", "10.0.0.1:1?a=x@b", "a@b:1", "no secret"] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("dubbo://h:1/a?tag=x&Token=abc"), "dubbo://h:1/a?…");
        assert_eq!(shown("h:1?tag=x"), "h:1?tag=x");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), LONGEST_SHOWN + 1);
    }

    proptest! {
        #[test]
        fn any_text(text in any::<String>()) {
            fuzz(text.as_bytes());
        }

        #[test]
        fn near_texts(text in r"([a-z]{0,5}://)?(\[?[0-9a-f.:]{0,20}\]?)(:[0-9]{0,6})?(/[a-z%]{0,9})?(\?([a-zA-Z_%0-9=&]{0,40}))?") {
            fuzz(text.as_bytes());
        }

        #[test]
        fn what_is_written_is_read(addr in any::<IpAddr>(), port in 1_u16.., weight in 0_u32..100_000) {
            let text = format!("{}?weight={weight}", SocketAddr::new(addr, port));
            let endpoint = parse(&text, None).unwrap();
            prop_assert_eq!(endpoint.addr, BackendAddr { addr: addr.to_canonical(), port });
            prop_assert_eq!(endpoint.weight, Some(f64::from(weight)));
        }
    }
}
