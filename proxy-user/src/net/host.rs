//! The host's own addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use super::netlink::{Netlink, NetlinkError};
use super::nexthop::{self, Unreachable};

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// Interface.
    pub index: u32,
    /// Address and prefix length; the host bits are kept.
    pub addr: IpNet,
    /// Who added it, by `IFA_PROTO`; none on kernels before 5.18 or if it was not said.
    pub protocol: Option<u8>,
}

/// All addresses of all interfaces of the namespace, IPv4 and IPv6.
///
/// # Errors
/// [`NetlinkError`].
pub async fn addresses(netlink: &Netlink) -> Result<Vec<HostAddress>, NetlinkError> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = netlink.dump("list the host's addresses", request).await?;
    Ok(answers.iter().filter_map(host_address).collect())
}

/// Whether packets to `addr` are delivered to this host: one of its addresses, loopback, or a local route such as an
/// AnyIP prefix. XDP does not see what the host sends to itself.
///
/// # Errors
/// [`NetlinkError`].
pub async fn owns(netlink: &Netlink, addr: IpAddr) -> Result<bool, NetlinkError> {
    Ok(nexthop::way(netlink, addr).await? == Err(Unreachable::Local))
}

fn host_address(message: &RouteNetlinkMessage) -> Option<HostAddress> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let addr = IpNet::new(addr_of(&message.attributes)?, message.header.prefix_len).ok()?;
    let protocol = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    });
    Some(HostAddress { index: message.header.index, addr, protocol })
}

/// IFA_LOCAL is the host's own address; IFA_ADDRESS is the peer's where there is both, and alone for IPv6.
pub(super) fn addr_of(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(addr) => Some(*addr),
        _ => None,
    });
    local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(addr) => Some(*addr),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Namespace, Veth, run_async_in};

    #[test]
    fn own_addresses_are_told_from_others() {
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        let (one, _two) = Veth::pair((&a, "one"), (&a, "two")).unwrap();
        for address in ["10.0.0.1/24", "fd00::1/64"] {
            one.add_address(address.parse().unwrap()).unwrap();
        }
        run_async_in(&a, || async {
            let netlink = Netlink::open().unwrap();
            let all = addresses(&netlink).await.unwrap();
            for address in ["10.0.0.1/24", "fd00::1/64"] {
                let addr: IpNet = address.parse().unwrap();
                assert!(all.iter().any(|found| found.addr == addr && found.index == one.index()), "{all:?}");
            }
            for (addr, own) in [
                ("10.0.0.1", true),
                ("10.0.0.2", false),
                ("fd00::1", true),
                ("fd00::2", false),
                ("127.0.0.9", true),
                ("::1", true),
                ("192.0.2.1", false),
                ("2001:db8::1", false),
            ] {
                assert_eq!(owns(&netlink, addr.parse().unwrap()).await.unwrap(), own, "{addr}");
            }
        })
        .unwrap();
    }
}
