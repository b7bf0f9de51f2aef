//! What a registration writes to etcd: the key and the value that the options of a `publish` entry make of the VIP.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::layout;
use crate::registry::endpoint;
use crate::registry::fault::Fault;
use crate::registry::source::Publication;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registration {
    pub(super) key: String,
    pub(super) value: String,
}

impl Registration {
    /// Reads the options of a publication.
    pub(super) fn of(publication: &Publication) -> Result<Self, Fault> {
        let option = |name: &str| publication.options.get(name).map(String::as_str);
        let address = SocketAddr::new(publication.address.addr, publication.address.port).to_string();
        let weight = option("weight");
        if let Some(text) = weight {
            endpoint::weight(text).map_err(|error| {
                Fault::new("weight", error.to_string(), "write a number such as 100, or leave it out")
            })?;
        }
        let template =
            layout::template("service", &publication.service, Some(option("key").unwrap_or(USUAL_KEY)))?;
        let part = |name: &str| match name {
            "address" | "id" => Some(address.clone()),
            "host" => Some(publication.address.addr.to_string()),
            "port" => Some(publication.address.port.to_string()),
            other => option(other).map(str::to_owned),
        };
        let key = template.write(part).map_err(|name| {
            Fault::new(
                "key",
                format!("nothing says what {{{name}}} is"),
                "use {address}, {host}, {port}, {weight} or {zone}, the last two with options of that name",
            )
        })?;
        let value = match option("format").unwrap_or("address") {
            "address" => address.clone(),
            "key" => String::new(),
            "json" => object(
                json!({ "address": publication.address.addr, "port": publication.address.port }),
                &more(publication)?,
            ),
            "grpc" => {
                let more = more(publication)?;
                let metadata = if more.is_empty() { Value::Null } else { Value::Object(more) };
                json!({ "Op": 0, "Addr": address, "Metadata": metadata }).to_string()
            }
            other => {
                return Err(Fault::new(
                    "format",
                    format!("\"{other}\" is no format of etcd's values"),
                    layout::FORMATS,
                ));
            }
        };
        let in_key = |name: &'static str| option(name).is_some() && !template.has(name);
        let plain = matches!(option("format"), None | Some("address" | "key"));
        if let Some(name) = ["weight", "zone"].into_iter().find(|name| plain && in_key(name)) {
            let hint = format!("write format = \"json\" or \"grpc\", or a key with {{{name}}}");
            return Err(Fault::new(
                name,
                format!("neither the key nor the value has a place for the {name}"),
                hint,
            ));
        }
        if option("format") == Some("key")
            && !template.names().any(|name| matches!(name, "address" | "host" | "id"))
        {
            return Err(Fault::new(
                "format",
                "the address is to be in the key, and its template has none",
                "write a key with {address}",
            ));
        }
        Ok(Self { key, value })
    }
}

/// Weight and zone as JSON.
fn more(publication: &Publication) -> Result<Map<String, Value>, Fault> {
    let mut more = Map::new();
    if let Some(text) = publication.options.get("weight") {
        let number = serde_json::from_str(text.trim()).map_err(|_| {
            Fault::new("weight", format!("\"{text}\" is no JSON number"), "write a number such as 100")
        })?;
        more.insert("weight".to_owned(), Value::Number(number));
    }
    if let Some(zone) = publication.options.get("zone") {
        more.insert("zone".to_owned(), Value::String(zone.clone()));
    }
    Ok(more)
}

fn object(mut value: Value, more: &Map<String, Value>) -> String {
    if let Some(fields) = value.as_object_mut() {
        fields.extend(more.clone());
    }
    value.to_string()
}

const USUAL_KEY: &str = "{service}/{address}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BackendAddr;
    use crate::registry::etcd::layout::Layout;
    use crate::registry::source::Query;

    fn publication(options: &[(&str, &str)]) -> Publication {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let address = BackendAddr { addr: "192.0.2.10".parse().unwrap(), port: 80 };
        Publication { service: "/services/web".to_owned(), options, address }
    }

    #[test]
    fn what_is_registered_is_found() {
        for options in [
            &[][..],
            &[("format", "json"), ("weight", "50"), ("zone", "a")],
            &[("format", "grpc")],
            &[("format", "grpc"), ("weight", "2.5")],
            &[("key", "{service}/{zone}/{host}:{port}"), ("zone", "a"), ("format", "key")],
        ] {
            let publication = publication(options);
            let Registration { key, value } = Registration::of(&publication).unwrap();
            let options =
                publication.options.iter().filter(|(key, _)| matches!(key.as_str(), "key" | "format"));
            let options = options.map(|(key, value)| (key.clone(), value.clone())).collect();
            let layout = Layout::of(&Query { service: publication.service.clone(), options }).unwrap();
            let endpoint = layout.endpoint(key.as_bytes(), value.as_bytes()).unwrap();
            assert_eq!(endpoint.addr, publication.address, "{key} {value}");
            let weight = publication.options.get("weight").map(|text| text.parse::<f64>().unwrap());
            assert_eq!(
                (endpoint.weight, endpoint.zone.as_deref()),
                (weight, publication.options.get("zone").map(String::as_str))
            );
        }
    }

    #[test]
    fn each_fault_names_its_option() {
        for (options, key) in [
            (&[("format", "xml")][..], "format"),
            (&[("key", "{service}/{rack}")], "key"),
            (&[("key", "{address}")], "key"),
            (&[("weight", "-1"), ("format", "json")], "weight"),
            (&[("weight", "5")], "weight"),
            (&[("zone", "a")], "zone"),
            (&[("key", "{service}/{zone}"), ("zone", "a"), ("format", "key")], "format"),
        ] {
            assert_eq!(Registration::of(&publication(options)).unwrap_err().key, key, "{options:?}");
        }
    }
}
