//! Active health checks: is there somebody at this address, and does he answer?
//!
//! [`Targets`] in, [`Verdict`]s out. `board` knows what is due and who wants to know (no clock, no sockets of its own);
//! `machine` makes verdicts of results; `http` reads answers; `probe` has the sockets; [`run`] is the loop around them.
//! What a verdict does to a backend (panic threshold, the registry's word) is `catalog`'s.

mod board;
#[cfg(test)]
mod board_tests;
mod http;
mod machine;
mod probe;
mod run;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{BackendAddr, HealthCheck, Probe};

pub use http::{fuzz, host_problem, path_problem};
pub use run::run;
pub use stats::{BUCKETS, Outcome, Reading, Stats};

/// A service's backend.
pub type Target = (Arc<str>, BackendAddr);

/// Every backend that is to be checked, and how. A backend whose port is 0 needs [`HealthCheck::port`], or it is not
/// checked.
pub type Targets = BTreeMap<Target, Arc<HealthCheck>>;

/// What the checks of a backend say from now on: the first word, a change, or another reason of a backend that is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The service that wants to know.
    pub service: Arc<str>,
    /// Its backend.
    pub backend: BackendAddr,
    /// Whether it is up.
    pub up: bool,
    /// What the last check saw, for people.
    pub detail: Arc<str>,
    /// When the last check ended.
    pub at: Timestamp,
}

/// One thing to try: services whose checks ask the same of the same address share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Unit {
    /// Where.
    addr: SocketAddr,
    /// What.
    probe: Probe,
    /// For how long at most; part of it, because "answers within 1 s" is another question than "within 5 s".
    timeout: Duration,
}

impl Unit {
    /// What `check` tries at `backend`; none without a port.
    fn of(backend: BackendAddr, check: &HealthCheck) -> Option<Self> {
        let port = check.port.unwrap_or(backend.port);
        let addr = SocketAddr::new(backend.addr, port);
        (port != 0).then(|| Self { addr, probe: check.probe.clone(), timeout: check.timeout })
    }
}

/// What a try saw.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// For the counters; also whether it is good.
    outcome: Outcome,
    /// For people.
    detail: Arc<str>,
}
