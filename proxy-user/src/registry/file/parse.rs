//! The three forms of a file of endpoints. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use thiserror::Error;

use crate::registry::collect::{Collector, TooMany};
use crate::registry::endpoint;
use crate::registry::source::{Endpoint, MAX_LABEL_TEXT, MAX_LABELS, Set};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Toml,
    Lines,
}

/// A file that says nothing that can be relied on; the last set stays.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum BadFile {
    #[error("the file is empty; a list that is meant to be empty has a comment line")]
    Bare,
    #[error("not UTF-8 text: see line {0}; it may be damaged or half-written")]
    NotText(usize),
    #[error("the last line has no end: the file is half-written; rename a whole file into place")]
    HalfLine,
    #[error("not {0}: {1}; it may be half-written: rename a whole file into place")]
    Syntax(&'static str, String),
    #[error("{0}; the file is an array of endpoints, or a table with the key `endpoints`")]
    Shape(&'static str),
    #[error("all {0} entries are refused; the first: {1}")]
    AllRefused(u64, String),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Reads a file's bytes that were read whole at `received`. Bad entries are counted and left out; a bad file is refused.
pub(super) fn parse(bytes: &[u8], format: Format, received: Instant) -> Result<Set, BadFile> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let head = bytes.get(..error.valid_up_to()).unwrap_or_default();
        BadFile::NotText(1 + head.iter().filter(|b| **b == b'\n').count())
    })?;
    // Some editors put a byte order mark before the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut set = Collector::new(received);
    match format {
        Format::Lines => lines(text, &mut set)?,
        Format::Json => json(text, &mut set)?,
        Format::Toml => toml(text, &mut set)?,
    }
    let version = format!("crc32 {:08x}, {} bytes", crc32fast::hash(bytes), bytes.len());
    let set = set.finish(Some(version))?;
    match set.rejected.first() {
        // Another kind of file than was thought, not one that says "nobody".
        Some(first) if set.endpoints.is_empty() => {
            Err(BadFile::AllRefused(set.rejected_count, format!("`{}`, {}", first.text, first.why)))
        }
        _ => Ok(set),
    }
}

/// For fuzzing: whatever the bytes are, no panic, and no more endpoints than the bytes can name.
pub(super) fn fuzz(data: &[u8]) {
    for format in [Format::Json, Format::Toml, Format::Lines] {
        if let Ok(set) = parse(data, format, Instant::now()) {
            // The shortest is `1.1.1.1:1`, with an end.
            assert!(set.endpoints.len() * 5 <= data.len());
            assert!(set.endpoints.iter().all(|e| e.addr.port != 0 && e.weight.is_none_or(|w| w >= 0.0)));
        }
    }
}

fn lines(text: &str, set: &mut Collector) -> Result<(), BadFile> {
    if text.is_empty() {
        return Err(BadFile::Bare);
    }
    if !text.ends_with('\n') {
        return Err(BadFile::HalfLine);
    }
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next() else { continue };
        let (weight, more) = (words.next(), words.next());
        match endpoint::parse(address, None) {
            Ok(_) if more.is_some() => set.reject(line, "more than an address and a weight"),
            Ok(found) => match weight.map(endpoint::weight).transpose() {
                Ok(weight) => set.add(Endpoint { weight: weight.or(found.weight), ..found }),
                Err(why) => set.reject(line, why),
            },
            Err(why) => set.reject(line, why),
        }
    }
    Ok(())
}

fn json(text: &str, set: &mut Collector) -> Result<(), BadFile> {
    use serde_json::Value;
    let document = serde_json::from_str(text).map_err(|e| BadFile::Syntax("JSON", e.to_string()))?;
    let items = match document {
        Value::Array(items) => items,
        Value::Object(table) => match only(table.into_iter())? {
            Value::Array(items) => items,
            _ => return Err(BadFile::Shape("`endpoints` is no array")),
        },
        _ => return Err(BadFile::Shape("neither an array nor a table")),
    };
    for item in items {
        let shown = item.to_string();
        match item {
            Value::String(text) => plain(&text, set),
            item => described(&shown, Entry::deserialize(item), set),
        }
    }
    Ok(())
}

