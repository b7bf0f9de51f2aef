//! What `weir acl import` reads: plain lists, CSV, `ipset save` and the JSON of `weir acl list -o json`. Each line
//! decides its own form, so that mixed files work. Pure: text in, entries and complaints out.

use std::collections::BTreeMap;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cli::units::parse_duration;
use crate::config::parse;
use crate::control::types::EntryAdd;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Entries, one for each prefix; of several lines for one prefix the last holds.
    pub(crate) entries: Vec<EntryAdd>,
    /// Lines whose prefix another line has too.
    pub(crate) merged: u64,
    /// Lines whose host bits were cleared.
    pub(crate) masked: u64,
    /// Lines that were not understood.
    pub(crate) rejected: Vec<Rejected>,
}

/// A line that was not understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rejected {
    /// Number of the line, from 1; of JSON, the entry's place from 1.
    pub(crate) line: u64,
    /// Its text.
    pub(crate) text: String,
    /// Why.
    pub(crate) reason: String,
}

/// Reads a whole text.
///
/// # Errors
///
/// A sentence for the user when the text is JSON, but not of the documented form, or only the first page of a list.
pub(crate) fn read(text: &str) -> Result<Lines, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with(['{', '[']) {
        return json(text);
    }
    let mut collector = Collector::default();
    for (number, line) in (1..).zip(text.lines()) {
        match entry(line.trim()) {
            Ok(None) => {}
            Ok(Some(entry)) => collector.take(number, line, entry),
            Err(reason) => collector.reject(number, line, reason),
        }
    }
    Ok(collector.finish())
}

/// The text of an entry that [`read`] reads back: a bare prefix, or CSV where it has an end or a reason.
#[must_use]
pub(crate) fn write(prefix: &str, expires_at: Option<Timestamp>, reason: Option<&str>) -> String {
    match (expires_at, reason) {
        (None, None) => prefix.to_owned(),
        (end, reason) => {
            let end = end.map(|end| end.to_string()).unwrap_or_default();
            let reason = reason.unwrap_or_default().replace(['\n', '\r'], " ").replace('"', "\"\"");
            format!("{prefix},{end},\"{reason}\"")
        }
    }
}

/// One line; `None` where it says nothing.
fn entry(line: &str) -> Result<Option<EntryAdd>, String> {
    match line.split_once(char::is_whitespace).map_or(line, |(word, _)| word) {
        "" => Ok(None),
        word if word.starts_with(['#', ';']) => Ok(None),
        "create" | "-N" | "flush" | "swap" | "destroy" => Ok(None),
        "add" | "-A" => ipset(line).map(Some),
        _ if line.contains(',') => csv(line),
        _ => Ok(Some(plain(line))),
    }
}

/// `PREFIX`, `PREFIX # why`, `PREFIX ; why`.
fn plain(line: &str) -> EntryAdd {
    let (prefix, comment) = line.split_once(['#', ';']).unwrap_or((line, ""));
    EntryAdd { prefix: prefix.trim().to_owned(), reason: filled(comment), ..EntryAdd::default() }
}

/// `PREFIX,END,REASON`; the end is a duration or a time, and may be empty, as may the reason.
fn csv(line: &str) -> Result<Option<EntryAdd>, String> {
    let fields = csv_fields(line)?;
    let field = |place: usize| fields.get(place).map_or("", |field| field.trim());
    if ["prefix", "cidr", "ip", "address"].contains(&field(0).to_ascii_lowercase().as_str()) {
        return Ok(None);
    }
    if fields.len() > 3 {
        return Err("has more than three fields; write PREFIX,END,REASON, with a comma inside quotes".into());
    }
    let mut entry = EntryAdd { prefix: field(0).to_owned(), reason: filled(field(2)), ..EntryAdd::default() };
    let end = field(1);
    if let Ok(time) = end.parse::<Timestamp>() {
        entry.expires_at = Some(time);
    } else if !end.is_empty() {
        parse_duration(end)?;
        entry.ttl = Some(end.to_owned());
    }
    Ok(Some(entry))
}

