//! What the API has set: the part of the desired state that the store keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Action, AdminState, Announce, BackendAddr, Forward, L7, Scope, UnknownPort, Vip};

/// Everything that the API has set. Cheap to clone: the entries of a list are shared until they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiState {
    /// Lists of the API, and what it added to lists of the base.
    pub lists: BTreeMap<String, ApiList>,
    /// Services of the API, and what it added to or laid on services of the base.
    pub services: BTreeMap<String, ApiService>,
}

/// A list of the API, or its part of a list of the base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiList {
    /// The list itself; none where the base has it.
    pub definition: Option<ListDefinition>,
    /// Entries; prefixes with host bits zero.
    pub entries: Arc<BTreeMap<IpNet, ApiEntry>>,
}

/// What a list is, without its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDefinition {
    /// Place in the evaluation order.
    pub order: u32,
    /// What it does.
    pub action: Action,
    /// What it acts on.
    pub scope: Scope,
}

/// An entry that the API set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiEntry {
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Why it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ApiEntry {
    /// Whether it still holds.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }
}

/// A service of the API, or its part of a service of the base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiService {
    /// The service itself; none where the base has it.
    pub definition: Option<ServiceDefinition>,
    /// Backends that the API added.
    pub backends: BTreeMap<BackendAddr, ApiBackend>,
    /// What the operator laid on backends of the base.
    pub overrides: BTreeMap<BackendAddr, Override>,
    /// How the L7 path serves it: of a service of the base, instead of what that says.
    pub l7: Option<Arc<L7>>,
    /// Why this version of weir cannot read those that the store has; they are not in force then, and kept as they were
    /// written.
    pub l7_fault: Option<String>,
    /// Whether the operator has taken the VIP out of its registries.
    pub withdrawn: bool,
}

/// What a service is, without its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceDefinition {
    /// VIP.
    pub vip: Vip,
    /// Forwarding mode.
    pub forward: Forward,
    /// Address handling.
    pub announce: Announce,
    /// For the VIP's other ports.
    pub unknown_port: UnknownPort,
    /// NAT flows that may wait for their handshake at once.
    pub syn_budget: u32,
}

/// A backend that the API added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiBackend {
    /// Weight, 0 to 1000.
    pub weight: u16,
    /// What the operator wants.
    pub state: AdminState,
}

/// An operator's word on a backend of the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Weight instead of the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// State instead of the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AdminState>,
}
