//! The file form of registries, of what is asked of them, and of what keeps the answers safe, as written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::at::At;
use super::bounds;
use crate::model::Combine;
use crate::registry::list::{KINDS, NAMES};

/// A table whose keys depend on a kind of registry.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Open {
    pub(super) keys: BTreeMap<At<String>, At<toml::Value>>,
}

impl Open {
    /// The value of a key and where key and value stand.
    pub(super) fn entry(&self, key: &str) -> Option<(&At<String>, &At<toml::Value>)> {
        self.keys.iter().find(|(at, _)| at.value == key)
    }

    /// The text of a key that the schema says is one.
    pub(super) fn text(&self, key: &str) -> Option<At<String>> {
        let (_, at) = self.entry(key)?;
        Some(At { value: at.value.as_str()?.to_owned(), span: at.span.clone() })
    }
}

macro_rules! open {
    ($($(#[doc = $doc:literal])* $name:ident = $schema:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(transparent)]
        pub(super) struct $name {
            pub(super) open: Open,
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                $schema(generator)
            }
        }
    )*};
}

open! {
    /// `[registry.NAME]`.
    RawRegistry = registry;
    /// `discover`.
    RawDiscover = discover;
    /// `publish`.
    RawPublish = publish;
}

fn registry(generator: &mut SchemaGenerator) -> Schema {
    let mut branches = Vec::new();
    for name in NAMES {
        let branch = match KINDS.iter().find(|kind| kind.name == *name) {
            Some(kind) => (kind.schema)(generator).to_value(),
            // Not this weir's: its keys are not looked at, and the check says why.
            None => json!({ "type": "object", "additionalProperties": {}, "properties": {} }),
        };
        branches.push(with_kind(branch, name));
    }
    json_schema!({
        "description": "A registry, by a name of your choice: `[registry.NAME]`. Secrets stand in files of their own.",
        "type": "object",
        "required": ["kind"],
        "oneOf": branches,
    })
}

/// Adds the key `kind`, which says which of the branches a table is.
fn with_kind(mut branch: Value, name: &str) -> Value {
    let Some(object) = branch.as_object_mut() else { return branch };
    object.remove("title");
    if let Some(keys) = object.entry("properties").or_insert_with(|| json!({})).as_object_mut() {
        let kind = json!({ "type": "string", "const": name, "description": "Kind of the registry." });
        keys.insert("kind".to_owned(), kind);
    }
    if let Some(required) = object.entry("required").or_insert_with(|| json!([])).as_array_mut() {
        required.push(json!("kind"));
    }
    branch
}

fn discover(_: &mut SchemaGenerator) -> Schema {
    let options = KINDS.iter().map(|kind| (kind.name, kind.options));
    json_schema!({
        "description": "A name in a registry whose endpoints are the service's backends, beside those that are named here.",
        "type": "object",
        "required": ["registry", "service"],
        "additionalProperties": false,
        "properties": keys(options, json!({
            "registry": { "type": "string", "description": "Name of the registry: the NAME of `[registry.NAME]`." },
            "service": { "type": "string", "description": "Name of the service in the registry." },
            "zone": { "type": "string", "description": "Zone of all its endpoints. Left out: what the registry says of each." },
        })),
    })
}

fn publish(_: &mut SchemaGenerator) -> Schema {
    let able = KINDS.iter().filter_map(|kind| Some((kind.name, kind.publish.as_ref()?.options)));
    json_schema!({
        "description": "Where the VIP is registered, so that clients find it as a provider. It is withdrawn by \
                        `weir service withdraw`, `weir detach`, and when it is taken out here.",
        "type": "object",
        "required": ["registry", "service"],
        "additionalProperties": false,
        "properties": keys(able, json!({
            "registry": { "type": "string", "description": "Name of the registry: the NAME of `[registry.NAME]`." },
            "service": { "type": "string", "description": "Name to register the VIP under." },
        })),
    })
}

fn keys(options: impl Iterator<Item = (&'static str, &'static [&'static str])>, mut all: Value) -> Value {
    let mut by_word: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (kind, words) in options {
        words.iter().for_each(|word| by_word.entry(word).or_default().push(kind));
    }
    for (word, kinds) in by_word {
        let pages = kinds.iter().map(|kind| format!("[{kind}](registries/{kind}.md)")).collect::<Vec<_>>();
        let text = json!({
            "description": format!("For the kind {}.", pages.join(", ")),
            "anyOf": [{ "type": "string" }, { "type": "integer" }, { "type": "boolean" }],
        });
        if let Some(all) = all.as_object_mut() {
            all.insert(word.to_owned(), text);
        }
    }
    all
}

/// One table, or a list of them.
#[derive(Debug)]
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    // Not serde's untagged: that buffers the value and loses spans and the reason of a failure.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ManyVisitor(PhantomData)).map(Self)
    }
}

