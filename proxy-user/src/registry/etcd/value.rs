//! Values that are JSON objects: with fields that the options name, or as gRPC's naming of etcd's own clients writes them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use serde_json::Value;

use super::layout::keep;
use crate::registry::endpoint;
use crate::registry::fault::Fault;
use crate::registry::source::{Endpoint, MAX_LABEL_TEXT, MAX_LABELS};

/// Fields of the JSON objects, where nothing else is said.
pub(super) const USUAL: &str = "address=address, port=port, weight=weight, zone=zone, enabled=enabled";

/// Where the parts of an endpoint are in a JSON object, as JSON pointers by the part's name. Names that are no part of an
/// endpoint are labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads `address=host, port=ports.0, zone=/meta/zone`: a path is made of names and numbers with dots between them, or a
    /// JSON pointer.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let fault = |why: &str| {
            let hint = "write it like \"address=host, port=port, zone=meta.zone\"";
            Err(Fault::new("value", format!("\"{}\" {why}", endpoint::shown(text)), hint))
        };
        let mut fields = BTreeMap::new();
        for field in text.split(',') {
            let Some((name, path)) = field.split_once('=') else {
                return fault("has a field without its path");
            };
            let (name, path) = (name.trim(), path.trim());
            if name.is_empty() || name.len() > MAX_LABEL_TEXT || path.is_empty() {
                return fault("has a field without a name or a path");
            }
            let pointer =
                if path.starts_with('/') { path.to_owned() } else { format!("/{}", path.replace('.', "/")) };
            if fields.insert(name.to_owned(), pointer).is_some() {
                return fault("has a field twice");
            }
        }
        if !fields.contains_key("address") {
            return fault("does not say where the address is");
        }
        if fields.len() > MAX_LABELS {
            return fault("has too many fields");
        }
        Ok(Self(fields))
    }

    /// The endpoint that an object describes, or why it describes none.
    pub(super) fn endpoint(&self, value: &[u8], port: Option<u16>) -> Result<Endpoint, String> {
        let value = object(value)?;
        let field = |name: &str| {
            let pointer = self.0.get(name)?;
            let found = value.pointer(pointer).filter(|value| !value.is_null())?;
            Some((pointer, found))
        };
        let text = |name: &str| match field(name) {
            None => Ok(None),
            Some((pointer, found)) => match scalar(found) {
                Some(text) => Ok(Some(text)),
                None => Err(format!("{pointer} is neither text nor number")),
            },
        };
        let port = match text("port")? {
            Some(text) => Some(text.parse().ok().filter(|port| *port > 0).ok_or_else(|| no(&text, "port"))?),
            None => port,
        };
        let address = text("address")?.ok_or("there is no address where `value` says")?;
        let mut endpoint = endpoint::parse(&address, port).map_err(|error| error.to_string())?;
        if let Some(text) = text("weight")? {
            endpoint.weight = Some(endpoint::weight(&text).map_err(|error| error.to_string())?);
        }
        if let Some(zone) = text("zone")? {
            endpoint.zone = zone_of(&zone);
        }
        if let Some(text) = text("enabled")? {
            endpoint.enabled = text.parse().map_err(|_| no(&text, "true or false"))?;
        }
        for (name, pointer) in self.0.iter().filter(|(name, _)| !PARTS.contains(&name.as_str())) {
            if let Some(text) = value.pointer(pointer).and_then(scalar) {
                keep(&mut endpoint.labels, name, &text);
            }
        }
        Ok(endpoint)
    }
}

/// Reads `{"Op":0,"Addr":"10.0.0.1:80","Metadata":..}`. Of an object as metadata `weight` and `zone` are the endpoint's, its
/// other texts, numbers and truths labels; a text is the label `metadata`.
pub(super) fn grpc(value: &[u8], port: Option<u16>) -> Result<Endpoint, String> {
    let value = object(value)?;
    if value.get("Op").is_some_and(|op| op != 0) {
        return Err("its Op is not 0".to_owned());
    }
    let address = value.get("Addr").and_then(Value::as_str).ok_or("it has no text Addr")?;
    let mut endpoint = endpoint::parse(address, port).map_err(|error| error.to_string())?;
    match value.get("Metadata") {
        Some(Value::Object(fields)) => {
            for (name, value) in fields {
                match (name.as_str(), scalar(value)) {
                    (_, None) => {}
                    ("weight", Some(text)) => {
                        endpoint.weight = Some(endpoint::weight(&text).map_err(|error| error.to_string())?);
                    }
                    ("zone", Some(text)) => endpoint.zone = zone_of(&text),
                    (name, Some(text)) => keep(&mut endpoint.labels, name, &text),
                }
            }
        }
        Some(Value::String(text)) => keep(&mut endpoint.labels, "metadata", text),
        _ => {}
    }
    Ok(endpoint)
}

