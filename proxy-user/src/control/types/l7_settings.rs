//! L7 settings of a service: an object in the vocabulary of the configuration file, described by the file's own schema.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::model::Origin;

/// Settings as they are written: `codec`, `l7`, `host`, `route`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct L7Settings(pub Map<String, Value>);

/// Settings in force, and what was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7SettingsDocument {
    /// Generation that this describes.
    pub generation: u64,
    /// Service.
    pub service: String,
    /// Who set the settings.
    pub origin: Origin,
    /// Whether they lie on top of what the file says; they survive a reload.
    pub overridden: bool,
    /// The settings, as they were written; empty where the service is not served by the L7 path.
    pub settings: L7Settings,
    /// Settings of the API that are not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<L7SetAside>,
}

/// Settings of the API that are kept and not in force, since something that they need is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7SetAside {
    /// Why.
    pub why: String,
    /// What of them holds all the same.
    pub holds: L7Holds,
    /// The settings, as they were written.
    pub settings: L7Settings,
}

/// What holds of L7 settings that are not in force. Where their service is served, whom they denied is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum L7Holds {
    /// Nothing: the service itself is not in force anywhere, so that they deny nobody.
    Orphaned,
    /// Nothing: they had no `access`.
    Nothing,
    /// Their `access`, over that of the configuration.
    Access,
    /// Their `access` cannot hold: nobody is served.
    Refusal,
}

impl PartialSchema for L7Settings {
    fn schema() -> RefOr<Schema> {
        let mut schema = crate::config::l7_schema();
        if let Some(object) = schema.as_object_mut() {
            object.remove("$defs");
        }
        of(schema)
    }
}

impl ToSchema for L7Settings {
    fn name() -> Cow<'static, str> {
        PREFIX.into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        let mut whole = crate::config::l7_schema();
        let Some(Value::Object(definitions)) = whole.get_mut("$defs").map(Value::take) else { return };
        // Of the file's definitions those that settings lead to.
        let mut wanted = references(&whole);
        let mut next = 0;
        while let Some(name) = wanted.get(next).cloned() {
            next += 1;
            let Some(definition) = definitions.get(&name) else { continue };
            for more in references(definition) {
                if !wanted.contains(&more) {
                    wanted.push(more);
                }
            }
            schemas.push((renamed(&name), of(definition.clone())));
        }
    }
}

/// A schema of the file as one of the API.
fn of(mut schema: Value) -> RefOr<Schema> {
    adapt(&mut schema);
    serde_json::from_value(schema).unwrap_or_else(|_| RefOr::T(Schema::default()))
}

fn adapt(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref")
                && let Some(name) = target.strip_prefix(DEFINITIONS)
            {
                *target = format!("#/components/schemas/{}", renamed(name));
            }
            if let Some(word) = object.remove("const") {
                object.insert("enum".into(), Value::Array(vec![word]));
            }
            object.values_mut().for_each(adapt);
        }
        Value::Array(list) => list.iter_mut().for_each(adapt),
        _ => {}
    }
}

fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(object) => {
            let own = object
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|target| target.strip_prefix(DEFINITIONS));
            own.map(str::to_owned).into_iter().chain(object.values().flat_map(references)).collect()
        }
        Value::Array(list) => list.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// `RawRoute` is `L7SettingsRoute`; `RawL7`, the table `l7` among the settings, is `L7SettingsTable`.
fn renamed(name: &str) -> String {
    let name = name.strip_prefix("Raw").unwrap_or(name);
    match name.strip_prefix("L7").unwrap_or(name) {
        "" => format!("{PREFIX}Table"),
        name => format!("{PREFIX}{name}"),
    }
}

const PREFIX: &str = "L7Settings";
const DEFINITIONS: &str = "#/$defs/";
