//! Ethernet and up to two VLAN tags (IEEE 802.1Q and 802.1ad).

use network_types::eth::{EthHdr, EtherType};
use network_types::vlan::VlanHdr;
use proxy_common::{Reason, limits};

use crate::frame::Frame;
use crate::packet::Packet;

const IPV4: u16 = u16::from_be(EtherType::Ipv4 as u16);
const IPV6: u16 = u16::from_be(EtherType::Ipv6 as u16);
const DOT1Q: u16 = u16::from_be(EtherType::Ieee8021q as u16);
const DOT1AD: u16 = u16::from_be(EtherType::Ieee8021ad as u16);

#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    let &[.., a, b] = frame.window::<{ EthHdr::LEN }>(0).ok_or(Reason::Truncated)?;
    let mut ether_type = u16::from_be_bytes([a, b]);
    let mut l3 = EthHdr::LEN;
    let mut tags = 0u8;
    for _ in 0..limits::VLAN_TAGS {
        if ether_type != DOT1Q && ether_type != DOT1AD {
            break;
        }
        let &[_, _, a, b] = frame.window::<{ VlanHdr::LEN }>(l3).ok_or(Reason::Truncated)?;
        ether_type = u16::from_be_bytes([a, b]);
        l3 += VlanHdr::LEN;
        tags += 1;
    }
    match ether_type {
        IPV4 => packet.is_v4 = true,
        IPV6 => packet.is_v4 = false,
        DOT1Q | DOT1AD => return Err(Reason::VlanTooDeep),
        _ => return Err(Reason::NonIp),
    }
    packet.l3 = l3;
    packet.tags = tags;
    Ok(())
}
