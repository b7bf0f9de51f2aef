//! The changes that the API can ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::state::ServiceDefinition;
use crate::model::{Action, AdminState, BackendAddr, L7, Scope};

/// One change of what the API has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Replace the API's part of a list, or create a list.
    PutList {
        /// List.
        list: String,
        /// New order; see [`crate::control::types::ListPut`] for what none means.
        order: Option<u32>,
        /// New action.
        action: Option<Action>,
        /// New scope.
        scope: Option<Scope>,
        /// All entries that the API wants in it.
        entries: Vec<NewEntry>,
    },
    /// Add and remove entries.
    PatchList {
        /// List.
        list: String,
        /// New order.
        order: Option<u32>,
        /// New action; creates the list if it does not exist.
        action: Option<Action>,
        /// New scope.
        scope: Option<Scope>,
        /// Entries to add or change.
        add: Vec<NewEntry>,
        /// Prefixes to remove.
        remove: Vec<IpNet>,
        /// Whether one refused item refuses the whole.
        atomic: bool,
    },
    /// Delete a list of the API, or the API's part of a list of the base.
    DeleteList {
        /// List.
        list: String,
    },
    /// Create or replace a service of the API, with all its backends.
    PutService {
        /// Service.
        service: String,
        /// What it is.
        definition: ServiceDefinition,
        /// Its backends.
        backends: BTreeMap<BackendAddr, NewBackend>,
        /// Its L7 settings; none for those that it has, if it stays of mode `l7`.
        l7: Option<Arc<L7>>,
    },
    /// Delete a service of the API.
    DeleteService {
        /// Service.
        service: String,
    },
    /// Create or change a backend.
    PutBackend {
        /// Service.
        service: String,
        /// Backend.
        backend: BackendAddr,
        /// What it should be.
        new: NewBackend,
    },
    /// Delete a backend of the API.
    DeleteBackend {
        /// Service.
        service: String,
        /// Backend.
        backend: BackendAddr,
    },
    /// Change a backend that exists, whoever set it.
    SetBackend {
        /// Service.
        service: String,
        /// Backend.
        backend: BackendAddr,
        /// What to change: the weight, or drain and undrain.
        new: NewBackend,
    },
    /// Set how the L7 path serves a service, whoever set the service.
    SetL7 {
        /// Service.
        service: String,
        /// All of its settings; none takes away what the API has set.
        l7: Option<Arc<L7>>,
    },
    /// Take a service's VIP out of its registries, or put it back.
    SetWithdrawn {
        /// Service.
        service: String,
        /// Whether it is out.
        withdrawn: bool,
    },
}

/// An entry to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Prefix; host bits are masked when it is applied.
    pub prefix: IpNet,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Why it is set.
    pub reason: Option<String>,
}

/// What a backend should be; what is none stays as it is, or is the default (weight 100, active) for a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewBackend {
    /// Weight, 0 to 1000.
    pub weight: Option<u16>,
    /// State.
    pub state: Option<AdminState>,
}
