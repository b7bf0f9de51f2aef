//! What a worker counts and sends to the daemon, whole, about once a second; and the sums over all workers.

mod ledger;
mod tally;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use ledger::Ledger;
pub(in crate::l7) use tally::Outcome;
pub use tally::Tally;

/// A worker's counters since its start. All but those that say "now" only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Clients' connections now.
    pub active: u64,
    /// Clients' connections accepted.
    pub accepted: u64,
    /// Connections closed at once, for want of a service at their local address.
    pub strays: u64,
    /// Lines of the access log that were dropped, since nobody read those before them in time.
    pub log_lost: u64,
    /// By service.
    pub services: BTreeMap<String, ServiceStats>,
}

/// Upper bounds of the histogram of durations, in microseconds.
pub const DURATION_BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Answers, by whomever they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answers {
    /// By class of their HTTP status: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub classes: [u64; 5],
    /// By duration: for each of [`DURATION_BOUNDS`] those up to it and above the one before; last, all above.
    pub durations: [u64; DURATION_BOUNDS.len() + 1],
    /// Sum of all durations, in microseconds.
    pub duration_sum_us: u64,
}

/// Counters of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceStats {
    /// Clients' connections now.
    pub active: u64,
    /// Clients' connections accepted.
    pub accepted: u64,
    /// Connections for which no endpoint was reached.
    pub failed: u64,
    /// Bytes from clients to endpoints.
    pub bytes_up: u64,
    /// Bytes from endpoints to clients.
    pub bytes_down: u64,
    /// Requests.
    pub requests: u64,
    /// Requests under way now.
    pub requests_active: u64,
    /// Requests that wait for a connection now.
    pub pending: u64,
    /// Connections of clients from which bytes go both ways without messages now: `tcp`, WebSocket, `CONNECT`.
    pub tunnels: u64,
    /// Answers.
    pub answers: Answers,
    /// Answers that weir gave itself, by reason (`codec::LocalReason::label`).
    pub reasons: BTreeMap<String, u64>,
    /// Requests whose bytes were not taken, by what is wrong with them (`codec::Fault::label`).
    pub refused: BTreeMap<String, u64>,
    /// Connections of endpoints that ended while a request was under way.
    pub resets: u64,
    /// Requests tried again.
    pub retries: u64,
    /// Requests for which a connection was there.
    pub pool_hits: u64,
    /// Faults of weir's own that ended one connection each.
    pub panics: u64,
    /// Copies of requests that were sent to another service.
    pub mirrored: u64,
    /// Copies that were given up: no connection at once, too slow, or no whole answer.
    pub mirrors_lost: u64,
    /// By route: `VIRTUAL HOST/ROUTE`.
    pub routes: BTreeMap<String, RouteStats>,
    /// By endpoint.
    pub endpoints: BTreeMap<SocketAddr, EndpointStats>,
}

/// Counters of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteStats {
    /// Requests that took it.
    pub requests: u64,
    /// Answers to them.
    pub answers: Answers,
}

/// Counters of one endpoint of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointStats {
    /// Requests sent to it, tries again included.
    pub requests: u64,
    /// Answers to the requests that were its own in the end.
    pub answers: Answers,
    /// Requests that failed: 5xx, reset, or timed out.
    pub failures: u64,
    /// Requests under way now.
    pub active: u64,
    /// Requests that wait for a connection now.
    pub pending: u64,
    /// Connections now.
    pub connections: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections that could not be made.
    pub connect_failures: u64,
    /// Requests that found a connection.
    pub reused: u64,
    /// Connections that ended while a request was under way.
    pub resets: u64,
    /// Requests that came to it after another had failed.
    pub retries: u64,
    /// Times it was left out for its failures.
    pub ejections: u64,
    /// Left out now: of a worker 1 or 0, of a sum the workers that do.
    pub ejected: u64,
}
