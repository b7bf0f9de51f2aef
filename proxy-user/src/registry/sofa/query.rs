//! What a `discover` entry and a `publish` entry say to SOFARegistry.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::message::{Registration, What};
use super::settings::Settings;
use crate::registry::endpoint;
use crate::registry::fault::Fault;
use crate::registry::source::{Publication, Query};

/// Options of a `discover` entry.
pub const OPTIONS: &[&str] = &["group", "instance", "scope", "data_center"];

/// Options of a `publish` entry.
pub const PUBLISH_OPTIONS: &[&str] =
    &["group", "instance", "weight", "app", "protocol", "serialization", "format"];

/// Publishers that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Of every data centre.
    Global,
    /// Of the server's data centre.
    DataCenter,
    /// Of the server's zone.
    Zone,
}

impl Scope {
    /// As the server writes it. What it does not know it takes for `zone`, in silence.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::DataCenter => "dataCenter",
            Self::Zone => "zone",
        }
    }

    pub(super) fn read(key: &'static str, text: &str) -> Result<Self, Fault> {
        let all = [Self::Global, Self::DataCenter, Self::Zone];
        all.into_iter().find(|scope| scope.text() == text).ok_or_else(|| {
            let message = format!("\"{text}\" is no scope");
            Fault::new(key, message, "write global, dataCenter or zone, in this case")
        })
    }
}

/// A query as the server is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) scope: Scope,
    /// The only data centre that counts.
    pub(super) data_center: Option<String>,
    group: String,
    instance: String,
}

/// Checks a query's name and options.
///
/// # Errors
/// [`Fault`] with the key at fault.
pub fn check_query(query: &Query) -> Result<(), Fault> {
    name("service", &query.service)?;
    for (key, text) in &query.options {
        match known(OPTIONS, key)? {
            "scope" => Scope::read("scope", text).map(|_| ())?,
            key => name(key, text).map(|_| ())?,
        }
    }
    Ok(())
}

/// Checks a publication's name and options.
///
/// # Errors
/// [`Fault`] with the key at fault.
pub fn check_publication(publication: &Publication) -> Result<(), Fault> {
    name("service", &publication.service)?;
    for (key, text) in &publication.options {
        match known(PUBLISH_OPTIONS, key)? {
            "weight" => {
                if !text.parse::<u32>().is_ok_and(|weight| weight <= MAX_WEIGHT) {
                    let message = format!("\"{text}\" is no weight");
                    return Err(Fault::new("weight", message, "write a whole number from 0 to 10000"));
                }
            }
            "format" if !matches!(text.as_str(), "sofarpc" | "plain") => {
                let message = format!("\"{text}\" is no format");
                return Err(Fault::new(
                    "format",
                    message,
                    "write sofarpc, or plain for address and port alone",
                ));
            }
            key => {
                name(key, text)?;
                if matches!(key, "app" | "protocol" | "serialization")
                    && text.contains(['&', '?', '=', '/', '#', '%'])
                {
                    let message = format!("\"{text}\" has a character that ends a field of an endpoint text");
                    return Err(Fault::new(key, message, "use letters, digits, dots and dashes"));
                }
            }
        }
    }
    Ok(())
}

/// A name as the server takes it: not blank, no control characters, not too long.
pub(super) fn name<'a>(key: &'static str, text: &'a str) -> Result<&'a str, Fault> {
    if text.trim().is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        let message = format!("\"{}\" is blank, too long or has control characters", endpoint::shown(text));
        return Err(Fault::new(key, message, "write 1 to 512 bytes of text"));
    }
    Ok(text)
}

fn known(options: &'static [&'static str], key: &str) -> Result<&'static str, Fault> {
    options.iter().copied().find(|option| *option == key).ok_or_else(|| {
        let message = format!("SOFARegistry knows no option \"{key}\"");
        Fault::new("registry", message, format!("it knows {}", options.join(", ")))
    })
}

impl Asked {
    /// The query, what it leaves out by the settings.
    pub(super) fn of(query: &Query, settings: &Settings) -> Self {
        let text = |key: &str, default: &str| pick(&query.options, key, default);
        Self {
            scope: query
                .options
                .get("scope")
                .and_then(|text| Scope::read("scope", text).ok())
                .unwrap_or(settings.scope),
            data_center: query.options.get("data_center").cloned(),
            group: text("group", &settings.group),
            instance: text("instance", &settings.instance),
        }
    }
}

/// A subscription, to be completed with its version and time.
pub(super) fn subscriber(query: &Query, settings: &Settings, regist_id: &str) -> Registration {
    let asked = Asked::of(query, settings);
    let multi = asked.scope == Scope::Global;
    Registration {
        what: What::Subscriber { scope: asked.scope.text(), multi },
        instance: asked.instance,
        group: asked.group,
        ..blank(&query.service, settings, regist_id)
    }
}

