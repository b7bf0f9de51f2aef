//! What the L7 path does for one service, said elsewhere than in the file: through the API, by its commands, in the store.
//! Keys, schema and checks are the file's own; what services must be to each other is `semantic`'s, as for the file.

use std::ops::Range;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::diagnostic::Diagnostic;
use super::problem::{Code, Severity};
use super::raw::RawService;
use super::report::Report;
use super::schema::schema;
use super::shape;
use super::source::Source;
use super::written;
use super::{bounds, check};
use crate::model::L7;

/// Settings that were accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadL7 {
    /// The settings.
    pub l7: L7,
    /// What the operator should know.
    pub warnings: Vec<Diagnostic>,
}

/// Settings that were refused: at least one finding is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", texts(.0))]
pub struct L7Refused(pub Vec<L7Finding>);

/// A finding, and the key that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L7Finding {
    /// JSON pointer (RFC 6901) into what was read, such as `/route/0/to`; empty for the whole.
    pub pointer: String,
    /// What was found.
    pub diagnostic: Diagnostic,
}

/// Reads TOML: what stands under the service in the file, with or without `service.` before the names of its tables.
/// `name` stands for the file in messages.
///
/// # Errors
/// Everything that is wrong, as far as it can be told at once.
pub fn read_l7_toml(service: &str, name: &str, text: &str) -> Result<ReadL7, L7Refused> {
    let source = Source::new(name, text);
    let mut report = Report::default();
    let read = read(service, &source, &mut report);
    match (read, report.finish()) {
        (Some(l7), Ok(warnings)) => Ok(ReadL7 { l7, warnings }),
        (_, found) => {
            let found = found.unwrap_or_else(|refused| refused.all().to_vec());
            let (document, _) = DeTable::parse_recoverable(text);
            let at = |diagnostic: Diagnostic| L7Finding {
                pointer: diagnostic
                    .span()
                    .map(|span| pointer(document.get_ref(), span.start))
                    .unwrap_or_default(),
                diagnostic,
            };
            Err(L7Refused(found.into_iter().map(at).collect()))
        }
    }
}

/// Reads the same as JSON: an object with `codec`, `l7`, `host`, `route`.
///
/// # Errors
/// As [`read_l7_toml`].
pub fn read_l7_json(service: &str, value: &Value) -> Result<ReadL7, L7Refused> {
    let refused = |pointer: String, code, message: &str, hint: &str| {
        let (message, hint) = (message.to_owned(), hint.to_owned());
        let diagnostic = Diagnostic::without_place(code, Severity::Error, message, hint, None);
        L7Refused(vec![L7Finding { pointer, diagnostic }])
    };
    if let Some(pointer) = written::odd(value, "") {
        let hint = "write a text, a whole number up to 2^63 - 1, true, false, a list or an object";
        return Err(refused(pointer, Code::WrongType, "this is no value of a setting", hint));
    }
    let Value::Object(object) = value else {
        let hint = "give an object with `codec`, `l7`, `host`, `route`";
        return Err(refused(String::new(), Code::WrongType, "the settings are no object", hint));
    };
    // Before anything is built of it: the schema names every key that it does not know.
    let most = bounds::L7_SETTINGS_BYTES;
    if check::json_bytes(object) > most {
        let message = format!("the L7 settings of service `{service}` are too large");
        return Err(refused(String::new(), Code::TooMany, &message, &check::too_large_hint()));
    }
    let text = written::flat(object)
        .map_err(|error| refused(String::new(), Code::Syntax, &error.to_string(), "write it otherwise"))?;
    read_l7_toml(service, "", &text)
}

/// JSON Schema of the settings: the part of the file's that is about the L7 path of a service.
#[must_use]
pub fn l7_schema() -> Value {
    SCHEMA.clone()
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schema();
    let service = schema.pointer_mut("/$defs/RawService").map(Value::take).unwrap_or_default();
    let mut settings = service;
    if let Some(object) = settings.as_object_mut() {
        object.remove("required");
        object.insert("description".into(), DESCRIPTION.into());
        if let Some(Value::Object(keys)) = object.get_mut("properties") {
            keys.retain(|key, _| written::KEYS.contains(&key.as_str()));
        }
        if let Some(definitions) = schema.get_mut("$defs").map(Value::take) {
            object.insert("$defs".into(), definitions);
        }
    }
    settings
});

