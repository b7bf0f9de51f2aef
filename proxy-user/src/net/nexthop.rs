//! The way to an address: the kernel's route, then the neighbour that it leads to.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia};

use super::convert::{family, from_route, host_prefix, to_route};
use super::link::{self, Link};
use super::neighbour::{self, Neighbour};
use super::netlink::{Netlink, NetlinkError};
use crate::model::NextHop;

/// Why there is no way to an address that packets could be sent on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The address is this host's own.
    #[error(
        "the address belongs to this host, and XDP cannot forward to its own host: run the backend on another host, or in a network namespace with its own address"
    )]
    Local,
    /// No route.
    #[error("the host has no route to it: add one (ip route add), or correct the address")]
    NoRoute,
    /// The route says not to.
    #[error(
        "the host's route to it is of type {0}, which sends nothing: replace the route, or correct the address"
    )]
    Refused(&'static str),
    /// The egress interface has no MAC address.
    #[error("the route leads over interface {0}, which is not Ethernet: weir forwards Ethernet frames only")]
    NotEthernet(String),
    /// The egress interface is down or gone.
    #[error("the route leads over interface {0}, which is down or gone: set it up")]
    InterfaceDown(String),
}

/// A route to an address, as the kernel would choose it for a packet of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Egress interface.
    pub index: u32,
    /// Gateway, if the address is not on the link. An IPv4 address may be behind an IPv6 gateway (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// The host's source address towards it.
    pub source: IpAddr,
    /// The route's own MTU, or a path MTU that the kernel has learned; bytes.
    pub mtu: Option<u32>,
}

impl Way {
    /// Whose MAC address packets go to: the gateway's, else that of `addr`.
    #[must_use]
    pub fn neighbour(&self, addr: IpAddr) -> IpAddr {
        self.gateway.unwrap_or(addr)
    }
}

/// Resolves `addr`: route, interface and neighbour. A neighbour not resolved gives a next hop without `dst_mac`; it
/// is not probed here.
///
/// # Errors
/// [`NetlinkError`] if the kernel can't be asked. No way is a result, not an error.
pub async fn resolve(netlink: &Netlink, addr: IpAddr) -> Result<Result<NextHop, Unreachable>, NetlinkError> {
    let way = match way(netlink, addr).await? {
        Ok(way) => way,
        Err(unreachable) => return Ok(Err(unreachable)),
    };
    let link = link::by_index(netlink, way.index).await?;
    let neighbour = neighbour::look_up(netlink, way.index, way.neighbour(addr)).await?;
    Ok(next_hop(way, link.as_ref(), neighbour))
}

/// The kernel's route to `addr`.
///
/// # Errors
/// [`NetlinkError`] if the kernel can't be asked.
pub async fn way(netlink: &Netlink, addr: IpAddr) -> Result<Result<Way, Unreachable>, NetlinkError> {
    match netlink.one(&format!("look up the route to {addr}"), request(addr)).await {
        Ok(answer) => Ok(answered(Some(&answer))),
        Err(error) => refused(error.errno()).ok_or(error).map(Err),
    }
}

/// Asks for the route to an address.
pub(super) fn request(addr: IpAddr) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(addr);
    message.header.destination_prefix_length = host_prefix(addr);
    message.attributes.push(RouteAttribute::Destination(to_route(addr)));
    RouteNetlinkMessage::GetRoute(message)
}

/// What the kernel answered.
pub(super) fn answered(answer: Option<&RouteNetlinkMessage>) -> Result<Way, Unreachable> {
    match answer {
        Some(RouteNetlinkMessage::NewRoute(route)) => way_of(route),
        _ => Err(Unreachable::NoRoute),
    }
}

/// What an errno says about a route; `None` if it says that the kernel could not be asked.
pub(super) fn refused(errno: Option<i32>) -> Option<Unreachable> {
    match errno {
        Some(libc::ENETUNREACH) => Some(Unreachable::NoRoute),
        Some(libc::EHOSTUNREACH) => Some(Unreachable::Refused("unreachable")),
        Some(libc::EACCES) => Some(Unreachable::Refused("prohibit")),
        // How a blackhole answers; also what the kernel says to an address that can't be a destination.
        Some(libc::EINVAL) => Some(Unreachable::Refused("blackhole")),
        _ => None,
    }
}

/// Puts the parts together.
pub(super) fn next_hop(way: Way, link: Option<&Link>, neighbour: Neighbour) -> Result<NextHop, Unreachable> {
    let Some(link) = link else {
        return Err(Unreachable::InterfaceDown(format!("with index {}", way.index)));
    };
    if !link.up {
        return Err(Unreachable::InterfaceDown(link.name.clone()));
    }
    let src_mac = link.mac.ok_or_else(|| Unreachable::NotEthernet(link.name.clone()))?;
    let mtu = way.mtu.filter(|mtu| *mtu > 0).map_or(link.mtu, |mtu| mtu.min(link.mtu));
    Ok(NextHop {
        ifindex: way.index,
        src_mac,
        dst_mac: neighbour.mac(),
        mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        on_link: way.gateway.is_none(),
        source: way.source,
    })
}

fn way_of(route: &RouteMessage) -> Result<Way, Unreachable> {
    match route.header.kind {
        RouteType::Unicast => {}
        RouteType::Local | RouteType::Anycast => return Err(Unreachable::Local),
        RouteType::BlackHole => return Err(Unreachable::Refused("blackhole")),
        RouteType::Unreachable => return Err(Unreachable::Refused("unreachable")),
        RouteType::Prohibit => return Err(Unreachable::Refused("prohibit")),
        RouteType::Broadcast => return Err(Unreachable::Refused("broadcast")),
        RouteType::Multicast => return Err(Unreachable::Refused("multicast")),
        _ => return Err(Unreachable::NoRoute),
    }
    let (mut index, mut gateway, mut source, mut mtu) = (None, None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(addr) => gateway = from_route(addr),
            RouteAttribute::Via(RouteVia::Inet(addr)) => gateway = Some(IpAddr::V4(*addr)),
            RouteAttribute::Via(RouteVia::Inet6(addr)) => gateway = Some(IpAddr::V6(*addr)),
            RouteAttribute::PrefSource(addr) => source = from_route(addr),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    // Without a source address the host could not answer for the packets it sends there.
    match (index, source) {
        (Some(index), Some(source)) => Ok(Way { index, gateway, source, mtu }),
        _ => Err(Unreachable::NoRoute),
    }
}
