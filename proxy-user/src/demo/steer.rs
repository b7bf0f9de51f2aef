//! Real connections through the VIP: who answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::error::DemoError;
use super::topology::{Topology, VIP, backend_addresses};
use crate::lab::http::Get;
use crate::lab::run_in;

/// How the connections ended.
#[derive(Debug, Default)]
pub(super) struct Steered {
    /// Connections tried.
    pub(super) connections: u64,
    /// Of these, without a whole answer.
    pub(super) failed: u64,
    /// Answers by the name of the backend that gave them.
    pub(super) per_backend: BTreeMap<String, u64>,
    /// The first failure.
    pub(super) failure: Option<String>,
}

/// Makes [`CONNECTIONS`] connections, one after the other, each with a request and its answer.
pub(super) fn steer(lab: &Topology) -> Result<Steered, DemoError> {
    Ok(run_in(&lab.client, || {
        let get = Get { to: SocketAddr::V4(VIP), from: None, timeout: TIMEOUT };
        let per_backend = backend_addresses().map(|(name, _)| (name.to_owned(), 0)).collect();
        let mut steered = Steered { per_backend, ..Steered::default() };
        while steered.connections < CONNECTIONS {
            steered.connections += 1;
            match get.send() {
                Ok(name) => *steered.per_backend.entry(name).or_default() += 1,
                Err(error) => {
                    steered.failed += 1;
                    steered.failure.get_or_insert_with(|| error.to_string());
                }
            }
            if steered.failed >= PATIENCE {
                steered.failed += CONNECTIONS - steered.connections;
                steered.connections = CONNECTIONS;
            }
        }
        steered
    })?)
}

impl Steered {
    /// For people.
    pub(super) fn describe(&self) -> String {
        let spread: Vec<String> =
            self.per_backend.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let failed = if self.failed == 0 { String::new() } else { format!("  failed {}", self.failed) };
        format!("{} connections to {VIP}  -> {}{failed}", self.connections, spread.join("  "))
    }
}

/// Connections to make.
pub(super) const CONNECTIONS: u64 = 200;
const TIMEOUT: Duration = Duration::from_secs(2);
/// Failures after which the rest is not tried any more.
const PATIENCE: u64 = 2;