fn object(value: &[u8]) -> Result<Value, String> {
    let value: Value =
        serde_json::from_slice(value).map_err(|error| format!("the value is no JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("the value is no JSON object".to_owned()) }
}

/// A text, number or truth as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn zone_of(text: &str) -> Option<Arc<str>> {
    (!text.is_empty() && text.len() <= MAX_LABEL_TEXT).then(|| Arc::from(text))
}

fn no(text: &str, what: impl Display) -> String {
    format!("\"{}\" is no {what}", endpoint::shown(text))
}

/// Names of [`Fields`] that are no labels.
const PARTS: [&str; 5] = ["address", "port", "weight", "zone", "enabled"];

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(value: &str) -> Result<Endpoint, String> {
        Fields::read(USUAL).unwrap().endpoint(value.as_bytes(), None)
    }

    #[test]
    fn fields_are_found() {
        let fields =
            Fields::read("address = net.ip, port=/net/ports/0, weight=w, zone=m.zone, version=m.v").unwrap();
        let value = br#"{"net":{"ip":"2001:db8::1","ports":["80"]},"w":"2.5","m":{"zone":"rz1","v":3}}"#;
        let endpoint = fields.endpoint(value, None).unwrap();
        assert_eq!((endpoint.addr.addr.to_string().as_str(), endpoint.addr.port), ("2001:db8::1", 80));
        assert_eq!((endpoint.weight, endpoint.zone.as_deref()), (Some(2.5), Some("rz1")));
        assert_eq!(endpoint.labels.get("version").map(|value| &**value), Some("3"));
        let off = usual(r#"{"address":"10.0.0.1:80","enabled":false,"weight":null}"#).unwrap();
        assert_eq!((off.enabled, off.weight), (false, None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (value, why) in [
            ("", "the value is no JSON: EOF while parsing a value at line 1 column 0"),
            ("[]", "the value is no JSON object"),
            ("{}", "there is no address where `value` says"),
            (r#"{"address":{}}"#, "/address is neither text nor number"),
            (r#"{"address":"10.0.0.1"}"#, "a host without a port"),
            (r#"{"address":"10.0.0.1","port":0}"#, "\"0\" is no port"),
            (r#"{"address":"10.0.0.1","port":65536}"#, "\"65536\" is no port"),
            (r#"{"address":"10.0.0.1:1","weight":-1}"#, "\"-1\" is no weight: a number from 0 up"),
            (r#"{"address":"10.0.0.1:1","weight":"NaN"}"#, "\"NaN\" is no weight: a number from 0 up"),
            (r#"{"address":"10.0.0.1:1","enabled":"no"}"#, "\"no\" is no true or false"),
        ] {
            assert_eq!(usual(value).unwrap_err(), why, "{value}");
        }
    }

    #[test]
    fn grpc_naming_is_read() {
        let endpoint = grpc(
            br#"{"Op":0,"Addr":"10.0.0.1:80","Metadata":{"weight":3,"zone":"a","v":"1","deep":{}}}"#,
            None,
        )
        .unwrap();
        assert_eq!(
            (endpoint.weight, endpoint.zone.as_deref(), endpoint.labels.len()),
            (Some(3.0), Some("a"), 1)
        );
        assert_eq!(grpc(br#"{"Addr":"10.0.0.1:80","Metadata":"x"}"#, None).unwrap().labels.len(), 1);
        for value in [
            r#"{"Op":1,"Addr":"10.0.0.1:80"}"#,
            r#"{"Op":0}"#,
            r#"{"Addr":"db.example:80"}"#,
            r#"{"Addr":"10.0.0.1:80","Metadata":{"weight":-1}}"#,
        ] {
            grpc(value.as_bytes(), None).unwrap_err();
        }
    }
}