fn read(service: &str, source: &Source, report: &mut Report) -> Option<L7> {
    let (mut document, errors) = DeTable::parse_recoverable(source.text());
    for error in errors.iter().take(5) {
        let hint = "TOML texts stand in quotes, lists in brackets, one key a line";
        let place = source.place(error.span().unwrap_or_default(), "");
        report.error(Code::Syntax, error.message(), hint, place);
    }
    if !errors.is_empty() {
        return None;
    }
    lift(document.get_mut(), source, report);
    shape::check(&SCHEMA, &document, "the settings", source, report);
    if report.has_errors() {
        return None;
    }
    if !written::KEYS.iter().any(|key| document.get_ref().contains_key(*key)) {
        let message = "nothing is said of how the service is served";
        let hint = "to take all settings away use `weir l7 unset`, for plain TCP say codec = \"tcp\"";
        report.error(Code::BadValue, message, hint, source.place(0..0, ""));
        return None;
    }
    let written = written::of(document.get_ref());
    // What the service is besides does not matter to them, and is checked where it is said.
    for (key, value) in [("name", service), ("vip", "tcp/0.0.0.0:0"), ("forward", "l7")] {
        let value = Spanned::new(0..0, DeValue::String(value.to_owned().into()));
        document.get_mut().insert(Spanned::new(0..0, key.into()), value);
    }
    match RawService::deserialize(Deserializer::from(document)) {
        Ok(mut raw) => {
            raw.written = written;
            Some(check::l7(&raw, source, report))
        }
        Err(error) => {
            let place = source.place(error.span().unwrap_or_default(), "");
            report.error(Code::WrongType, error.message(), "docs/configuration.md says what it takes", place);
            None
        }
    }
}

/// Puts what stands under `service` where it would stand without it.
fn lift(table: &mut DeTable<'_>, source: &Source, report: &mut Report) {
    if !matches!(table.get("service").map(Spanned::get_ref), Some(DeValue::Table(_))) {
        return;
    }
    let Some(DeValue::Table(inner)) = table.remove("service").map(Spanned::into_inner) else { return };
    for (key, value) in inner {
        if table.contains_key(key.get_ref().as_ref()) {
            let message = format!("`{}` is said twice, with and without `service.` before it", key.get_ref());
            let place = source.place(key.span(), "");
            report.error(Code::Duplicate, message, "leave one of the two out", place);
        }
        table.insert(key, value);
    }
}

/// The innermost key or value at a place.
fn pointer(table: &DeTable<'_>, at: usize) -> String {
    let mut best = (usize::MAX, String::new());
    let whole = "";
    seek_table(table, at, whole, &mut best);
    best.1
}

fn seek_table(table: &DeTable<'_>, at: usize, path: &str, best: &mut (usize, String)) {
    for (key, value) in table {
        let path = format!("{path}/{}", written::escaped(key.get_ref()));
        offer(&key.span(), at, &path, best);
        seek(value, at, &path, best);
    }
}

fn seek(value: &Spanned<DeValue<'_>>, at: usize, path: &str, best: &mut (usize, String)) {
    offer(&value.span(), at, path, best);
    match value.get_ref() {
        DeValue::Table(table) => seek_table(table, at, path, best),
        DeValue::Array(array) => {
            for (index, item) in array.iter().enumerate() {
                seek(item, at, &format!("{path}/{index}"), best);
            }
        }
        _ => {}
    }
}

fn offer(span: &Range<usize>, at: usize, path: &str, best: &mut (usize, String)) {
    // A list of tables that each have a head has its first table's place: the table is meant.
    if span.contains(&at) && span.len() <= best.0 {
        *best = (span.len(), path.to_owned());
    }
}

fn texts(found: &[L7Finding]) -> String {
    let text = |one: &L7Finding| {
        let Diagnostic { message, hint, .. } = &one.diagnostic;
        format!("{}: {message}; {hint}", one.pointer)
    };
    found.iter().map(text).collect::<Vec<_>>().join("; ")
}

const DESCRIPTION: &str = "What the L7 path does for a service, in the vocabulary of the configuration file: what stands under the service there.";

#[cfg(test)]
#[path = "l7_tests.rs"]
mod tests;
