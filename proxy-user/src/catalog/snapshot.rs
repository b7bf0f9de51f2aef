//! What discovery and health say at one moment. Immutable, published whole: the maps, the API and the metrics are all made
//! from the same one.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::model::BackendAddr;
use crate::registry::source::{Query, Rejected};

/// Everything that discovery and health say. What has not changed is shared with the snapshot before.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By service. A service without discovery and health has no entry.
    pub services: BTreeMap<String, Arc<Pooled>>,
    /// When the last byte of the oldest push was read that is in this snapshot and was not in the one before.
    pub received: Option<Instant>,
}

/// What is said of one service.
#[derive(Clone, Debug, Default)]
pub struct Pooled {
    /// Every endpoint that is known of, and every backend of the configuration or the API that is checked.
    pub candidates: BTreeMap<BackendAddr, Candidate>,
    /// The service's sources, in the order of the configuration.
    pub sources: Vec<SourceStatus>,
    /// Removals that wait.
    pub hold: Option<Hold>,
    /// Fewer are up than the threshold asks for, so health is not looked at.
    pub panic: bool,
}

/// An endpoint or backend: where it comes from, and whether it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Weight of 0 to 1000 by the rule of `catalog::weight`; of a backend of the configuration or API its own.
    pub weight: u16,
    /// Names of the registries that have it, in the order of the service's sources; none for a backend of the
    /// configuration or the API.
    pub sources: Vec<Arc<str>>,
    /// Zone.
    pub zone: Option<Arc<str>>,
    /// Labels of the first source that has it.
    pub labels: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    /// Whether it is used, or why not.
    pub standing: Standing,
    /// Since when it stands so.
    pub since: Timestamp,
    /// What the health checks say; none where there are none, or no verdict yet.
    pub health: Option<Health>,
}

/// Whether a candidate is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Takes new flows.
    Used,
    /// Takes new flows although its registry no longer has it: the removal is held.
    Held,
    /// Old flows only: its registry disables it or gives it the weight 0.
    Disabled,
    /// Old flows only: the health checks fail.
    Down,
    /// Old flows only: it has not been found healthy yet, and the service wants that first.
    Unchecked,
    /// Old flows only: another source or zone is in use.
    Standby,
    /// Old flows only, and none at all from this time on: its registry no longer has it.
    Leaving {
        /// When it is forgotten.
        until: Timestamp,
    },
    /// Never a backend, for this reason.
    Refused {
        /// Why, for people.
        why: String,
    },
}

/// The last verdict of the health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it is up.
    pub up: bool,
    /// What the last check saw, for people.
    pub detail: String,
    /// Since when the verdict stands.
    pub since: Timestamp,
}

/// A service's view of one of its sources.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceStatus {
    /// Name of the registry.
    pub registry: Arc<str>,
    /// What it is asked for.
    pub query: Arc<Query>,
    /// What is known.
    pub state: Knowledge,
    /// Since when it is so.
    pub since: Timestamp,
    /// When a whole set came last; of a remembered one when it came to the daemon before.
    pub last_success: Option<Timestamp>,
    /// Position in the registry's own terms.
    pub version: Option<String>,
    /// Endpoints in the last set, refused ones not counted.
    pub endpoints: usize,
    /// Entries refused in the last set.
    pub rejected: u64,
    /// The first of them.
    pub examples: Arc<[Rejected]>,
}

/// What is known of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// A set, not empty, held with the registry in session.
    Known,
    /// The registry says that there is nothing.
    Empty,
    /// Nothing is known; the last set, if any, stays in use.
    Unknown {
        /// Why, for people.
        why: String,
        /// Whether the set in use comes from the disk.
        remembered: bool,
    },
}

/// Removals that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Which endpoints.
    pub addrs: Vec<BackendAddr>,
    /// Why.
    pub why: HoldReason,
    /// Since when.
    pub since: Timestamp,
    /// When they are carried out if nothing changes; none for not without `weir registry accept`.
    pub until: Option<Timestamp>,
}

impl Hold {
    /// Stands for the endpoints that wait, so that an operator accepts what was shown: another set has another number.
    #[must_use]
    pub fn number(&self) -> u32 {
        let mut hasher = DefaultHasher::new();
        self.addrs.hash(&mut hasher);
        let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// Why removals wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldReason {
    /// A source of the service has not answered yet.
    FirstSync,
    /// Fewer than the minimum would be left.
    Minimum,
    /// More than the allowed share would be removed within the interval.
    Share,
}
