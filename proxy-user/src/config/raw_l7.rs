//! The file form of what the L7 path does for a service, as written.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use super::at::At;
use super::bounds;
use crate::l7::codec::CODECS;

/// The L7 path itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawL7Path {
    /// Worker processes. Left out: one for each CPU that weir may use.
    #[schemars(range(min = 1, max = bounds::L7_WORKERS))]
    pub(super) workers: Option<At<i64>>,
}

/// What the L7 path does for a service with `forward = "l7"`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawL7 {
    /// How a backend learns the client's address: by a PROXY protocol header of version 2 in front of the first byte
    /// (`tcp`), by `X-Forwarded-For` or `Forwarded` (`http1`), or by the header `client_header` (`http1`, `bolt`).
    #[schemars(extend("default" = "none"))]
    pub(super) client_address: Option<At<RawClientAddress>>,
    /// Name of the header of `client_address = "header"`.
    pub(super) client_header: Option<At<String>>,
    /// Prefixes of peers that are believed what they say of clients: addresses in headers, and timeouts.
    #[serde(default)]
    pub(super) trusted: Vec<At<String>>,
    /// Who may ask, by address; denied requests are answered in the client's protocol.
    pub(super) access: Option<RawAccess>,
    /// How a backend is chosen: of two drawn at random the one with fewer requests for its weight (`least-request`), in
    /// turn by weight (`round-robin`), or the same for the same key as long as backends stay (`maglev`).
    #[schemars(extend("default" = "least-request"))]
    pub(super) balance: Option<At<RawBalance>>,
    /// Header that `maglev` goes by; requests without it go by the client's address. Left out: all do.
    pub(super) hash_header: Option<At<String>>,
    /// Bounds of the service as a whole; each worker keeps to its share.
    pub(super) limits: Option<RawL7Limits>,
    /// Times after which something is given up.
    pub(super) timeouts: Option<RawL7Timeouts>,
    /// Backends that fail are left out for a time. Left out: they never are.
    pub(super) outlier: Option<RawOutlier>,
    /// A new backend gets its full share only after this time.
    #[schemars(extend("default" = bounds::L7_SLOW_START.default, "x-range" = bounds::L7_SLOW_START.range()))]
    pub(super) slow_start: Option<At<String>>,
    /// With a smaller share of the backends in service than this, percent, all are used, also those left out; 0 for never.
    #[schemars(range(min = 0, max = 100), extend("default" = 0))]
    pub(super) panic_below: Option<At<i64>>,
    /// Connections to backends.
    pub(super) pool: Option<RawPool>,
    /// Send go-away to Bolt clients when a worker drains. Only if all of them know it: stock sofa-bolt breaks the
    /// connection.
    #[schemars(extend("default" = false))]
    pub(super) goaway: Option<At<bool>>,
    /// Take `CONNECT` (HTTP/1).
    #[schemars(extend("default" = false))]
    pub(super) connect: Option<At<bool>>,
    /// Pass on `Upgrade: websocket` (HTTP/1).
    #[schemars(extend("default" = true))]
    pub(super) upgrade: Option<At<bool>>,
    /// One of so many requests is written to the access log; 0 for none.
    #[schemars(range(min = 0, max = u32::MAX), extend("default" = 0))]
    pub(super) access_log: Option<At<i64>>,
}

/// How a backend learns the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawClientAddress {
    /// Not at all.
    None,
    /// PROXY protocol, version 2.
    ProxyV2,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// The header `client_header`.
    Header,
}

/// How a backend is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawBalance {
    /// Power of two choices.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// Consistent hashing.
    Maglev,
}

/// Who may ask: first `rules` in their order, then `lists`, then `default`; the first match decides.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAccess {
    /// Header that says who the client is, as a list with the nearest last, like `x-forwarded-for`. It counts only from
    /// `trusted` peers; missing or unreadable there means denied. Left out: the peer is the client.
    pub(super) header: Option<At<String>>,
    /// How many trusted hops append to the header: the client is so many entries from its end.
    #[schemars(range(min = 1, max = bounds::L7_HOPS), extend("default" = 1))]
    pub(super) hops: Option<At<i64>>,
    /// Own rules.
    #[serde(default)]
    #[schemars(length(max = bounds::L7_RULES))]
    pub(super) rules: Vec<RawAccessRule>,
    /// Names of lists of the source ACL to look at again, by the ACL's order: `drop` denies, `pass` allows. Useful with
    /// `header`, as XDP has seen the peer's address only.
    #[serde(default)]
    pub(super) lists: Vec<At<String>>,
    /// For clients that nothing matches.
    #[schemars(extend("default" = "allow"))]
    pub(super) default: Option<RawVerdict>,
}

