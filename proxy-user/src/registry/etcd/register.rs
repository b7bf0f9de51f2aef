//! What a registration writes to etcd: the key and the value that the options of a `publish` entry make of the VIP.

use std::net::SocketAddr;

use serde_json::{Number, Value, json};

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
        let weight = option("weight").map(weight).transpose()?;
        let key = option("key").unwrap_or(USUAL_KEY);
        let template = layout::template("service", &publication.service, Some(key))?;
        let part = |name: &str| match name {
            "address" | "id" => Some(address.clone()),
            "host" => Some(publication.address.addr.to_string()),
            "port" => Some(publication.address.port.to_string()),
            "weight" => weight.as_ref().map(Number::to_string),
            _ => None,
        };
        let key = template.write(part).map_err(|name| {
            let why = format!("nothing says what {{{name}}} is");
            Fault::new("key", why, "use {address}, {host} and {port}, or {weight} with the option `weight`")
        })?;
        let format = option("format").unwrap_or("address");
        let in_value = matches!(format, "json" | "grpc");
        if weight.is_some() && !in_value && !template.has("weight") {
            let hint = "write format = \"json\" or \"grpc\", or a key with {weight}";
            return Err(Fault::new("weight", "neither the key nor the value has a place for a weight", hint));
        }
        let has_address = template.has("address") || template.has("host") && template.has("port");
        let value = match format {
            "address" => address,
            "key" if has_address => String::new(),
            "key" => {
                let why = "the address is to be in the key, and its template has none";
                return Err(Fault::new("format", why, "write a key with {address}"));
            }
            "json" => {
                let mut value =
                    json!({ "address": publication.address.addr, "port": publication.address.port });
                if let (Some(weight), Some(fields)) = (weight, value.as_object_mut()) {
                    fields.insert("weight".to_owned(), Value::Number(weight));
                }
                value.to_string()
            }
            "grpc" => {
                let metadata = weight.map(|weight| json!({ "weight": weight }));
                json!({ "Op": 0, "Addr": address, "Metadata": metadata }).to_string()
            }
            other => {
                let why = format!("\"{other}\" is no format of etcd's values");
                return Err(Fault::new("format", why, layout::FORMATS));
            }
        };
        Ok(Self { key, value })
    }
}

fn weight(text: &str) -> Result<Number, Fault> {
    let hint = "write a number such as 100, or leave it out";
    endpoint::weight(text).map_err(|error| Fault::new("weight", error.to_string(), hint))?;
    serde_json::from_str(text.trim())
        .map_err(|_| Fault::new("weight", format!("\"{text}\" is no number as JSON writes it"), hint))
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
            &[("format", "json"), ("weight", "50")],
            &[("format", "grpc")],
            &[("format", "grpc"), ("weight", "2.5")],
            &[("key", "{service}/{weight}/{host}:{port}"), ("weight", "7"), ("format", "key")],
        ] {
            let publication = publication(options);
            let Registration { key, value } = Registration::of(&publication).unwrap();
            let options = publication.options.iter().filter(|(key, _)| key.as_str() != "weight");
            let options = options.map(|(key, value)| (key.clone(), value.clone())).collect();
            let layout = Layout::of(&Query { service: publication.service.clone(), options }).unwrap();
            let endpoint = layout.endpoint(key.as_bytes(), value.as_bytes()).unwrap();
            assert_eq!(endpoint.addr, publication.address, "{key} {value}");
            let weight = publication.options.get("weight").map(|text| text.parse::<f64>().unwrap());
            assert_eq!(endpoint.weight, weight, "{key} {value}");
        }
    }

    #[test]
    fn each_fault_names_its_option() {
        for (options, key) in [
            (&[("format", "xml")][..], "format"),
            (&[("key", "{service}/{rack}")], "key"),
            (&[("key", "{address}")], "key"),
            (&[("weight", "-1"), ("format", "json")], "weight"),
            (&[("weight", "+1"), ("format", "json")], "weight"),
            (&[("weight", "5")], "weight"),
            (&[("key", "{service}/{host}"), ("format", "key")], "format"),
        ] {
            assert_eq!(Registration::of(&publication(options)).unwrap_err().key, key, "{options:?}");
        }
    }
}