fn toml(text: &str, set: &mut Collector) -> Result<(), BadFile> {
    use toml::Value;
    let document: toml::Table =
        toml::from_str(text).map_err(|e| BadFile::Syntax("TOML", e.message().to_owned()))?;
    let Value::Array(items) = only(document.into_iter())? else {
        return Err(BadFile::Shape("`endpoints` is no array"));
    };
    for item in items {
        let shown = item.to_string();
        match item {
            Value::String(text) => plain(&text, set),
            item => described(&shown, Entry::deserialize(item), set),
        }
    }
    Ok(())
}

/// The value of `endpoints`, which is to be the only key: a typing error must not look like an empty list.
fn only<V>(mut table: impl Iterator<Item = (String, V)>) -> Result<V, BadFile> {
    match (table.next(), table.next()) {
        (Some((key, value)), None) if key == "endpoints" => Ok(value),
        (Some((key, _)), None) if key != "endpoints" => Err(BadFile::Shape("no key `endpoints`")),
        (None, _) => Err(BadFile::Shape("no key `endpoints`")),
        _ => Err(BadFile::Shape("keys beside `endpoints`")),
    }
}

/// An entry with more than an address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    address: String,
    weight: Option<f64>,
    #[serde(default = "yes")]
    enabled: bool,
    zone: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

fn plain(text: &str, set: &mut Collector) {
    match endpoint::parse(text, None) {
        Ok(found) => set.add(found),
        Err(why) => set.reject(text, why),
    }
}

