//! What can't be honoured: errors refuse the whole plan, warnings are about single backends.

use std::net::IpAddr;

use thiserror::Error;

use crate::model::{BackendAddr, Vip};

/// Why there is no plan. Nothing is changed then; what was in force stays in force.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Two services with one VIP.
    #[error(
        "services {first:?} and {second:?} share the VIP {protocol:?} {addr} port {port}; a packet can go to one only: \
         give one of them another address or port",
        protocol = vip.protocol, addr = vip.addr, port = vip.port
    )]
    SharedVip {
        /// The VIP.
        vip: Vip,
        /// One service.
        first: String,
        /// The other.
        second: String,
    },
    /// More of something than its map can hold.
    #[error("{wanted} {what} are wanted, but the maps hold {limit}; remove some{cure}")]
    TooMany {
        /// What there is too much of.
        what: What,
        /// How many are wanted.
        wanted: usize,
        /// How many fit.
        limit: usize,
        /// What else helps.
        cure: &'static str,
    },
    /// Enough room for what is wanted, but not for it beside what is in force until it can be replaced.
    #[error(
        "the change needs {wanted} {what} beside those in force, and {free} are free; the old ones can't be freed before the \
         new ones are in force: make the change in smaller steps"
    )]
    NoRoomBeside {
        /// What there is no room for.
        what: What,
        /// How many more are needed.
        wanted: usize,
        /// How many are free.
        free: usize,
    },
}

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Services.
    Services,
    /// Backends of all services.
    Backends,
    /// ACL lists.
    Lists,
    /// ACL classes.
    Classes,
    /// Flattened IPv4 prefixes.
    PrefixesV4,
    /// Flattened IPv6 prefixes.
    PrefixesV6,
    /// Blocks of the ring arena.
    RingBlocks,
    /// VIPs and source-NAT addresses.
    Destinations,
    /// Source-NAT addresses.
    SnatAddresses,
}

impl std::fmt::Display for What {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Services => "services",
            Self::Backends => "backends (each counts once for each of its services)",
            Self::Lists => "ACL lists",
            Self::Classes => "ACL classes (different outcomes of the lists together)",
            Self::PrefixesV4 => "IPv4 prefixes of the flattened ACL",
            Self::PrefixesV6 => "IPv6 prefixes of the flattened ACL",
            Self::RingBlocks => "blocks of the ring arena",
            Self::Destinations => "VIP and source-NAT addresses",
            Self::SnatAddresses => "source-NAT addresses",
        })
    }
}

/// A backend that can't be used as wanted; the rest of the plan holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("service {service:?}, backend {} port {}: {trouble}", backend.addr, backend.port)]
pub struct Warning {
    /// Name of the service.
    pub service: String,
    /// The backend.
    pub backend: BackendAddr,
    /// What is wrong.
    pub trouble: Trouble,
}

/// What is wrong with a backend. In each case it gets no new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Trouble {
    /// No route.
    #[error("the routing table has no way to it, so it gets no new flows; add a route or remove the backend")]
    Unreachable,
    /// Behind a gateway in a mode that needs the same link.
    #[error(
        "it is behind a gateway, but dsr-l2 reaches backends by their MAC address only; put it on a link with weir or use \
         `forward = \"nat\"`"
    )]
    NotOnLink,
    /// No source address of its family.
    #[error(
        "no source address of its family for NAT towards it: the egress interface has none (the way's source is {0}); give the \
         interface an address or set `snat.addresses`"
    )]
    NoSource(IpAddr),
}
