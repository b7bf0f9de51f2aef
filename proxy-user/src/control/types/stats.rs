//! Counters: one walk over the maps, with one timestamp.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{AdminState, Forward};

/// All counters of one moment. A rate is the difference of two samples of the same `epoch` over that of their `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatsSnapshot {
    /// When the maps were read.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Generation in force then.
    pub generation: u64,
    /// Changes when the counters' maps are made anew: never take differences across it.
    pub epoch: String,
    /// By interface and reason.
    pub interfaces: Vec<InterfaceStats>,
    /// By list.
    pub lists: Vec<ListStats>,
    /// By service and backend.
    pub services: Vec<ServiceStats>,
    /// How full the maps are.
    pub maps: Vec<MapStats>,
    /// Source-NAT ports.
    pub snat: Vec<SnatStats>,
}

/// Counters of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStats {
    /// Interface.
    pub interface: String,
    /// Every reason, zero or not, in the order of their numbers.
    pub reasons: Vec<ReasonCount>,
}

/// Packets of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonCount {
    /// Label of the reason.
    pub reason: String,
    /// `pass`, `drop` or `steer`.
    pub verdict: String,
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header to the end of the IP packet.
    pub bytes: u64,
}

/// Counters of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListStats {
    /// Name; `(default)` and `(management)` for what is not a list.
    pub list: String,
    /// Packets that it decided.
    pub hits: u64,
    /// Their bytes.
    pub hit_bytes: u64,
    /// Entries declared, IPv4.
    pub entries_v4: u64,
    /// Entries declared, IPv6.
    pub entries_v6: u64,
    /// Entries of these that the kernel has.
    pub enforced: u64,
    /// Entries that ended by themselves since the daemon started.
    pub expired: u64,
}

/// Traffic of a service or a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Packets towards the backend.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flows begun: NAT flows, or TCP SYNs in the stateless modes.
    pub connections: u64,
    /// Packets of answers (NAT only).
    pub reply_packets: u64,
    /// Their bytes.
    pub reply_bytes: u64,
}

/// What all workers together have counted of an `l7` service, or of one of its backends, since they started; up to a second
/// old. All but what is "now" only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct L7Traffic {
    /// Connections now: of clients to the service, of workers to the backend.
    pub connections_active: u64,
    /// Connections so far: accepted from clients, begun to the backend.
    pub connections: u64,
    /// Connections of clients for which no backend was reached; those to the backend that could not be made.
    pub connections_failed: u64,
    /// Requests; a tunnel (`tcp`, WebSocket) is one.
    pub requests: u64,
    /// Requests and tunnels under way now; of Bolt, those that wait for an answer.
    pub requests_active: u64,
    /// Requests that wait for a connection now.
    pub requests_pending: u64,
    /// Requests of the service that were answered 5xx; requests that the backend failed: 5xx, reset, timed out.
    pub failures: u64,
    /// Workers that leave the backend out for its failures now.
    pub ejected: u64,
}

/// Counters of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStats {
    /// Name.
    pub service: String,
    /// VIP.
    pub vip: String,
    /// Forwarding mode.
    pub forward: Forward,
    /// Traffic.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Flows now; none where the mode keeps no exact flows.
    pub flows: Option<u64>,
    /// What workers have counted, of an `l7` service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l7_traffic: Option<L7Traffic>,
    /// Backends by address.
    pub backends: Vec<BackendStats>,
}

/// Counters of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendStats {
    /// Address.
    pub address: String,
    /// Traffic that XDP sends it: none of an `l7` service, whose connections to it are the workers' own.
    #[serde(flatten)]
    pub traffic: Traffic,
    /// Flows now; none where the mode keeps no exact flows.
    pub flows: Option<u64>,
    /// What workers have counted, of an `l7` service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l7_traffic: Option<L7Traffic>,
    /// Weight in force.
    pub weight: u16,
    /// What the operator wants.
    pub state: AdminState,
    /// Whether it takes packets.
    pub up: bool,
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapStats {
    /// Name.
    pub map: String,
    /// Entries in use.
    pub entries: u64,
    /// Entries that it can hold.
    pub capacity: u64,
}

/// Source-NAT ports of a pool address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnatStats {
    /// Pool address.
    pub address: String,
    /// Flows that hold a port of it, towards all backends together.
    pub ports_used: u64,
    /// Ports that it has towards one backend.
    pub ports_capacity: u64,
}
