//! TCP (RFC 9293), UDP (RFC 768) and the kind of an ICMP message.

use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;
use proxy_common::{Port, Reason, proto};

use super::icmp;
use crate::frame::Frame;
use crate::packet::{Packet, tcp};

#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, packet: &mut Packet) {
    packet.fault = match (packet.key.proto, packet.is_v4) {
        (proto::TCP, _) => parse_tcp(frame, packet),
        (proto::UDP, _) => parse_udp(frame, packet),
        (proto::ICMP, true) | (proto::ICMPV6, false) => icmp::parse(frame, packet),
        _ => Err(Reason::UnsupportedProtocol),
    }
    .err();
}

/// Bytes of the IP packet from the transport header on.
#[inline(always)]
pub(super) fn payload_len(packet: &Packet) -> usize {
    (packet.l3 + packet.ip_len as usize).saturating_sub(packet.l4)
}

#[inline(always)]
fn parse_tcp<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    let header = frame.window::<{ TcpHdr::LEN }>(packet.l4).ok_or(Reason::MalformedL4)?;
    let &[s0, s1, d0, d1, _, _, _, _, _, _, _, _, offset, flags, ..] = header;
    let length = ((offset >> 4) as usize) * 4;
    if length < TcpHdr::LEN || length > payload_len(packet) {
        return Err(Reason::MalformedL4);
    }
    let kind = flags & (tcp::SYN | tcp::FIN | tcp::RST);
    if kind & (kind.wrapping_sub(1)) != 0 && kind & tcp::SYN != 0 || flags & 0x3f == 0 {
        return Err(Reason::MalformedTcpFlags);
    }
    packet.key.sport = Port([s0, s1]);
    packet.key.dport = Port([d0, d1]);
    packet.tcp_flags = flags;
    Ok(())
}

#[inline(always)]
fn parse_udp<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    let &[s0, s1, d0, d1, l0, l1, ..] =
        frame.window::<{ UdpHdr::LEN }>(packet.l4).ok_or(Reason::MalformedL4)?;
    let length = u16::from_be_bytes([l0, l1]) as usize;
    if length < UdpHdr::LEN || length > payload_len(packet) {
        return Err(Reason::MalformedL4);
    }
    packet.key.sport = Port([s0, s1]);
    packet.key.dport = Port([d0, d1]);
    Ok(())
}
