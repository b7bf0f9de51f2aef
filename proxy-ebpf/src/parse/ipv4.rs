//! IPv4 (RFC 791).

use network_types::ip::Ipv4Hdr;
use proxy_common::{Addr, Reason};

use crate::frame::Frame;
use crate::packet::Packet;

const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    let header = frame.window::<{ Ipv4Hdr::LEN }>(packet.l3).ok_or(Reason::Truncated)?;
    let &[vihl, _, len0, len1, _, _, frag0, frag1, ttl, proto, ..] = header;
    (packet.key.src, packet.key.dst) = addresses(frame, packet.l3).ok_or(Reason::Truncated)?;
    let header_len = ((vihl & 0x0f) as usize) * 4;
    let total = u16::from_be_bytes([len0, len1]);
    let fragment = u16::from_be_bytes([frag0, frag1]) & (MORE_FRAGMENTS | FRAGMENT_OFFSET);
    let end = packet.l3 + total as usize;
    packet.key.proto = proto;
    packet.l4 = packet.l3 + header_len;
    packet.ip_len = u32::from(total);
    packet.ttl = ttl;
    packet.fault = if vihl >> 4 != 4
        || header_len < Ipv4Hdr::LEN
        || (total as usize) < header_len
        || (end > frame.len() && end > frame.total_len())
    {
        Some(Reason::MalformedIpv4)
    } else if fragment != 0 {
        Some(Reason::Fragment)
    } else {
        None
    };
    Ok(())
}

/// Source and destination of the header at an offset.
#[inline(always)]
pub(super) fn addresses<F: Frame>(frame: &F, l3: usize) -> Option<(Addr, Addr)> {
    Some((Addr::v4(*frame.window::<4>(l3 + 12)?), Addr::v4(*frame.window::<4>(l3 + 16)?)))
}
