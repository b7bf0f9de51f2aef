//! Desired state: what the operator wants, whoever said it. Pure data; every door (file, flags, API) ends here, and
//! only `plan` reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod discovery;
mod l7;
mod timeouts;

pub use discovery::{Combine, Discovery, Guard, HealthCheck, Probe, Publish, SourceRef};
pub use l7::L7;
pub use timeouts::Timeouts;

/// Who set an object. A reload of the file touches only what the file set.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration file or a list file that it names.
    File,
    /// A flag of `weir run`.
    Flag,
    /// The control API.
    Api,
    /// A registry; which one, the backend's sources say.
    Registry,
}

/// What a list does with a source.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Let it through, whatever later lists say.
    Pass,
    /// Drop it.
    Drop,
}

/// Which packets a list acts on.
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
pub enum Scope {
    /// Everything that enters an attached interface.
    #[default]
    All,
    /// Only packets addressed to a VIP.
    Services,
}

/// An entry of a list, beside its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// Who set it.
    pub origin: Origin,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Why it was set, for people.
    pub reason: Option<String>,
}

/// A named list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclList {
    /// Place in the evaluation order: lower first; no two lists share one.
    pub order: u32,
    /// What it does.
    pub action: Action,
    /// What it acts on.
    pub scope: Scope,
    /// Who set the list itself; entries have their own origin.
    pub origin: Origin,
    /// Prefixes, host bits zero.
    pub entries: BTreeMap<IpNet, AclEntry>,
}

/// The source ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclPolicy {
    /// Lists by name (1 to 63 bytes of `[a-z0-9_.-]`).
    pub lists: BTreeMap<String, AclList>,
    /// For packets to a VIP that no list matches.
    pub default: Action,
    /// For all other packets that no list matches.
    pub interface_default: Action,
    /// Sources that are never dropped, before every list.
    pub management: Vec<IpNet>,
}

impl Default for AclPolicy {
    fn default() -> Self {
        Self {
            lists: BTreeMap::new(),
            default: Action::Pass,
            interface_default: Action::Pass,
            management: Vec::new(),
        }
    }
}

/// Protocol of a VIP.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A VIP: what clients connect to. Written `tcp/198.51.100.10:80`, `udp/[2001:db8::1]:53`; port 0 is any port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    /// Protocol.
    pub protocol: Protocol,
    /// Address.
    pub addr: IpAddr,
    /// Port; 0 for every port without a service of its own.
    pub port: u16,
}

/// Forwarding mode.
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
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// Full NAT.
    #[default]
    Nat,
    /// Direct server return within the link.
    DsrL2,
    /// By the L7 path: worker processes of this host end the client's connection and make their own to the backends.
    L7,
}

/// Whether weir puts the VIP's address on an interface and announces it.
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
pub enum Announce {
    /// Add the /32 or /128 and send gratuitous ARP or unsolicited neighbour advertisements.
    Address,
    /// Leave addresses to the operator (routing, BGP).
    #[default]
    None,
}

/// What becomes of packets to a VIP's port that has no service.
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
pub enum UnknownPort {
    /// Drop.
    #[default]
    Drop,
    /// Pass to the host.
    Pass,
}

/// What the operator wants of a backend.
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
pub enum AdminState {
    /// New and old flows.
    #[default]
    Active,
    /// Old flows only. A weight of 0 means the same.
    Drain,
}

/// A backend's address: what it is known by within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendAddr {
    /// Address.
    pub addr: IpAddr,
    /// Port; 0 only where the service's port is 0, and then the packet's port stays.
    pub port: u16,
}

/// A backend of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Share of the ring relative to the service's other backends, 0 to 1000; 0 drains.
    pub weight: u16,
    /// What the operator wants.
    pub state: AdminState,
    /// Who set it.
    pub origin: Origin,
}

/// A service: a VIP and its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The VIP; no two services share one.
    pub vip: Vip,
    /// Forwarding mode.
    pub forward: Forward,
    /// Address handling.
    pub announce: Announce,
    /// For the VIP's other ports; services of one address must agree.
    pub unknown_port: UnknownPort,
    /// NAT flows that may wait for their handshake at once.
    pub syn_budget: u32,
    /// Who set the service.
    pub origin: Origin,
    /// Backends.
    pub backends: BTreeMap<BackendAddr, Backend>,
    /// Where further backends come from.
    pub discovery: Option<Arc<Discovery>>,
    /// How backends are checked; none for not at all.
    pub health: Option<Arc<HealthCheck>>,
    /// Where the VIP is registered.
    pub publish: Vec<Arc<Publish>>,
    /// How the L7 path serves it; none for as by default, and in other modes.
    pub l7: Option<Arc<L7>>,
}

impl Service {
    /// Whether the data path itself sends its packets to backends: else they end at this host.
    #[must_use]
    pub const fn is_forwarded(&self) -> bool {
        !matches!(self.forward, Forward::L7)
    }
}

/// Source-NAT pool of the configuration; empty address lists mean the egress interface's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnatPool {
    /// Addresses, IPv4 and IPv6.
    pub addresses: Vec<IpAddr>,
    /// First and last port, inclusive.
    pub ports: (u16, u16),
}

/// How answers of NAT flows find the client.
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
pub enum ReplyRoute {
    /// Back to the MAC address and interface that the client's packets came from.
    #[default]
    Learned,
    /// By the kernel's FIB for each packet, for asymmetric routes; the learned way where the FIB has none.
    Fib,
}

/// Everything that ends up in the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The ACL; shared, because backends change far more often.
    pub acl: Arc<AclPolicy>,
    /// Services by name (1 to 63 bytes of `[a-z0-9_.-]`).
    pub services: BTreeMap<String, Service>,
    /// Source-NAT pool.
    pub snat: SnatPool,
    /// Idle times.
    pub timeouts: Timeouts,
    /// How answers find the client.
    pub reply_route: ReplyRoute,
    /// Seed of the Maglev rings and the flow hash; the same on every node of an ECMP group.
    pub seed: u64,
}

/// The way to a backend, as the kernel's routing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Egress interface.
    pub ifindex: u32,
    /// Its MAC address.
    pub src_mac: [u8; 6],
    /// The next hop's MAC address, when the neighbour table has it.
    pub dst_mac: Option<[u8; 6]>,
    /// MTU of the way, bytes of IP packet.
    pub mtu: u16,
    /// Whether the backend itself is the next hop (no gateway in between).
    pub on_link: bool,
    /// The source address that the host itself would use; the default source-NAT address.
    pub source: IpAddr,
}
