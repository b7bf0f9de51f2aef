//! Services and their backends.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::endpoint::{Checked, HoldStatus, StandingState};
use super::registry::{PublicationStatus, QueryStatus};
use crate::config::once;
use crate::model::{AdminState, Announce, Forward, Origin, UnknownPort};

/// All services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Services {
    /// Generation that this describes.
    pub generation: u64,
    /// Services by name.
    pub services: Vec<ServiceDocument>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceDocument {
    /// Name.
    pub name: String,
    /// VIP, such as `tcp/198.51.100.10:80`; port 0 is any port.
    pub vip: String,
    /// Forwarding mode.
    pub forward: Forward,
    /// Address handling.
    pub announce: Announce,
    /// What becomes of packets to the VIP's other ports.
    pub unknown_port: UnknownPort,
    /// NAT flows that may wait for their handshake at once.
    pub syn_budget: u32,
    /// Who set the service.
    pub origin: Origin,
    /// Backends by address.
    pub backends: Vec<BackendDocument>,
    /// Where further backends come from, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<QueryStatus>,
    /// Removals of backends that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStatus>,
    /// Where the VIP is registered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<PublicationStatus>,
    /// Whether the operator has taken the VIP out of its registries.
    #[serde(default)]
    pub withdrawn: bool,
    /// Codec of an `l7` service, as in [`super::L7Settings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<Value>,
    /// What else the L7 path does for it, as there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l7: Option<Value>,
    /// Virtual hosts, as there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Value>,
    /// Routes, as there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Value>,
    /// Whether the API's L7 settings lie on top of what the file says; they survive a reload.
    #[serde(default)]
    pub l7_overridden: bool,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendDocument {
    /// Address, such as `10.0.0.11:8080`.
    pub address: String,
    /// Share of the ring relative to the service's other backends, 0 to 1000; 0 drains.
    pub weight: u16,
    /// What the operator wants.
    pub state: AdminState,
    /// Who set the backend.
    pub origin: Origin,
    /// Whether the operator's weight or state lies on top of what the file says; it survives a reload.
    pub overridden: bool,
    /// What the data path knows of it.
    pub health: BackendHealth,
    /// Registries that have it; none for a backend of the configuration or the API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Whether discovery and health checks let it take new flows; none for a service without either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<StandingState>,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing_detail: Option<String>,
    /// Since when it stands so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What else its registry says of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the health checks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

/// Whether packets can reach a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendHealth {
    /// Whether it takes packets: the way to it is known, down to the MAC address, and the health checks, if any, pass.
    pub up: bool,
    /// Why not, or what is being waited for.
    pub detail: Option<String>,
    /// Interface that it is reached by.
    pub interface: Option<String>,
    /// The next hop's MAC address.
    pub next_hop: Option<String>,
}

/// A service to create or replace, with all its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServicePut {
    /// VIP, such as `tcp/198.51.100.10:80` or `udp/[2001:db8::1]:53`; port 0 is any port.
    pub vip: String,
    /// Forwarding mode.
    #[serde(default)]
    pub forward: Forward,
    /// Address handling.
    #[serde(default)]
    pub announce: Announce,
    /// What becomes of packets to the VIP's other ports.
    #[serde(default)]
    pub unknown_port: UnknownPort,
    /// NAT flows that may wait for their handshake at once; the default of the configuration without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn_budget: Option<u32>,
    /// Backends.
    #[serde(default)]
    pub backends: Vec<BackendPut>,
    /// Codec of an `l7` service, as in [`super::L7Settings`]. Without this and the next three, the settings of a service
    /// that exists stay as they are.
    #[serde(default, deserialize_with = "once", skip_serializing_if = "Option::is_none")]
    pub codec: Option<Value>,
    /// What else the L7 path does for it, as there.
    #[serde(default, deserialize_with = "once", skip_serializing_if = "Option::is_none")]
    pub l7: Option<Value>,
    /// Virtual hosts, as there.
    #[serde(default, deserialize_with = "once", skip_serializing_if = "Option::is_none")]
    pub host: Option<Value>,
    /// Routes, as there.
    #[serde(default, deserialize_with = "once", skip_serializing_if = "Option::is_none")]
    pub route: Option<Value>,
}

impl ServicePut {
    /// Its L7 settings; none where it says nothing of them.
    #[must_use]
    pub fn settings(&self) -> Option<Value> {
        let said = [("codec", &self.codec), ("l7", &self.l7), ("host", &self.host), ("route", &self.route)];
        let said: Map<String, Value> =
            said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect();
        (!said.is_empty()).then_some(Value::Object(said))
    }
}

/// A backend to create or replace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendPut {
    /// Address, such as `10.0.0.11:8080`; needed in a service, and taken from the path otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Weight, 0 to 1000; 100 for a new backend without it, unchanged for one that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// State; active for a new backend without it, unchanged for one that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AdminState>,
}

/// A new weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightPut {
    /// Weight, 0 to 1000; 0 drains.
    pub weight: u16,
}
