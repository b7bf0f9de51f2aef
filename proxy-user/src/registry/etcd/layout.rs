//! How a service's endpoints are written in etcd: the options of a `discover` entry, and what a key and its value mean by
//! them.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::template::Template;
use super::value::{self, Fields};
use crate::registry::endpoint;
use crate::registry::fault::Fault;
use crate::registry::source::{Endpoint, MAX_ENDPOINT_TEXT, MAX_LABEL_TEXT, MAX_LABELS, Query};

/// Where the endpoint's address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// In the key; the value means nothing.
    Key,
    /// The value is an endpoint text, such as `10.0.0.1:80`.
    Address,
    /// The value is a JSON object with these fields.
    Json(Fields),
    /// The value is what gRPC's naming of etcd's own clients writes.
    Grpc,
}

/// How the endpoints of one query are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    key: Template,
    format: Format,
    port: Option<u16>,
}

impl Layout {
    /// Reads the options of a query.
    pub(super) fn of(query: &Query) -> Result<Self, Fault> {
        let option = |name: &str| query.options.get(name).map(String::as_str);
        let key = template("service", &query.service, option("key"))?;
        let format = match (option("format"), option("value")) {
            (None, _) if key.has("address") || key.has("host") => Format::Key,
            (None, _) => Format::Address,
            (Some("key"), _) => Format::Key,
            (Some("address"), _) => Format::Address,
            (Some("grpc"), _) => Format::Grpc,
            (Some("json"), fields) => Format::Json(Fields::read(fields.unwrap_or(value::USUAL))?),
            (Some(other), _) => {
                return Err(Fault::new(
                    "format",
                    format!("\"{other}\" is no format of etcd's values"),
                    FORMATS,
                ));
            }
        };
        if option("value").is_some() && !matches!(format, Format::Json(_)) {
            return Err(Fault::new(
                "value",
                "`value` names fields of JSON objects, and the values are none",
                "write format = \"json\", or leave `value` out",
            ));
        }
        if format == Format::Key && !key.has("address") && !key.has("host") {
            return Err(Fault::new(
                "format",
                "the address is to be in the key, and its template has none",
                "write a key with {address}, or with {host} and {port}",
            ));
        }
        let port = match option("port").map(|text| (text, text.parse::<u16>())) {
            None => None,
            Some((_, Ok(port))) if port > 0 => Some(port),
            Some((text, _)) => {
                return Err(Fault::new(
                    "port",
                    format!("\"{text}\" is no port"),
                    "write a number from 1 to 65535",
                ));
            }
        };
        Ok(Self { key, format, port })
    }

    /// What the keys of all endpoints begin with, and nothing else should.
    pub(super) fn prefix(&self) -> &str {
        self.key.prefix()
    }

    /// The endpoint that a key and its value mean, or why they mean none.
    pub(super) fn endpoint(&self, key: &[u8], value: &[u8]) -> Result<Endpoint, String> {
        let key = std::str::from_utf8(key).map_err(|_| "the key is no text".to_owned())?;
        let parts = self.key.read(key).ok_or("the key is not of the form that `key` says")?;
        let parts: BTreeMap<&str, &str> = parts.into_iter().collect();
        if value.len() > MAX_ENDPOINT_TEXT && self.format != Format::Key {
            return Err(format!("the value has {} bytes, more than {MAX_ENDPOINT_TEXT}", value.len()));
        }
        let text = || std::str::from_utf8(value).map_err(|_| "the value is no text".to_owned());
        let mut endpoint = match &self.format {
            Format::Key => self.in_key(&parts),
            Format::Address => endpoint::parse(text()?, self.port).map_err(|error| error.to_string()),
            Format::Json(fields) => fields.endpoint(value, self.port),
            Format::Grpc => value::grpc(value, self.port),
        }?;
        for (name, value) in parts {
            match name {
                "address" | "host" | "port" | "id" => {}
                "weight" if endpoint.weight.is_some() => {}
                "weight" => {
                    endpoint.weight = Some(endpoint::weight(value).map_err(|error| error.to_string())?)
                }
                "zone" => {
                    endpoint.zone.get_or_insert_with(|| Arc::from(value));
                }
                label => keep(&mut endpoint.labels, label, value),
            }
        }
        Ok(endpoint)
    }

    fn in_key(&self, parts: &BTreeMap<&str, &str>) -> Result<Endpoint, String> {
        let text = match (parts.get("address"), parts.get("host"), parts.get("port")) {
            (Some(address), ..) => (*address).to_owned(),
            (None, Some(host), port) => {
                let host =
                    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { (*host).to_owned() };
                port.map_or(host.clone(), |port| format!("{host}:{port}"))
            }
            (None, None, _) => return Err("no address in the key".to_owned()),
        };
        endpoint::parse(&text, self.port).map_err(|error| error.to_string())
    }
}

/// For fuzzing: whatever is written under a key, no panic, and no more kept than may be. A zero ends what the key has after
/// its prefix.
pub(super) fn fuzz(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (end, value) = (data.get(..at).unwrap_or_default(), data.get(at + 1..).unwrap_or_default());
    let layouts: [&[(&str, &str)]; 5] = [
        &[],
        &[("format", "json"), ("port", "80")],
        &[("format", "grpc")],
        &[("key", "{service}/{address}")],
        &[("key", "{service}/{zone}/{host}:{port}/{weight}")],
    ];
    for options in layouts {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let layout = Layout::of(&Query { service: "/a".to_owned(), options });
        assert!(layout.is_ok(), "{layout:?}");
        let Ok(layout) = layout else { return };
        if let Ok(endpoint) = layout.endpoint(&[layout.prefix().as_bytes(), end].concat(), value) {
            assert!(
                endpoint.labels.len() <= MAX_LABELS && endpoint.weight.is_none_or(|weight| weight >= 0.0)
            );
        }
    }
}

