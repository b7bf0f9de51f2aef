//! The file form of virtual hosts and routes, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::at::At;
use super::bounds;
use super::text_or::TextOr;

/// A virtual host: routes of requests to some hosts. Those to other hosts go by `[[service.route]]`, or have no route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHost {
    /// Its name in metrics. Left out: the first of `hosts`.
    pub(super) name: Option<At<String>>,
    /// Host names without port: `api.example.com`; `*.example.com` for names under a domain, of which the longest
    /// counts; `*` for all others and for requests without a host.
    #[schemars(length(max = bounds::L7_HOSTS))]
    pub(super) hosts: At<Vec<At<String>>>,
    /// Routes, in order: the first that matches counts. Left out: everything goes to the service's own backends.
    #[serde(default)]
    #[schemars(length(max = bounds::L7_ROUTES))]
    pub(super) route: Vec<RawRoute>,
}

/// A route. A request takes it if everything matches that the route names: `path`, `query`, `methods`, `service`,
/// `headers`, `sources`. At most one of `to`, `redirect` and `answer` says what becomes of it; without any it goes to the
/// service's own backends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    /// Its name in metrics. Left out: its number among the host's, from 1.
    pub(super) name: Option<At<String>>,
    /// Path, without query: a text for exactly this, `{ prefix = "/api" }` for `/api` and everything under it.
    pub(super) path: Option<At<TextOr<RawText>>>,
    /// Methods, of HTTP or RPC. Left out: any.
    #[serde(default)]
    pub(super) methods: Vec<At<String>>,
    /// RPC service: a text for exactly this, or `{ prefix = "com.example." }`.
    pub(super) service: Option<At<TextOr<RawText>>>,
    /// Parameters of the query (HTTP) by name, both decoded; the first of a name counts. A text for exactly this value,
    /// `{ prefix = "..." }`, `{ present = true }` or `{ present = false }`.
    #[serde(default)]
    pub(super) query: BTreeMap<At<String>, At<TextOr<RawText>>>,
    /// Headers by name: a text for exactly this value, `{ prefix = "..." }`, `{ present = true }` or
    /// `{ present = false }`.
    #[serde(default)]
    pub(super) headers: BTreeMap<At<String>, At<TextOr<RawText>>>,
    /// Prefixes; the peer's address is in one of them. Left out: any.
    #[serde(default)]
    pub(super) sources: Vec<At<String>>,
    /// Name of the service whose backends get the request, or a list of services with weights: of as many requests as
    /// the weights add up to, each gets its weight exactly. They need `forward = "l7"`.
    pub(super) to: Option<At<TextOr<Vec<RawDestination>>>>,
    /// Send the client elsewhere (HTTP): to a `location`, or to the URL that it has asked for with other parts.
    pub(super) redirect: Option<At<RawRedirect>>,
    /// Answer here, without a backend (HTTP).
    pub(super) answer: Option<At<RawAnswer>>,
    /// What the backend gets instead of path and host (HTTP). Copies get the same.
    pub(super) rewrite: Option<At<RawRewrite>>,
    /// Who gets a copy of requests; the answers to copies are thrown away.
    pub(super) mirror: Option<At<RawMirror>>,
    /// For the whole request. Left out: the service's `timeouts.request`.
    #[schemars(extend("x-range" = bounds::L7_REQUEST.range()))]
    pub(super) timeout: Option<At<String>>,
    /// What is tried again: a request of which nothing was sent, or one that may be sent twice and has no answer yet.
    pub(super) retry: Option<RawRetry>,
    /// Changes to the request's headers.
    pub(super) request_headers: Option<At<RawEdits>>,
    /// Changes to the answer's headers.
    pub(super) response_headers: Option<At<RawEdits>>,
}

/// A text that is not meant whole: one of these keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawText {
    /// It begins so; for a path, up to a segment's end.
    pub(super) prefix: Option<At<String>>,
    /// It is there (true) or not (false).
    pub(super) present: Option<At<bool>>,
}

/// A destination of a route.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDestination {
    /// Name of a service with `forward = "l7"`.
    pub(super) service: At<String>,
    /// Its share; 0 gets none.
    #[schemars(range(min = 0, max = bounds::L7_WEIGHT), extend("default" = 1))]
    pub(super) weight: Option<At<i64>>,
}

/// Where to send the client.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRedirect {
    /// 301, 302, 303, 307 or 308.
    #[schemars(range(min = 301, max = 308), extend("default" = 302))]
    pub(super) status: Option<At<i64>>,
    /// Value of `Location`, whatever the client has asked for. Left out: the URL that it has asked for, with its query, and with
    /// the parts below instead of its own.
    pub(super) location: Option<At<String>>,
    /// Another scheme, with the port that is its own. Left out: the client keeps its own.
    pub(super) scheme: Option<At<RawScheme>>,
    /// Another host, with or without port.
    pub(super) host: Option<At<String>>,
    /// Another port.
    #[schemars(range(min = 1, max = 65_535))]
    pub(super) port: Option<At<i64>>,
    /// A path instead of the prefix that the route matches; empty to take it away.
    pub(super) prefix: Option<At<String>>,
    /// Another path.
    pub(super) path: Option<At<String>>,
}

/// Scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawScheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// What the backend gets instead of path and host. The query stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRewrite {
    /// A path instead of the prefix that the route matches: with `path = { prefix = "/api" }` and `/v2` here, `/api/x` becomes
    /// `/v2/x`. Empty takes the prefix away.
    pub(super) prefix: Option<At<String>>,
    /// Another path, whatever the client's is.
    pub(super) path: Option<At<String>>,
    /// Another `Host`, with or without port. Left out: the client's.
    pub(super) host: Option<At<String>>,
}

/// An answer of weir's own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAnswer {
    /// HTTP status.
    #[schemars(range(min = 200, max = 599))]
    pub(super) status: At<i64>,
    /// Body, plain text.
    pub(super) body: Option<At<String>>,
}

/// What is tried again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetry {
    /// How often; 0 for never.
    #[schemars(range(min = 0, max = 10), extend("default" = 2))]
    pub(super) tries: Option<At<i64>>,
    /// How many retries for a hundred requests, of each worker and service; a few are always allowed.
    #[schemars(range(min = 0, max = 100), extend("default" = 20))]
    pub(super) budget: Option<At<i64>>,
    /// HTTP statuses, 400 to 599, that count as no answer if the request may be sent twice. The last answer is passed on.
    #[serde(default)]
    #[schemars(inner(range(min = 400, max = 599)), length(max = 64))]
    pub(super) statuses: Vec<At<i64>>,
}

/// Who gets a copy. It never delays a request nor fails one: where there is no connection for it at once, it is given up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMirror {
    /// Name of a service with `forward = "l7"`, of the same protocol.
    pub(super) to: At<String>,
    /// Of a hundred requests, so many are copied, exactly (of each worker).
    #[schemars(range(min = 0, max = 100), extend("default" = 100))]
    pub(super) percent: Option<At<i64>>,
}

/// Changes to headers, at most 32: first `remove`, then `set`, then `add`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEdits {
    /// Names of headers to take out.
    #[serde(default)]
    pub(super) remove: Vec<At<String>>,
    /// Headers to have with this value and no other.
    #[serde(default)]
    pub(super) set: BTreeMap<At<String>, At<String>>,
    /// Headers to have once more.
    #[serde(default)]
    pub(super) add: BTreeMap<At<String>, At<String>>,
}
