//! What a worker counts and sends to the daemon, whole, about once a second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A worker's counters since its start. All but `active` only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Clients' connections now.
    pub active: u64,
    /// Clients' connections accepted.
    pub accepted: u64,
    /// Connections closed at once, for want of a service at their local address.
    pub strays: u64,
    /// By service.
    pub services: BTreeMap<String, ServiceStats>,
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
}
