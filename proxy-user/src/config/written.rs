//! The L7 settings of a service as they were written, for whoever shows or stores them.

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of a service that are the L7 path's.
pub(super) const KEYS: [&str; 4] = ["codec", "l7", "host", "route"];

/// What a service says of the L7 path; the codec is said also where it was left out.
pub(super) fn of(service: &DeTable<'_>) -> Map<String, Value> {
    let said = KEYS.into_iter().filter_map(|key| Some((key.to_owned(), json(service.get(key)?))));
    let mut all: Map<String, Value> = said.collect();
    all.entry("codec").or_insert_with(|| "tcp".into());
    all
}

/// The same of all services of a file, in its order.
pub(super) fn of_all(document: &DeTable<'_>) -> Vec<Map<String, Value>> {
    let services = document.get("service").and_then(|list| list.get_ref().as_array());
    let tables = services.into_iter().flat_map(|list| list.iter());
    tables.map(|service| service.get_ref().as_table().map(of).unwrap_or_default()).collect()
}

fn json(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok().into(),
        DeValue::Boolean(truth) => (*truth).into(),
        DeValue::Array(list) => list.iter().map(json).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value))).collect()
        }
        // No key of the L7 path takes these, and the shape is checked first.
        DeValue::Float(_) | DeValue::Datetime(_) => Value::Null,
    }
}

/// Settings as text that can stand under a service in the file, and be read again.
///
/// # Errors
/// When a value is none that TOML has.
pub fn l7_text(settings: &Map<String, Value>) -> Result<String, toml::ser::Error> {
    let mut text = String::new();
    if let Some(codec) = settings.get("codec") {
        keys(&mut text, [("codec", codec)])?;
    }
    if let Some(Value::Object(l7)) = settings.get("l7") {
        text.push_str("\n[service.l7]\n");
        keys(&mut text, l7.iter().map(|(key, value)| (key.as_str(), value)))?;
    }
    routes(&mut text, settings.get("route"), "service.route")?;
    for host in settings.get("host").and_then(Value::as_array).into_iter().flatten() {
        text.push_str("\n[[service.host]]\n");
        let own = host.as_object().into_iter().flatten().filter(|(key, _)| *key != "route");
        keys(&mut text, own.map(|(key, value)| (key.as_str(), value)))?;
        routes(&mut text, host.get("route"), "service.host.route")?;
    }
    Ok(text)
}

fn routes(text: &mut String, list: Option<&Value>, name: &str) -> Result<(), toml::ser::Error> {
    for route in list.and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!("\n[[{name}]]\n"));
        keys(text, route.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value)))?;
    }
    Ok(())
}

/// A key a line; tables inline.
fn keys<'a>(
    text: &mut String,
    pairs: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<(), toml::ser::Error> {
    for (key, value) in pairs {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        match !key.is_empty() && key.bytes().all(bare) {
            true => text.push_str(key),
            false => text.push_str(&inline(key)?),
        }
        text.push_str(&format!(" = {}\n", inline(value)?));
    }
    Ok(())
}

fn inline<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, toml::ser::Error> {
    let mut text = String::new();
    value.serialize(toml::ser::ValueSerializer::new(&mut text))?;
    Ok(text)
}

/// Any object as TOML, a key a line and all else inline, so that each value has a place of its own.
///
/// # Errors
/// When a value is none that TOML has; [`odd`] says which.
pub(super) fn flat(object: &Map<String, Value>) -> Result<String, toml::ser::Error> {
    let mut text = String::new();
    keys(&mut text, object.iter().map(|(key, value)| (key.as_str(), value)))?;
    Ok(text)
}

/// The JSON pointer of a value that TOML does not have: a null, or a number above 2^63 - 1.
pub(super) fn odd(value: &Value, pointer: &str) -> Option<String> {
    match value {
        Value::Null => Some(pointer.to_owned()),
        Value::Number(number) => (number.is_u64() && !number.is_i64()).then(|| pointer.to_owned()),
        Value::Bool(_) | Value::String(_) => None,
        Value::Array(list) => {
            list.iter().enumerate().find_map(|(index, item)| odd(item, &format!("{pointer}/{index}")))
        }
        Value::Object(object) => {
            object.iter().find_map(|(key, value)| odd(value, &format!("{pointer}/{}", escaped(key))))
        }
    }
}

/// A key as part of a JSON pointer.
pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
