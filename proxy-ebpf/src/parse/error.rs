//! ICMP errors: from the packet that they quote to the flow that they are about.

use network_types::icmp::Icmpv4Hdr;
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use proxy_common::{Addr, FlowKey, Port, Reason, proto};

use super::{ipv4, ipv6};
use crate::frame::Frame;
use crate::packet::Packet;

/// Offset of the quoted packet's IP header.
#[inline(always)]
#[must_use]
pub const fn inner_l3(packet: &Packet) -> usize {
    packet.l4 + Icmpv4Hdr::LEN
}

/// Writes the key of the flow that an error is about, in the direction in which the error travels (that is, the quoted packet's
/// addresses and ports exchanged), and answers the offset of the quoted transport header.
///
/// # Errors
/// `UnsupportedIcmp` where the quote is not a first fragment of TCP or UDP, is too short, or was not sent by the
/// address that the error is sent to.
#[inline(always)]
pub fn follow<F: Frame>(frame: &F, packet: &Packet, key: &mut FlowKey) -> Result<usize, Reason> {
    let l3 = inner_l3(packet);
    let (src, dst, protocol, l4) = if packet.is_v4 { quoted_v4(frame, l3)? } else { quoted_v6(frame, l3)? };
    if src.words() != packet.key.dst.words() || (protocol != proto::TCP && protocol != proto::UDP) {
        return Err(Reason::UnsupportedIcmp);
    }
    // Bytes after the IP packet are padding, not a quote.
    if l4 + 8 > packet.end() {
        return Err(Reason::UnsupportedIcmp);
    }
    let &[s0, s1, d0, d1, ..] = frame.window::<8>(l4).ok_or(Reason::UnsupportedIcmp)?;
    *key = FlowKey::new(dst, src, Port([d0, d1]), Port([s0, s1]), protocol);
    Ok(l4)
}

#[inline(always)]
fn quoted_v4<F: Frame>(frame: &F, l3: usize) -> Result<(Addr, Addr, u8, usize), Reason> {
    let header = frame.window::<{ Ipv4Hdr::LEN }>(l3).ok_or(Reason::UnsupportedIcmp)?;
    let &[vihl, _, _, _, _, _, frag0, frag1, _, protocol, ..] = header;
    let (src, dst) = ipv4::addresses(frame, l3).ok_or(Reason::UnsupportedIcmp)?;
    let header_len = ((vihl & 0x0f) as usize) * 4;
    if vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || u16::from_be_bytes([frag0, frag1]) & 0x1fff != 0 {
        return Err(Reason::UnsupportedIcmp);
    }
    Ok((src, dst, protocol, l3 + header_len))
}

#[inline(always)]
fn quoted_v6<F: Frame>(frame: &F, l3: usize) -> Result<(Addr, Addr, u8, usize), Reason> {
    let header = frame.window::<{ Ipv6Hdr::LEN }>(l3).ok_or(Reason::UnsupportedIcmp)?;
    let &[vcf, _, _, _, _, _, next, ..] = header;
    if vcf >> 4 != 6 {
        return Err(Reason::UnsupportedIcmp);
    }
    let (src, dst) = ipv6::addresses(frame, l3).ok_or(Reason::UnsupportedIcmp)?;
    Ok((src, dst, next, l3 + Ipv6Hdr::LEN))
}