/// A registration of a VIP, to be completed with its version and time.
pub(super) fn publisher(publication: &Publication, settings: &Settings, regist_id: &str) -> Registration {
    let text = |key: &str, default: &str| pick(&publication.options, key, default);
    Registration {
        what: What::Publisher(vec![box_text(publication, settings)]),
        instance: text("instance", &settings.instance),
        group: text("group", &settings.group),
        app: text("app", &settings.app),
        ..blank(&publication.service, settings, regist_id)
    }
}

/// What consumers read. An unchanged SOFARPC consumer takes what its own providers would write.
fn box_text(publication: &Publication, settings: &Settings) -> String {
    let text = |key: &str, default: &str| pick(&publication.options, key, default);
    let address = SocketAddr::new(publication.address.addr, publication.address.port);
    let scheme = publication.options.get("protocol").map(|p| format!("{p}://")).unwrap_or_default();
    let weight = text("weight", "100");
    if text("format", "sofarpc") == "plain" {
        return match publication.options.contains_key("weight") {
            true => format!("{scheme}{address}?weight={weight}"),
            false => format!("{scheme}{address}"),
        };
    }
    let (app, serialization) = (text("app", &settings.app), text("serialization", "hessian2"));
    format!(
        "{scheme}{address}?rpcVer={RPC_VERSION}&serialization={serialization}&weight={weight}&appName={app}&p=1&v=4.0\
         &_SERIALIZETYPE={serialization}&_WEIGHT={weight}&app_name={app}"
    )
}

fn blank(data_id: &str, settings: &Settings, regist_id: &str) -> Registration {
    Registration {
        what: What::Publisher(Vec::new()),
        instance: String::new(),
        app: settings.app.clone(),
        data_id: data_id.to_owned(),
        group: String::new(),
        regist_id: regist_id.to_owned(),
        end: false,
        version: 0,
        timestamp: 0,
        attributes: BTreeMap::new(),
    }
}

fn pick(options: &BTreeMap<String, String>, key: &str, default: &str) -> String {
    options.get(key).map_or(default, String::as_str).to_owned()
}

/// The SOFARPC that consumers take the VIP for: 5.13.2.
const RPC_VERSION: &str = "51302";
const MAX_WEIGHT: u32 = 10_000;
const MAX_NAME: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BackendAddr;

    fn publication(options: &[(&str, &str)]) -> Publication {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let address = BackendAddr { addr: "10.0.0.9".parse().unwrap(), port: 12200 };
        Publication { service: "Hello:1.0@DEFAULT".to_owned(), options, address }
    }

    fn settings() -> Settings {
        toml::from_str::<super::super::settings::Raw>("servers = [\"10.0.0.1\"]")
            .unwrap()
            .check("/".as_ref())
            .unwrap()
    }

    #[test]
    fn the_text_is_one_that_weir_itself_reads() {
        let text = box_text(&publication(&[("weight", "50"), ("protocol", "bolt")]), &settings());
        assert!(text.starts_with("bolt://10.0.0.9:12200?rpcVer="), "{text}");
        let endpoint = endpoint::parse(&text, None).unwrap();
        assert_eq!((endpoint.weight, endpoint.addr.port), (Some(50.0), 12200));
        assert_eq!(&*endpoint.labels["application"], "weir");
        assert_eq!(box_text(&publication(&[("format", "plain")]), &settings()), "10.0.0.9:12200");
        let weighted = publication(&[("format", "plain"), ("weight", "7")]);
        assert_eq!(box_text(&weighted, &settings()), "10.0.0.9:12200?weight=7");
    }

    #[test]
    fn options_are_checked() {
        check_publication(&publication(&[("group", "SOFA"), ("weight", "0")])).unwrap();
        for (option, key) in [
            (("weight", "-1"), "weight"),
            (("weight", "20000"), "weight"),
            (("app", "a&b"), "app"),
            (("format", "xml"), "format"),
            (("scope", "zone"), "registry"),
        ] {
            assert_eq!(check_publication(&publication(&[option])).unwrap_err().key, key);
        }
        let query = |key: &str, text: &str| Query {
            service: "svc".to_owned(),
            options: [(key.to_owned(), text.to_owned())].into(),
        };
        check_query(&query("scope", "dataCenter")).unwrap();
        assert_eq!(check_query(&query("scope", "Zone")).unwrap_err().key, "scope");
        assert_eq!(check_query(&query("port", "80")).unwrap_err().key, "registry");
        assert_eq!(check_query(&query("group", "")).unwrap_err().key, "group");
    }
}
