//! The decision for one packet, explained. The daemon runs the decision on the installed state and changes nothing.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Action, Origin, Protocol};

/// A packet to explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// Source address.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// Destination address, of the same family.
    #[schema(value_type = String)]
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// Source port; 40000 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Interface that the packet enters by; the first attached one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// TCP: whether it is a packet of an established connection instead of its first, the SYN.
    #[serde(default)]
    pub established: bool,
}

/// The decision and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainAnswer {
    /// Generation of the installed state.
    pub generation: u64,
    /// `pass`, `drop` or `steer`.
    pub verdict: String,
    /// The reason's label, as in metrics.
    pub reason: String,
    /// The reason in a sentence.
    pub text: String,
    /// What the ACL said.
    pub acl: Option<ExplainAcl>,
    /// The service that the packet is for.
    pub service: Option<ExplainService>,
    /// The backend that it is steered to.
    pub backend: Option<ExplainBackend>,
    /// The way through the decision, a line for each step.
    pub steps: Vec<String>,
}

/// The ACL's part of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainAcl {
    /// What it says.
    pub action: Action,
    /// The list that won; none when the default action decides.
    pub list: Option<String>,
    /// The prefix that won.
    pub prefix: Option<String>,
    /// Who set the entry.
    pub origin: Option<Origin>,
}

/// The service's part of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainService {
    /// Name.
    pub name: String,
    /// VIP.
    pub vip: String,
    /// Ring slot that the flow falls on.
    pub ring_slot: Option<u32>,
    /// Slots of the ring.
    pub ring_length: Option<u32>,
}

/// The backend's part of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainBackend {
    /// Address.
    pub address: String,
    /// Its slot in `weir_backends`.
    pub slot: u16,
    /// The backend that owned the ring slot before, where flows may still go there.
    pub previous: Option<String>,
    /// Interface that the packet leaves by.
    pub interface: Option<String>,
    /// The next hop's MAC address.
    pub next_hop: Option<String>,
    /// Source-NAT address and port, as far as they can be told without taking one.
    pub snat: Option<String>,
}
