//! The L7 path: its workers, their connections, and the routes that they serve by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Status {
    /// Generation that workers are to serve by; none where no service is `l7`.
    pub generation: Option<u64>,
    /// Workers, by number; none where no service is `l7`. Behind them those that drain.
    pub workers: Vec<L7Worker>,
    /// Connections of clients now, of all workers.
    pub connections: u64,
    /// Services.
    pub services: Vec<L7ServiceTotals>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Worker {
    /// Its number, from 0; none of one that drains, as its place has another.
    pub worker: Option<u32>,
    /// Its process; none while there is none.
    pub pid: Option<i32>,
    /// What it is at.
    pub state: L7WorkerState,
    /// Generation that it serves by.
    pub generation: Option<u64>,
    /// Connections of clients now.
    pub connections: u64,
    /// Requests under way now.
    pub requests_active: u64,
    /// Times that it had to be started again, since the daemon started.
    pub restarts: u64,
    /// Times that it gave no sign of life for 10 s and was killed; these count as restarts, too.
    #[serde(default)]
    pub hangs: u64,
    /// How the process before this one ended, if there was one since the daemon started.
    #[serde(default)]
    pub last_end: Option<String>,
    /// Whether an earlier daemon has started it.
    pub adopted: bool,
    /// What is wrong: why it is not there, or why it refused a generation.
    pub trouble: Option<String>,
}

/// What a worker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum L7WorkerState {
    /// It serves by the generation that it is to.
    Serving,
    /// It serves by an older one, or by none yet.
    Behind,
    /// It accepts no more and ends with its connections.
    Draining,
    /// It is not there.
    Down,
    /// A state that this client does not know.
    #[serde(other)]
    Unknown,
}

impl L7WorkerState {
    /// Its name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Behind => "behind",
            Self::Draining => "draining",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// What all workers together have counted of a service, since they started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7ServiceTotals {
    /// Service.
    pub service: String,
    /// Connections of clients now.
    pub connections: u64,
    /// Requests.
    pub requests: u64,
    /// Requests under way now.
    pub requests_active: u64,
    /// Requests that wait for a connection now.
    pub pending: u64,
    /// Answers by class of their HTTP status: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub classes: Vec<u64>,
    /// Requests tried again.
    pub retries: u64,
    /// Connections of backends that ended under a request.
    pub resets: u64,
    /// Answers that weir gave itself, by reason, as in the access log.
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    /// Requests that were not taken, by what is wrong with their bytes, as in the access log.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
}

/// Live connections, a bounded number of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Connections {
    /// Connections by worker, in no order beyond that.
    pub connections: Vec<L7Connection>,
    /// Whether there are more than are shown.
    pub more: bool,
    /// Workers that did not answer in time.
    pub silent: Vec<u32>,
}

/// A connection of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Connection {
    /// Worker that has it.
    pub worker: u32,
    /// The client.
    pub client: String,
    /// VIP and port that it dialled.
    pub local: String,
    /// Service.
    pub service: String,
    /// Protocol; none before it is detected.
    pub codec: Option<String>,
    /// What it is at: `detecting`, `idle`, `busy`, `shared`, `tunnel`, `closing`.
    pub state: String,
    /// Backend of the request under way, or of the tunnel.
    pub upstream: Option<String>,
    /// Milliseconds since it was accepted.
    pub age_ms: u64,
    /// Requests so far.
    pub requests: u64,
    /// Requests under way.
    pub requests_active: u64,
    /// Bytes from the client so far.
    pub bytes_up: u64,
    /// Bytes to the client so far.
    pub bytes_down: u64,
}

/// What workers route by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Routes {
    /// Generation of this; none where no service is `l7`.
    pub generation: Option<u64>,
    /// Workers that serve by it, of how many.
    pub acknowledged: u64,
    /// How many workers there are.
    pub workers: u64,
    /// Services.
    pub services: Vec<L7Service>,
}

/// A service as workers have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Service {
    /// Name.
    pub name: String,
    /// Address and port.
    pub vip: String,
    /// Codec, or those that are detected among.
    pub codec: String,
    /// How an endpoint is chosen.
    pub balance: String,
    /// For a request; none is no bound.
    pub timeout_ms: Option<u64>,
    /// Endpoints that take requests, of how many.
    pub endpoints_active: u64,
    /// Endpoints.
    pub endpoints: u64,
    /// Virtual hosts in order; none: all requests go to the service's own endpoints.
    pub virtual_hosts: Vec<L7VirtualHost>,
}

/// Routes of some hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7VirtualHost {
    /// Name.
    pub name: String,
    /// Hosts that it has.
    pub hosts: Vec<String>,
    /// Routes: the first that matches counts.
    pub routes: Vec<L7Route>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Route {
    /// Name.
    pub name: String,
    /// Whom it has; all must hold. Empty: everyone.
    pub matches: Vec<String>,
    /// What becomes of them.
    #[serde(flatten)]
    pub does: L7Action,
}

/// What becomes of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Action {
    /// `forward`, `redirect` or `direct`, with its target in words.
    pub action: String,
    /// For a request; none is no bound.
    pub timeout_ms: Option<u64>,
    /// Times that a request may be tried again.
    pub retries: u8,
    /// Retries for a hundred requests.
    pub retry_budget_percent: u8,
    /// Changes to the request's headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<String>,
    /// Changes to the answer's headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<String>,
}
