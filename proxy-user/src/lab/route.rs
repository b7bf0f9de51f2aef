//! A route to add to a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};

use crate::net::convert::{family, to_route};

/// A unicast route of the main table over a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub(super) to: IpNet,
    via: Option<IpAddr>,
    source: Option<IpAddr>,
    mtu: Option<u32>,
}

impl Route {
    /// To a prefix on the link; a /32 or /128 is a host route.
    #[must_use]
    pub fn on_link(to: IpNet) -> Self {
        Self { to: to.trunc(), via: None, source: None, mtu: None }
    }

    /// To a prefix behind a gateway of the same family.
    #[must_use]
    pub fn via(to: IpNet, gateway: IpAddr) -> Self {
        Self { via: Some(gateway), ..Self::on_link(to) }
    }

    /// Everything of the gateway's family behind the gateway.
    #[must_use]
    pub fn default_via(gateway: IpAddr) -> Self {
        let any: IpAddr = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self::via(IpNet::new_assert(any, 0), gateway)
    }

    /// With an MTU of its own, bytes.
    #[must_use]
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu: Some(mtu), ..self }
    }

    /// With a preferred source address.
    #[must_use]
    pub fn source(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    pub(super) fn message(&self, egress: u32) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.to.addr());
        message.header.destination_prefix_length = self.to.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        message.header.scope = match (self.via, self.to) {
            (None, IpNet::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let attributes = &mut message.attributes;
        if self.to.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(to_route(self.to.addr())));
        }
        attributes.push(RouteAttribute::Oif(egress));
        attributes.extend(self.via.map(|via| RouteAttribute::Gateway(to_route(via))));
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(to_route(source))));
        attributes.extend(self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        message
    }
}