/// A rule of `access`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAccessRule {
    /// What happens to clients of `sources`.
    pub(super) action: RawVerdict,
    /// Addresses and prefixes, IPv4 and IPv6.
    pub(super) sources: At<Vec<At<String>>>,
}

/// Whether somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawVerdict {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// Bounds of a service as a whole. A worker keeps to its share: the bound divided by the number of workers, rounded up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawL7Limits {
    /// Connections of clients.
    #[schemars(range(min = 1, max = u32::MAX))]
    pub(super) connections: Option<At<i64>>,
    /// Requests under way.
    #[schemars(range(min = 1, max = u32::MAX))]
    pub(super) requests: Option<At<i64>>,
    /// Requests that wait for a connection to a backend.
    #[schemars(range(min = 1, max = u32::MAX), extend("default" = 1_024))]
    pub(super) pending: Option<At<i64>>,
    /// Bytes of a request's body. Left out: no bound for HTTP, 1 MiB for Bolt.
    #[schemars(range(min = 0, max = i64::MAX))]
    pub(super) body_bytes: Option<At<i64>>,
}

/// Times after which something is given up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawL7Timeouts {
    /// A connection to a backend that does not come up.
    #[schemars(extend("default" = bounds::L7_CONNECT.default, "x-range" = bounds::L7_CONNECT.range()))]
    pub(super) connect: Option<At<String>>,
    /// A connection on which nothing moves, also while a request is under way.
    #[schemars(extend("default" = bounds::L7_IDLE.default, "x-range" = bounds::L7_IDLE.range()))]
    pub(super) idle: Option<At<String>>,
    /// A request's head, and the whole of a Bolt message, from its first byte.
    #[schemars(extend("default" = bounds::L7_HEAD.default, "x-range" = bounds::L7_HEAD.range()))]
    pub(super) head: Option<At<String>>,
    /// A request, from its first byte to its answer's last. Left out: no bound for HTTP, 60 s for Bolt.
    #[schemars(extend("x-range" = bounds::L7_REQUEST.range()))]
    pub(super) request: Option<At<String>>,
}

/// When a backend is left out for what it answers: each worker by what it sees.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutlier {
    /// Failures (5xx, resets, timeouts) in a row.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 5))]
    pub(super) failures: Option<At<i64>>,
    /// For how long the first time; the second time twice as long, and so on.
    #[schemars(extend("default" = bounds::L7_EJECTION.default, "x-range" = bounds::L7_EJECTION.range()))]
    pub(super) ejection: Option<At<String>>,
    /// At most.
    #[schemars(extend("default" = bounds::L7_EJECTION_MAX.default, "x-range" = bounds::L7_EJECTION_MAX.range()))]
    pub(super) max_ejection: Option<At<String>>,
    /// Never a larger share of the service's backends at a time, percent, but always one.
    #[schemars(range(min = 0, max = 100), extend("default" = 10))]
    pub(super) max_ejected: Option<At<i64>>,
}

/// Connections to backends. Bounds are of each worker and backend.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPool {
    /// Connections to one backend at most; 0 for 1 where requests share a connection (Bolt), 1024 where they don't.
    #[schemars(range(min = 0, max = 65_536), extend("default" = 0))]
    pub(super) connections: Option<At<i64>>,
    /// Requests under way on a shared connection at most.
    #[schemars(range(min = 1, max = bounds::L7_STREAMS_MAX), extend("default" = 16_384))]
    pub(super) streams: Option<At<i64>>,
    /// An idle connection is closed after this time.
    #[schemars(extend("default" = bounds::L7_POOL_IDLE.default, "x-range" = bounds::L7_POOL_IDLE.range()))]
    pub(super) idle: Option<At<String>>,
    /// A connection takes no new requests after this time; `0s` for no bound.
    #[schemars(extend("default" = bounds::L7_POOL_AGE.default, "x-range" = bounds::L7_POOL_AGE.range()))]
    pub(super) max_age: Option<At<String>>,
    /// A shared connection without traffic is asked for a sign of life after this time; without one in as long again it
    /// is given up. `0s` for never.
    #[schemars(extend("default" = bounds::L7_HEARTBEAT.default, "x-range" = bounds::L7_HEARTBEAT.range()))]
    pub(super) heartbeat: Option<At<String>>,
}

/// The schema of `codec`: a name, or a list of names.
pub(super) fn codec(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<Value> = CODECS.iter().map(|codec| codec.name().into()).collect();
    let one = json_schema!({ "type": "string", "enum": names });
    json_schema!({ "anyOf": [one, { "type": "array", "items": one, "maxItems": CODECS.len() }] })
}