struct ManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ManyVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table or a list of tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
        Ok(vec![T::deserialize(MapAccessDeserializer::new(map))?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq))
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Many{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "maxItems": bounds::SOURCES }] })
    }
}

/// What is removed from a service only after a second look. Additions never wait.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGuard {
    /// Fewest endpoints that a removal may leave at once.
    #[schemars(range(min = 0, max = bounds::ENDPOINTS), extend("default" = 1))]
    pub(super) min: Option<At<i64>>,
    /// Largest share of the endpoints, percent, that may be removed within `interval` at once.
    #[schemars(range(min = 0, max = 100), extend("default" = 50))]
    pub(super) max_removed: Option<At<i64>>,
    /// Window of `max_removed`.
    #[schemars(extend("default" = bounds::GUARD_INTERVAL.default, "x-range" = bounds::GUARD_INTERVAL.range()))]
    pub(super) interval: Option<At<String>>,
    /// How long a held removal has to be the registry's word without a break until it is carried out.
    #[schemars(extend("default" = bounds::GUARD_HOLD.default, "x-range" = bounds::GUARD_HOLD.range()))]
    pub(super) hold: Option<At<String>>,
    /// The same where it would leave fewer than `min`; `"never"` for not before `weir registry accept`.
    #[schemars(extend("default" = bounds::GUARD_HOLD_MIN.default, "x-range" = bounds::GUARD_HOLD_MIN.range()))]
    pub(super) hold_min: Option<At<String>>,
    /// How long removals wait for the first answer of every source before the hold is reported as a problem.
    #[schemars(extend("default" = bounds::GUARD_FIRST.default, "x-range" = bounds::GUARD_FIRST.range()))]
    pub(super) first_sync: Option<At<String>>,
    /// Prefixes whose addresses may be backends although they are loopback, link-local or the like. VIPs never may.
    #[serde(default)]
    pub(super) allow: Vec<At<String>>,
    /// Most endpoints; a set with more is not taken over.
    #[schemars(range(min = 1, max = bounds::ENDPOINTS), extend("default" = 10_000))]
    pub(super) max_endpoints: Option<At<i64>>,
}

/// Checks of every backend, from this host, at the backend's own address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHealth {
    /// What is tried: a TCP connection, or an HTTP/1.1 GET.
    pub(super) check: At<RawProbe>,
    /// Path and query of the GET.
    #[schemars(extend("default" = "/"))]
    pub(super) path: Option<At<String>>,
    /// Host header of the GET. Left out: the backend's address.
    pub(super) host: Option<At<String>>,
    /// Status codes that are good, each one a code like `"204"` or a range like `"200-299"`.
    #[serde(default)]
    #[schemars(extend("default" = ["200-399"]), length(max = 16))]
    pub(super) status: Vec<At<String>>,
    /// Port to try. Left out: the backend's own.
    #[schemars(range(min = 1, max = 65_535))]
    pub(super) port: Option<At<i64>>,
    /// Time between two checks of a backend, before jitter.
    #[schemars(extend("default" = bounds::HEALTH_INTERVAL.default, "x-range" = bounds::HEALTH_INTERVAL.range()))]
    pub(super) interval: Option<At<String>>,
    /// How long a check may take; not longer than `interval`.
    #[schemars(extend("default" = bounds::HEALTH_TIMEOUT.default, "x-range" = bounds::HEALTH_TIMEOUT.range()))]
    pub(super) timeout: Option<At<String>>,
    /// Successes in a row that bring a backend up.
    #[schemars(range(min = 1, max = 100), extend("default" = bounds::RISE))]
    pub(super) rise: Option<At<i64>>,
    /// Failures in a row that take it down.
    #[schemars(range(min = 1, max = 100), extend("default" = bounds::FALL))]
    pub(super) fall: Option<At<i64>>,
    /// Whether a backend that is new to the service takes flows before its first verdict (`up`) or not (`down`).
    #[schemars(extend("default" = "up"))]
    pub(super) initial: Option<RawInitial>,
    /// Below this share of backends that are up, percent, all are used whatever the checks say; 0 for never.
    #[schemars(range(min = 0, max = 100), extend("default" = 0))]
    pub(super) panic_below: Option<At<i64>>,
}

/// What a check tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProbe {
    /// A TCP connection.
    Tcp,
    /// An HTTP/1.1 GET.
    Http,
}

/// What a backend counts as before its first check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawInitial {
    /// Takes flows.
    Up,
    /// Takes none.
    Down,
}

/// How several sources make one set, with its place.
pub(super) type RawCombine = At<Combine>;
