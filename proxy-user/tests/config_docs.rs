//! Schema, reference page, examples and unit file are what the code says. `WEIR_BLESS=1` rewrites the first two.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use proxy_user::config::{Flags, load, schema};
use serde_json::Value;

#[test]
fn the_committed_schema_is_the_codes() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    same("docs/weir.schema.json", &text);
}

#[test]
fn the_reference_page_is_the_schemas() {
    let schema = schema();
    let mut page = INTRODUCTION.to_owned();
    section(&schema, &schema, "", &mut page, &mut BTreeMap::new());
    page.push_str(END);
    same("docs/configuration.md", &page);
}

#[test]
fn examples_load_without_a_warning() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let loaded = load(Some(&path), &Flags::default()).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(loaded.warnings, [], "{}", path.display());
            seen.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(
        seen.is_superset(&["nat", "two-interfaces", "dsr-l2", "deny-list", "l7"].map(String::from).into())
    );
}

#[test]
fn the_unit_file_is_sound() {
    let text = std::fs::read_to_string(root().join("packaging/weir.service")).unwrap();
    assert!(text.contains("Type=notify") && text.contains("KillMode=process") && !text.contains("ExecStop"));
    // The binary of the unit is not installed here, so the check runs on a copy that names one that is.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("weir.service");
    std::fs::write(&copy, text.replace("/usr/bin/weir", "/bin/true")).unwrap();
    let run = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output();
    match run {
        Err(error) => println!("skipped: systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !said.contains("weir.service"), "{said}");
        }
    }
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from docs/weir.schema.json: WEIR_BLESS=1 cargo test -p proxy-user --test config_docs -->

`weir run --config weir.toml` reads one TOML file, `weir check --config weir.toml` reads it and changes nothing. Unknown
keys are errors. A file with any error is refused whole, and whatever was in force stays. `weir reload` (or SIGHUP) reads
the file and its list files again; `interface`, `registry`, `zone`, `snat`, `timeouts`, `acl`, `service`,
`reply_route` and `seed` then take effect at once, `api`, `metrics`, `state`, `l7` and `limits` with the next start.

Examples are in `examples/`; `docs/weir.schema.json` gives editors completion. Flags add to the file: `--iface NAME`,
`--vip tcp/198.51.100.10:80=10.0.0.11:8080,10.0.0.12:8080@50`, `--deny FILE`, `--pass FILE`. What flags and file both
say (a VIP, a name, an order) is an error. `--pass` and `--deny` make the lists `flag-pass` (order 0) and `flag-deny`
(order 1).

What registries are for weir, and how guards and holds work, is in [registries](registries/README.md). What services
with `forward = \"l7\"` do is in [routing](routing.md), [the client's address](client-address.md) and [codecs](codecs.md).

Durations are written `10s`, `5m`, `2h4m`, `1d`. Weights have no unit; 100 is the usual one.
";

const END: &str = "
## List files

One address or prefix a line, IPv4 and IPv6 mixed; `#` begins a comment; blank lines are skipped. One bad line refuses
the whole load and is shown with its file, line and column. Host bits are cleared (`203.0.113.7/24` becomes
`203.0.113.0/24`), IPv4-mapped prefixes become IPv4, and both are reported; so is a duplicate.

## Half-written files

Write files under another name and rename them into place. weir refuses a file that changes while it is read, and a
configuration that does not end with a newline. A list file without a final newline is refused if its last line is not
an address or prefix, else taken with a warning; one of no bytes is refused (a list that is meant to be empty has a
comment line). What nobody can tell is a file cut exactly between two lines where the
rest is a whole configuration of its own.
";

/// Headers of the tables that have their section already.
type Seen = BTreeMap<*const Value, String>;

/// A table of the keys of an object, then the objects within.
fn section(root: &Value, object: &Value, path: &str, page: &mut String, seen: &mut Seen) {
    let required: BTreeSet<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    page.push_str("\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n");
    let mut inner = Vec::new();
    for (key, property) in object["properties"].as_object().unwrap() {
        let target = resolve(root, property);
        let meaning = property["description"].as_str().or(target["description"].as_str()).unwrap();
        let default = match &property["default"] {
            Value::Null if required.contains(key.as_str()) => "required".to_owned(),
            Value::Null if matches!(target["type"].as_str(), Some("object" | "array")) => String::new(),
            Value::Null => "none".to_owned(),
            Value::String(text) => format!("`\"{text}\"`"),
            other => format!("`{other}`"),
        };
        let _ = writeln!(
            page,
            "| `{key}` | {} | {default} | {} | {} |",
            kind(root, property),
            range(root, property),
            meaning.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        if let Some((header, object)) = nested(root, property, path, key) {
            inner.push((header, object, meaning));
        }
    }
    for (header, object, meaning) in inner {
        let meaning = object["description"].as_str().unwrap_or(meaning);
        let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
        let level = "#".repeat(2 + path.matches('.').count());
        let _ = write!(page, "\n{level} `{header}`\n\n{meaning}\n");
        let path = format!("{}.", header.trim_matches(['[', ']']));
        if let Some(first) = seen.get(&std::ptr::from_ref(object)).filter(|_| path.starts_with("service.")) {
            let _ = write!(page, "\nKeys as in `{first}`.\n");
            continue;
        }
        seen.insert(object, header);
        match object["oneOf"].as_array() {
            Some(variants) => variants.iter().for_each(|variant| by_kind(root, variant, &path, page, seen)),
            None => section(root, object, &path, page, seen),
        }
    }
}

/// The keys of a table that are known once its `kind` is.
fn by_kind(root: &Value, variant: &Value, path: &str, page: &mut String, seen: &mut Seen) {
    let kind = variant["properties"]["kind"]["const"].as_str().unwrap();
    let meaning = variant["description"].as_str().unwrap();
    let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = write!(page, "\n### `[{}]` of kind `{kind}`\n\n{meaning}\n", path.trim_end_matches('.'));
    section(root, variant, path, page, seen);
}

/// The object that a property holds one or many of, and how its header is written.
fn nested<'a>(root: &'a Value, property: &'a Value, path: &str, key: &str) -> Option<(String, &'a Value)> {
    let target = resolve(root, property);
    if target["properties"].is_object() {
        return Some((format!("[{path}{key}]"), target));
    }
    let extra = resolve(root, &target["additionalProperties"]);
    if extra["properties"].is_object() || extra["oneOf"].is_array() {
        return Some((format!("[{path}{key}.NAME]"), extra));
    }
    let items = resolve(root, &target["items"]);
    if items["properties"].is_object() {
        return Some((format!("[[{path}{key}]]"), items));
    }
    let forms = || items["anyOf"].as_array().or(target["anyOf"].as_array()).into_iter().flatten();
    let mut resolved = forms().map(|form| resolve(root, form));
    if let Some(object) = resolved.find(|form| form["properties"].is_object()) {
        let one = target["anyOf"].is_array() && forms().any(|form| form["type"] == "string");
        return Some((if one { format!("[{path}{key}]") } else { format!("[[{path}{key}]]") }, object));
    }
    let mut listed = forms().map(|form| resolve(root, &form["items"]));
    let object = listed.find(|item| item["properties"].is_object())?;
    Some((format!("[[{path}{key}]]"), object))
}

fn kind(root: &Value, property: &Value) -> String {
    let target = resolve(root, property);
    let words = words(target);
    match target["type"].as_str() {
        _ if !words.is_empty() => words.iter().map(|w| format!("`\"{w}\"`")).collect::<Vec<_>>().join(" or "),
        Some("string") if property["x-range"].is_string() => "duration".to_owned(),
        Some("string") => "text".to_owned(),
        Some("integer") => "number".to_owned(),
        Some("object") => "table".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        None if target["anyOf"][0]["type"] == "string" && target["anyOf"][1]["type"] != "integer" => {
            let long = resolve(root, &target["anyOf"][1]);
            format!("text or {}", if long["type"] == "array" { kind(root, long) } else { "table".to_owned() })
        }
        None if target["anyOf"]
            .as_array()
            .is_some_and(|forms| nested(root, property, "", "").is_some() && !forms.is_empty()) =>
        {
            "table or tables".to_owned()
        }
        None if target["anyOf"].is_array() => "text, number or truth".to_owned(),
        Some("array") => match resolve(root, &target["items"])["type"].as_str() {
            Some("string") => "list of texts".to_owned(),
            Some("object") => "tables".to_owned(),
            _ => "list of texts or tables".to_owned(),
        },
        other => panic!("no name for type {other:?}"),
    }
}

fn range(root: &Value, property: &Value) -> String {
    let target = resolve(root, property);
    let (min, max) = (property["minimum"].as_i64(), property["maximum"].as_i64());
    match (min, max, property["x-range"].as_str(), target["maxItems"].as_u64()) {
        (Some(min), Some(max), ..) if min == max => format!("{min}"),
        (Some(min), Some(max), ..) => format!("{min} to {max}"),
        (.., Some(text), _) => text.to_owned(),
        (.., Some(most)) => format!("at most {most}"),
        _ => String::new(),
    }
}

fn words(target: &Value) -> Vec<&str> {
    let listed = target["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let of = target["oneOf"].as_array().into_iter().flatten();
    listed.chain(of.filter_map(|v| v["const"].as_str())).chain(target["const"].as_str()).collect()
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn same(path: &str, text: &str) {
    let path = root().join(path);
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{} is not what the code says: run with WEIR_BLESS=1", path.display());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
