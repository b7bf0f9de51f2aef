//! The L7 settings of a service as they were written, for whoever shows or stores them.

use std::borrow::Cow;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of a service that are the L7 path's.
pub(super) const KEYS: [&str; 4] = ["codec", "l7", "host", "route"];

/// What a service says of the L7 path; the codec is said also where it was left out.
pub(super) fn of(service: &DeTable<'_>) -> Map<String, Value> {
    let said = KEYS.into_iter().filter_map(|key| Some((key.to_owned(), json(service.get(key)?))));
    let mut all: Map<String, Value> = said.collect();
    for host in all.get_mut("host").and_then(Value::as_array_mut).into_iter().flatten() {
        host.as_object_mut().into_iter().for_each(without_empty);
    }
    without_empty(&mut all);
    all.entry("codec").or_insert_with(|| "tcp".into());
    all
}

/// Lists of tables without any say nothing, and the text's form has no word for them.
fn without_empty(table: &mut Map<String, Value>) {
    table
        .retain(|key, value| !matches!(key.as_str(), "host" | "route") || *value != Value::Array(Vec::new()));
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
    if !text.contains(unsafe_to_show) {
        return Ok(text);
    }
    let value = serde_json::to_value(value).map_err(<toml::ser::Error as serde::ser::Error>::custom)?;
    Ok(basic(&value))
}

/// A value with all texts in double quotes, the only form that has escapes.
fn basic(value: &Value) -> String {
    match value {
        Value::String(text) => shown(&Value::from(text.as_str()).to_string()).into_owned(),
        Value::Array(list) => format!("[{}]", list.iter().map(basic).collect::<Vec<_>>().join(", ")),
        Value::Object(object) => {
            let pair = |(key, value): (&String, &Value)| {
                format!("{} = {}", basic(&Value::from(key.as_str())), basic(value))
            };
            format!("{{ {} }}", object.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Whether a terminal may take a character for more than a letter: controls, and marks that turn the writing round.
#[must_use]
pub fn unsafe_to_show(letter: char) -> bool {
    let turns = matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || letter.is_control() && !matches!(letter, '\n' | '\t')
}

/// Text with such characters as TOML and JSON escape them in double quotes.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(unsafe_to_show) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match unsafe_to_show(letter) {
            true => safe.push_str(&format!("\\u{:04X}", u32::from(letter))),
            false => safe.push(letter),
        }
    }
    Cow::Owned(safe)
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