/// The fields of a CSV line (RFC 4180, without line breaks in fields).
fn csv_fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let doubled = quoted && letter == '"' && letters.next_if_eq(&'"').is_some();
        match letter {
            '"' if !doubled => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    fields.push(field);
    if quoted { Err("has a quote that is not closed".into()) } else { Ok(fields) }
}

/// `add SET PREFIX [timeout SECONDS] [comment "TEXT"]`, as `ipset save` writes it.
fn ipset(line: &str) -> Result<EntryAdd, String> {
    let (options, comment) = match line.split_once(" comment ") {
        Some((options, comment)) => (options, comment.trim().trim_matches('"')),
        None => (line, ""),
    };
    let mut words = options.split_whitespace().skip(2);
    let prefix = words.next().ok_or("names no address; ipset writes `add SET ADDRESS`")?;
    if prefix.contains(',') {
        return Err("matches more than a source address; weir lists hold addresses and prefixes".into());
    }
    let mut entry = EntryAdd { prefix: prefix.to_owned(), reason: filled(comment), ..EntryAdd::default() };
    while let Some(word) = words.next() {
        match word {
            "timeout" => {
                let seconds: u64 =
                    words.next().and_then(|n| n.parse().ok()).ok_or("has a timeout without seconds")?;
                // ipset's 0 means "for ever".
                entry.ttl = (seconds > 0).then(|| format!("{seconds}s"));
            }
            "nomatch" => return Err("is an exception (nomatch); put it in a list with action pass".into()),
            "packets" | "bytes" | "skbmark" | "skbprio" | "skbqueue" => drop(words.next()),
            other => return Err(format!("has the ipset option `{other}`, which weir does not know")),
        }
    }
    Ok(entry)
}

fn json(text: &str) -> Result<Lines, String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Document {
        List {
            entries: Vec<Value>,
            #[serde(default)]
            next: Option<String>,
        },
        Bare(Vec<Value>),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        Entry {
            prefix: String,
            #[serde(default)]
            ttl: Option<String>,
            #[serde(default)]
            expires_at: Option<Timestamp>,
            #[serde(default)]
            reason: Option<String>,
        },
    }
    let document: Document = serde_json::from_str(text).map_err(|error| {
        format!("is not the JSON of `weir acl list -o json` nor an array of prefixes: {error}")
    })?;
    let values = match document {
        Document::List { next: Some(_), .. } => {
            return Err(
                "holds only the first page of a list; export it with `weir acl export LIST`, or list it \
                        with --all"
                    .into(),
            );
        }
        Document::List { entries, .. } | Document::Bare(entries) => entries,
    };
    let mut collector = Collector::default();
    for (number, value) in (1..).zip(values) {
        let entry = match value {
            Value::Text(prefix) => EntryAdd { prefix, ..EntryAdd::default() },
            Value::Entry { prefix, ttl, expires_at, reason } => EntryAdd { prefix, ttl, expires_at, reason },
        };
        let text = entry.prefix.clone();
        collector.take(number, &text, entry);
    }
    Ok(collector.finish())
}

#[derive(Default)]
struct Collector {
    entries: BTreeMap<IpNet, EntryAdd>,
    lines: Lines,
}

impl Collector {
    fn take(&mut self, number: u64, text: &str, entry: EntryAdd) {
        match parse::prefix(&entry.prefix) {
            Err(error) => self.reject(number, text, error.to_string()),
            Ok(prefix) => {
                self.lines.masked += u64::from(prefix.masked);
                let entry = EntryAdd { prefix: prefix.net.to_string(), ..entry };
                self.lines.merged += u64::from(self.entries.insert(prefix.net, entry).is_some());
            }
        }
    }

    fn reject(&mut self, line: u64, text: &str, reason: String) {
        self.lines.rejected.push(Rejected { line, text: text.to_owned(), reason });
    }

    fn finish(self) -> Lines {
        Lines { entries: self.entries.into_values().collect(), ..self.lines }
    }
}

fn filled(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
