//! The kernel's neighbour table: who has which MAC address, and making it find out.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::RouteType;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE};

use super::convert::{family, to_neighbour};
use super::netlink::{Netlink, NetlinkError};

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// No entry.
    Absent,
    /// Asked, not yet answered.
    Asking,
    /// Asked in vain.
    Failed,
    /// Known and confirmed lately.
    Confirmed([u8; 6]),
    /// Known; usable, but not confirmed lately, and forgotten by the kernel when unused.
    Stale([u8; 6]),
    /// Set by the operator or by the kind of link; never to be asked.
    Fixed([u8; 6]),
}

impl Neighbour {
    /// The MAC address to send to.
    #[must_use]
    pub fn mac(self) -> Option<[u8; 6]> {
        match self {
            Self::Confirmed(mac) | Self::Stale(mac) | Self::Fixed(mac) => Some(mac),
            Self::Absent | Self::Asking | Self::Failed => None,
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::Asking => "asking",
            Self::Failed => "failed",
            Self::Confirmed(_) => "confirmed",
            Self::Stale(_) => "stale",
            Self::Fixed(_) => "fixed",
        })
    }
}

/// Reads one neighbour.
///
/// # Errors
/// [`NetlinkError`].
pub async fn look_up(netlink: &Netlink, index: u32, addr: IpAddr) -> Result<Neighbour, NetlinkError> {
    let what = format!("look up the neighbour {addr} on interface {index}");
    match netlink.one(&what, request(index, addr)).await {
        Ok(answer) => Ok(answered(Some(&answer))),
        Err(error) if error.errno().is_some_and(is_absent) => Ok(Neighbour::Absent),
        Err(error) => Err(error),
    }
}

/// Asks for one neighbour.
pub(super) fn request(index: u32, addr: IpAddr) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetNeighbour(message(index, addr))
}

/// What the kernel answered.
pub(super) fn answered(answer: Option<&RouteNetlinkMessage>) -> Neighbour {
    match answer {
        Some(RouteNetlinkMessage::NewNeighbour(message)) => neighbour_of(message),
        _ => Neighbour::Absent,
    }
}

/// Whether an errno says that there is no such neighbour.
pub(super) fn is_absent(errno: i32) -> bool {
    matches!(errno, libc::ENOENT | libc::ENODEV)
}

/// Makes the kernel resolve or confirm a neighbour, as if it had a packet for it; the result comes as a change of the
/// neighbour. To be sent with [`PROBE_FLAGS`]. Not for [`Neighbour::Fixed`]: the kernel would take its permanence away.
pub(super) fn probe_request(index: u32, addr: IpAddr) -> RouteNetlinkMessage {
    let mut message = message(index, addr);
    message.header.flags = NeighbourFlags::Use;
    message.header.kind = RouteType::Unicast;
    RouteNetlinkMessage::NewNeighbour(message)
}

/// Flags of a probe.
pub(super) const PROBE_FLAGS: u16 = NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;

fn message(index: u32, addr: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(addr);
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(to_neighbour(addr)));
    message
}

fn neighbour_of(message: &NeighbourMessage) -> Neighbour {
    let mac: Option<[u8; 6]> = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    });
    match (message.header.state, mac) {
        (NeighbourState::Failed, _) => Neighbour::Failed,
        (NeighbourState::None, _) => Neighbour::Absent,
        (NeighbourState::Incomplete, _) | (_, None) => Neighbour::Asking,
        (NeighbourState::Permanent | NeighbourState::Noarp, Some(mac)) => Neighbour::Fixed(mac),
        (NeighbourState::Reachable, Some(mac)) => Neighbour::Confirmed(mac),
        // Delay and Probe: the kernel is confirming it.
        (_, Some(mac)) => Neighbour::Stale(mac),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Namespace, Veth, run_async_in};

    #[test]
    fn a_probe_finds_the_neighbour_and_a_fixed_one_is_told() {
        if !root() {
            return;
        }
        let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
        let (pa, pb) = Veth::pair((&a, "eth0"), (&b, "eth0")).unwrap();
        for (port, address) in
            [(&pa, "10.0.0.1/24"), (&pb, "10.0.0.2/24"), (&pa, "fd00::1/64"), (&pb, "fd00::2/64")]
        {
            port.add_address(address.parse().unwrap()).unwrap();
        }
        let fixed: IpAddr = "10.0.0.9".parse().unwrap();
        pa.add_neighbour(fixed, [2, 0, 0, 0, 0, 9]).unwrap();
        run_async_in(&a, || async {
            let netlink = Netlink::open().unwrap();
            for addr in ["10.0.0.2", "fd00::2"] {
                let addr = addr.parse().unwrap();
                assert_eq!(look_up(&netlink, pa.index(), addr).await.unwrap(), Neighbour::Absent);
                netlink.change("probe", probe_request(pa.index(), addr), PROBE_FLAGS).await.unwrap();
                let mut found = Neighbour::Asking;
                for _ in 0..200 {
                    found = look_up(&netlink, pa.index(), addr).await.unwrap();
                    if found.mac().is_some() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                assert_eq!(found, Neighbour::Confirmed(pb.mac()), "{addr}");
            }
            let found = look_up(&netlink, pa.index(), fixed).await.unwrap();
            assert_eq!(found, Neighbour::Fixed([2, 0, 0, 0, 0, 9]));
            assert_eq!(look_up(&netlink, 9999, fixed).await.unwrap(), Neighbour::Absent);
        })
        .unwrap();
    }
}
