//! Holds a parsed TOML document against the schema and reports everything that does not fit at once: unknown keys and
//! words with what was probably meant, missing keys, wrong types, numbers out of range.

use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Code;
use super::report::Report;
use super::source::Source;

/// Checks a document's shape; `name` stands for the document in messages.
pub(super) fn check(
    schema: &Value,
    document: &Spanned<DeTable<'_>>,
    name: &str,
    source: &Source,
    report: &mut Report,
) {
    let mut walk = Walk { root: schema, source, report };
    // The document has no place of its own: what it lacks is shown at its first line.
    walk.table(schema, document.get_ref(), 0..0, name);
}

struct Walk<'a> {
    root: &'a Value,
    source: &'a Source,
    report: &'a mut Report,
}

impl<'a> Walk<'a> {
    fn table(&mut self, schema: &'a Value, table: &DeTable<'_>, span: Range<usize>, name: &str) {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object);
        let any = schema.get("additionalProperties").filter(|extra| extra.is_object());
        for (key, value) in table.iter() {
            if self.report.errors() >= ENOUGH {
                return;
            }
            let word: &str = key.get_ref();
            match known.and_then(|known| known.get(word)).or(any) {
                Some(inner) => self.value(inner, value, word),
                None if known.is_some_and(|known| known.contains_key(&format!("{word}_file"))) => {
                    let message = format!("`{word}` in {name} would be a secret in plain text");
                    let hint = format!(
                        "put it into a file that only weir can read, and name that: `{word}_file = \"...\"`"
                    );
                    self.report.error(Code::PlainSecret, message, hint, self.source.place(key.span(), ""));
                }
                None => {
                    let possible = known.unwrap_or(&none).keys().map(String::as_str);
                    let hint = suggestion(word, &possible.collect::<Vec<_>>());
                    let message = format!("unknown key `{word}` in {name}");
                    self.report.error(Code::UnknownKey, message, hint, self.source.place(key.span(), ""));
                }
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str).filter(|key| !table.contains_key(*key)) {
            let place = self.source.place(span.clone(), "");
            let hint = format!("add `{key} = ...`; docs/configuration.md says what it takes");
            self.report.error(Code::WrongType, format!("{name} has no `{key}`"), hint, place);
        }
    }

    fn value(&mut self, schema: &'a Value, value: &Spanned<DeValue<'_>>, name: &str) {
        let Some(schema) = self.branch(schema, value.get_ref()) else {
            return self.wrong_type(schema, value, name);
        };
        match value.get_ref() {
            DeValue::Table(table) => {
                let Some(schema) = self.variant(schema, table, value.span(), name) else { return };
                self.table(schema, table, value.span(), &format!("`{name}`"));
            }
            DeValue::Array(array) => self.array(schema, array.iter(), value.span(), name),
            DeValue::String(word) => self.word(schema, word, value.span(), name),
            DeValue::Integer(digits) => {
                let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
                self.number(schema, number, value.span(), name);
            }
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    /// The schema of a table whose key `kind` says what it is; none when that was reported, or any keys will do.
    fn variant(
        &mut self,
        schema: &'a Value,
        table: &DeTable<'_>,
        span: Range<usize>,
        name: &str,
    ) -> Option<&'a Value> {
        let Some(branches) = schema.get("oneOf").and_then(Value::as_array) else { return Some(schema) };
        let word_of = |branch: &'a Value| {
            branch.pointer("/properties/kind").and_then(|kind| words(kind).first().copied())
        };
        let kinds: Vec<_> = branches.iter().filter_map(word_of).collect();
        let Some(kind) = table.get("kind") else {
            let hint = format!("add `kind = \"...\"`; {}", suggestion("", &kinds));
            let message = format!("`{name}` has no `kind`");
            self.report.error(Code::WrongType, message, hint, self.source.place(span, ""));
            return None;
        };
        let DeValue::String(word) = kind.get_ref() else {
            let message = format!("`kind` takes no {}", kind.get_ref().type_str());
            let place = self.source.place(kind.span(), "");
            self.report.error(Code::WrongType, message, "write a text in quotes", place);
            return None;
        };
        let found = branches.iter().find(|branch| word_of(branch) == Some(word));
        if found.is_none() {
            let message = format!("`{word}` is not a kind of registry that weir knows");
            let place = self.source.place(kind.span(), "");
            self.report.error(Code::UnknownValue, message, suggestion(word, &kinds), place);
        }
        found.filter(|branch| branch.get("additionalProperties").is_none_or(|any| !any.is_object()))
    }