/// The template of keys: as written, or the service's name and one part after it.
pub(super) fn template(key: &'static str, service: &str, text: Option<&str>) -> Result<Template, Fault> {
    if service.trim_end_matches('/').is_empty() {
        return Err(Fault::new(
            key,
            "the service has no name",
            "write the begin of its keys, such as /services/web",
        ));
    }
    let hint = "write it like /services/{service}/{id}";
    Template::new(text.unwrap_or(USUAL_KEY), service).map_err(|bad| Fault::new("key", bad.to_string(), hint))
}

/// Adds a label, unless one of that name is there, it is too long, or there are too many.
pub(super) fn keep(labels: &mut BTreeMap<Arc<str>, Arc<str>>, name: &str, value: &str) {
    let fits =
        |text: &str| !text.is_empty() && text.len() <= MAX_LABEL_TEXT && !text.chars().any(char::is_control);
    if labels.len() < MAX_LABELS && fits(name) && fits(value) {
        labels.entry(Arc::from(name)).or_insert_with(|| Arc::from(value));
    }
}

const USUAL_KEY: &str = "{service}/{id}";
pub(super) const FORMATS: &str = "write key, address, json or grpc";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(service: &str, options: &[(&str, &str)]) -> Query {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Query { service: service.to_owned(), options }
    }

    fn layout(options: &[(&str, &str)]) -> Layout {
        Layout::of(&query("web", options)).unwrap()
    }

    #[test]
    fn the_address_is_where_the_options_say() {
        for (options, key, value) in [
            (&[][..], "web/a", "10.0.0.1:80"),
            (&[("port", "80")], "web/a", "10.0.0.1"),
            (&[("key", "/s/{service}/{address}")], "/s/web/10.0.0.1:80", "anything"),
            (&[("key", "/s/{service}/{host}/{port}")], "/s/web/10.0.0.1/80", ""),
            (&[("key", "/s/{service}/{address}"), ("format", "address")], "/s/web/x", "http://10.0.0.1:80/"),
            (&[("format", "json")], "web/a", r#"{"address":"10.0.0.1","port":80}"#),
            (&[("format", "json"), ("value", "address=a.0.b")], "web/a", r#"{"a":[{"b":"10.0.0.1:80"}]}"#),
            (&[("format", "grpc")], "web/10.0.0.1:80", r#"{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}"#),
        ] {
            let endpoint = layout(options).endpoint(key.as_bytes(), value.as_bytes()).unwrap();
            assert_eq!(
                (endpoint.addr.addr.to_string().as_str(), endpoint.addr.port),
                ("10.0.0.1", 80),
                "{key}"
            );
        }
    }

    #[test]
    fn parts_of_the_key_are_kept() {
        let layout = layout(&[("key", "/{service}/{zone}/{weight}/{version}/{host}:{port}")]);
        let endpoint = layout.endpoint(b"/web/rz1/7/v2/10.0.0.1:80", b"").unwrap();
        assert_eq!((endpoint.zone.as_deref(), endpoint.weight), (Some("rz1"), Some(7.0)));
        assert_eq!(endpoint.labels.get("version").map(|value| &**value), Some("v2"));
        layout.endpoint(b"/web/rz1/-7/v2/10.0.0.1:80", b"").unwrap_err();
        let six = Layout::of(&query("web", &[("key", "/{service}/{host}/{port}")])).unwrap();
        assert_eq!(six.endpoint(b"/web/2001:db8::1/80", b"").unwrap().addr.addr.to_string(), "2001:db8::1");
    }

    #[test]
    fn each_fault_names_its_option() {
        for (options, key) in [
            (&[("key", "/x/{id}")][..], "key"),
            (&[("format", "xml")], "format"),
            (&[("format", "key")], "format"),
            (&[("value", "address=a")], "value"),
            (&[("format", "json"), ("value", "port=a")], "value"),
            (&[("format", "json"), ("value", "address")], "value"),
            (&[("port", "0")], "port"),
        ] {
            assert_eq!(Layout::of(&query("web", options)).unwrap_err().key, key, "{options:?}");
        }
        assert_eq!(Layout::of(&query("/", &[])).unwrap_err().key, "service");
    }

    proptest! {
        #[test]
        fn any_value(value in proptest::collection::vec(any::<u8>(), 0..300), near in r#"\{"(address|Addr|port|weight|Op|Metadata)":("?[0-9a-f.:-]{0,20}"?|\{\}|null|[0-9]{1,20})(,"(port|weight|zone|enabled|Metadata)":("?[0-9a-z.:-]{0,20}"?|null|\{"weight":-?[0-9]{1,4}\}))?\}"#) {
            for options in [&[][..], &[("format", "json")], &[("format", "grpc")], &[("key", "{service}/{address}")]] {
                let layout = layout(options);
                for (key, value) in [(&b"web/a"[..], &value[..]), (b"web/a", near.as_bytes()), (value.as_slice(), b"")] {
                    if let Ok(endpoint) = layout.endpoint(key, value) {
                        prop_assert!(endpoint.addr.port > 0 && endpoint.weight.is_none_or(|weight| weight >= 0.0));
                        prop_assert!(endpoint.labels.len() <= MAX_LABELS);
                    }
                }
            }
        }
    }
}
