//! Backends that come from registries, what keeps them safe, how they are checked, and where the VIP is registered.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::registry::source::{Publication, Query};

/// Where a service's backends come from, beside those that are named one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Sources in the order of the configuration.
    pub sources: Vec<SourceRef>,
    /// How they are put together.
    pub combine: Combine,
    /// What is removed only after a second look.
    pub guard: Guard,
    /// How long an endpoint that its registry no longer has keeps its old flows before it is forgotten.
    pub drain: Duration,
}

/// A name in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRef {
    /// Name of the registry in the configuration.
    pub registry: String,
    /// What to ask it for.
    pub query: Arc<Query>,
    /// Zone of all its endpoints; none for what the registry says of each.
    pub zone: Option<Arc<str>>,
}

/// How several sources make one set.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Every endpoint of every source; the first source that has an address says its weight and labels.
    #[default]
    Union,
    /// The first source with a usable endpoint; the others stand by.
    Fallback,
    /// Endpoints of weir's own zone while one of them is usable, else all.
    Zone,
}

/// When removals wait. Additions never do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Fewest endpoints that a removal may leave at once.
    pub min: u32,
    /// Largest share of the endpoints that may be removed within `interval` at once, percent, 0 to 100.
    pub max_removed: u8,
    /// Window of `max_removed`.
    pub interval: Duration,
    /// How long a held removal has to be the registry's word without a break until it is carried out.
    pub hold: Duration,
    /// The same where it would leave fewer than `min`; none for not before `weir registry accept`.
    pub hold_min: Option<Duration>,
    /// How long removals wait for the first answer of every source before the hold is reported as a problem.
    pub first_sync: Duration,
    /// Addresses that may be backends although they are loopback, link-local or the like. weir's own VIPs never may.
    pub allow: Vec<IpNet>,
    /// Most endpoints; a set with more is not taken over.
    pub max_endpoints: u32,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            min: 1,
            max_removed: 50,
            interval: Duration::from_secs(30),
            hold: Duration::from_secs(60),
            hold_min: Some(Duration::from_secs(600)),
            first_sync: Duration::from_secs(60),
            allow: Vec::new(),
            max_endpoints: 10_000,
        }
    }
}

/// How a service's backends are checked, from this host, at their own address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// Port to try; none for the backend's own.
    pub port: Option<u16>,
    /// Time between two checks of a backend, before jitter.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up.
    pub rise: u8,
    /// Failures in a row that take it down.
    pub fall: u8,
    /// Whether a backend that is new to the service takes flows before its first verdict.
    pub initial_up: bool,
    /// Below this share of backends that are up, percent, all are used; 0 for never.
    pub panic_below: u8,
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// A TCP connection.
    Tcp,
    /// An HTTP/1.1 GET.
    Http {
        /// Path and query, beginning with `/`.
        path: String,
        /// Host header; none for the backend's address.
        host: Option<String>,
        /// Status codes that are good, inclusive ranges.
        status: Vec<(u16, u16)>,
    },
}

/// Where a service's VIP is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Name of the registry in the configuration.
    pub registry: String,
    /// What to register there.
    pub publication: Arc<Publication>,
}