    fn array<'v>(
        &mut self,
        schema: &'a Value,
        items: impl ExactSizeIterator<Item = &'v Spanned<DeValue<'v>>>,
        span: Range<usize>,
        name: &str,
    ) {
        let max = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if u64::try_from(items.len()).is_ok_and(|len| len > max) {
            let message = format!("{} of `{name}` are more than weir holds", items.len());
            let place = self.source.place(span, "");
            self.report.error(Code::TooMany, message, format!("name at most {max}"), place);
        }
        let Some(inner) = schema.get("items") else { return };
        for item in items {
            if self.report.errors() >= ENOUGH {
                return;
            }
            self.value(inner, item, name);
        }
    }

    fn word(&mut self, schema: &Value, word: &str, span: Range<usize>, name: &str) {
        let words = words(schema);
        if !words.is_empty() && !words.contains(&word) {
            let message = format!("`{word}` is not a value of `{name}`");
            let place = self.source.place(span, "");
            self.report.error(Code::UnknownValue, message, suggestion(word, &words), place);
        }
    }

    fn number(&mut self, schema: &Value, number: Option<i64>, span: Range<usize>, name: &str) {
        let bound = |key| schema.get(key).and_then(Value::as_i64);
        let (min, max) = (bound("minimum").unwrap_or(i64::MIN), bound("maximum").unwrap_or(i64::MAX));
        if !number.is_some_and(|n| (min..=max).contains(&n)) {
            let message = format!("`{name}` is out of its range");
            let hint = if min == max { format!("it must be {min}") } else { format!("give {min} to {max}") };
            self.report.error(Code::OutOfRange, message, hint, self.source.place(span, ""));
        }
    }

    fn wrong_type(&mut self, schema: &Value, value: &Spanned<DeValue<'_>>, name: &str) {
        let schema = self.resolve(schema);
        let expected: Vec<_> = match schema.get("anyOf").and_then(Value::as_array) {
            Some(branches) => branches.iter().filter_map(|b| kind(self.resolve(b))).collect(),
            None => kind(schema).into_iter().collect(),
        };
        let message = format!("`{name}` takes no {}", value.get_ref().type_str());
        let hint = format!("write {}", expected.join(" or "));
        self.report.error(Code::WrongType, message, hint, self.source.place(value.span(), ""));
    }

    /// The schema that fits the value's type.
    fn branch(&self, schema: &'a Value, value: &DeValue<'_>) -> Option<&'a Value> {
        let schema = self.resolve(schema);
        let branches = schema.get("anyOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut all = branches.iter().map(|b| self.resolve(b)).chain(branches.is_empty().then_some(schema));
        let found = value.type_str();
        all.find(|schema| match kind(schema) {
            Some("a text in quotes") => found == "string",
            Some("a number") => found == "integer",
            Some("true or false") => found == "boolean",
            Some("a list in brackets") => found == "array",
            Some("a table") => found == "table",
            _ => true,
        })
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
        target.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }
}

/// Findings after which nothing more is looked for: each costs time and memory, whether it is shown or not.
const ENOUGH: usize = 1_000;

/// The words that a schema allows; none for any.
fn words(schema: &Value) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let one_of = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let single = one_of.flat_map(|branch| words(branch));
    listed.chain(single).chain(schema.get("const").and_then(Value::as_str)).collect()
}

fn kind(schema: &Value) -> Option<&'static str> {
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => Some("a text in quotes"),
        Some("integer") => Some("a number"),
        Some("boolean") => Some("true or false"),
        Some("array") => Some("a list in brackets"),
        Some("object") => Some("a table"),
        _ if !words(schema).is_empty() => Some("a text in quotes"),
        _ => None,
    }
}

/// What was probably meant, else all that is possible.
pub(super) fn suggestion(found: &str, possible: &[&str]) -> String {
    let distance = |word: &&&str| strsim::damerau_levenshtein(found, word);
    let near = possible.iter().min_by_key(distance).filter(|word| distance(word) <= 1 + found.len() / 4);
    let all = possible.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match near {
        Some(word) => format!("did you mean `{word}`? Possible: {all}"),
        None => format!("possible: {all}"),
    }
}