fn described<E: std::fmt::Display>(shown: &str, entry: Result<Entry, E>, set: &mut Collector) {
    let entry = match entry {
        Ok(entry) => entry,
        Err(why) => return set.reject(shown, why),
    };
    let mut found = match endpoint::parse(&entry.address, None) {
        Ok(found) => found,
        Err(why) => return set.reject(shown, why),
    };
    if let Some(weight) = entry.weight {
        if !(weight.is_finite() && weight >= 0.0) {
            return set.reject(shown, format_args!("{weight} is no weight: a number from 0 up"));
        }
        found.weight = Some(weight);
    }
    let fits =
        |text: &str| !text.is_empty() && text.len() <= MAX_LABEL_TEXT && !text.chars().any(char::is_control);
    found.enabled &= entry.enabled;
    found.zone = entry.zone.filter(|zone| fits(zone)).map(Arc::from).or(found.zone);
    for (key, value) in entry.labels {
        if fits(&key) && fits(&value) && (found.labels.len() < MAX_LABELS || found.labels.contains_key(&*key))
        {
            found.labels.insert(key.into(), value.into());
        }
    }
    set.add(found);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, format: Format) -> Result<Vec<String>, BadFile> {
        let set = parse(text.as_bytes(), format, Instant::now())?;
        let refused = set.rejected.iter().map(|r| format!("refused {}: {}", r.text, r.why));
        let weight = |e: &Endpoint| e.weight.map_or(String::new(), |w| format!(" {w}"));
        let show = |e: &Endpoint| format!("{}:{}{}", e.addr.addr, e.addr.port, weight(e));
        Ok(set.endpoints.iter().map(show).chain(refused).collect())
    }

    #[test]
    fn lines_of_all_kinds() {
        let text = "# all\r\n10.0.0.1:80\n  10.0.0.2:80 50 # half\r\n\n[2001:db8::1]:80\t0\n10.0.0.1:80 9\n";
        assert_eq!(read(text, Format::Lines).unwrap(), ["10.0.0.1:80", "10.0.0.2:80 50", "2001:db8::1:80 0"]);
        assert!(read("# none\n", Format::Lines).unwrap().is_empty());
        let bad = "a.example:80\n10.0.0.1:80 -1\n10.0.0.1:80 NaN\n10.0.0.1\n10.0.0.1:80 1 2\n10.0.0.9:80\n";
        let read_bad = read(bad, Format::Lines).unwrap();
        assert_eq!((read_bad.len(), read_bad[0].as_str()), (6, "10.0.0.9:80"));
        assert!(
            read_bad[1].contains("no IP address")
                && read_bad[5].ends_with("more than an address and a weight")
        );
        assert_eq!(read("", Format::Lines), Err(BadFile::Bare));
        assert_eq!(read("10.0.0.1:80\n10.0.0.2:8", Format::Lines), Err(BadFile::HalfLine));
        assert_eq!(parse(b"a\n\xff", Format::Lines, Instant::now()).unwrap_err(), BadFile::NotText(2));
    }

    #[test]
    fn json_and_toml_say_the_same() {
        let json = r#"{"endpoints": ["10.0.0.1:80?weight=3", {"address": "10.0.0.2:80", "weight": 0.5, "enabled": false,
            "zone": "b", "labels": {"version": "2"}}, {"address": "10.0.0.3:80", "wieght": 1}, 7]}"#;
        let toml = r#"endpoints = ["10.0.0.1:80?weight=3",
            { address = "10.0.0.2:80", weight = 0.5, enabled = false, zone = "b", labels = { version = "2" } },
            { address = "10.0.0.3:80", wieght = 1 }, 7]"#;
        for (text, format) in [(json, Format::Json), (toml, Format::Toml)] {
            let set = parse(text.as_bytes(), format, Instant::now()).unwrap();
            let second = &set.endpoints[1];
            assert_eq!((set.endpoints.len(), set.rejected_count), (2, 2), "{format:?}");
            assert_eq!((set.endpoints[0].weight, second.weight), (Some(3.0), Some(0.5)));
            assert_eq!((second.enabled, second.zone.as_deref()), (false, Some("b")));
            assert_eq!(second.labels.get("version").map(|v| &**v), Some("2"));
            assert!(set.rejected[0].why.contains("wieght"));
        }
        let tables =
            "[[endpoints]]\naddress = '10.0.0.1:80'\nweight = 5\n[[endpoints]]\naddress = '10.0.0.2:80'\n";
        assert_eq!(read(tables, Format::Toml).unwrap(), ["10.0.0.1:80 5", "10.0.0.2:80"]);
        assert_eq!(read("[\"10.0.0.1:80\"]", Format::Json).unwrap(), ["10.0.0.1:80"]);
        let nan = "endpoints = [{ address = '10.0.0.1:80', weight = nan }, { address = '10.0.0.1:80', weight = -1 }]";
        let refused = read(nan, Format::Toml).unwrap_err().to_string();
        assert!(refused.starts_with("all 2 entries are refused") && refused.contains("no weight"));
    }

    #[test]
    fn empty_is_empty_and_half_is_refused() {
        for (text, format) in
            [("[]", Format::Json), ("{\"endpoints\":[]}", Format::Json), ("endpoints = []\n", Format::Toml)]
        {
            assert!(read(text, format).unwrap().is_empty());
        }
        for (text, format) in [
            ("", Format::Json),
            ("[\"10.0.0.1:80\"", Format::Json),
            ("null", Format::Json),
            ("{}", Format::Json),
            ("{\"endpoint\": []}", Format::Json),
            ("{\"endpoints\": {}}", Format::Json),
            ("{\"endpoints\": [], \"more\": 1}", Format::Json),
            ("", Format::Toml),
            ("# nothing\n", Format::Toml),
            ("endpoints = [\"10.0.", Format::Toml),
            ("[[endpoint]]\n", Format::Toml),
        ] {
            assert!(read(text, format).is_err(), "{text:?}");
        }
    }

    #[test]
    fn more_than_the_limit_is_refused_whole() {
        let text: String =
            (0..=100_000u32).map(|n| format!("{}:80\n", std::net::Ipv4Addr::from(n + (10 << 24)))).collect();
        assert_eq!(read(&text, Format::Lines), Err(BadFile::TooMany(TooMany)));
    }

    proptest! {
        #[test]
        fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&data);
        }

        #[test]
        fn any_cut_of_a_file(cut in 0usize..120) {
            let text = "{\"endpoints\": [{\"address\": \"10.0.0.2:80\", \"weight\": 5}, \"10.0.0.1:80\"]}";
            let part = text.get(..cut.min(text.len() - 1)).unwrap();
            prop_assert!(parse(part.as_bytes(), Format::Json, Instant::now()).is_err());
        }
    }
}
