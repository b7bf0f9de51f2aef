//! The kind of an ICMP (RFC 792) or ICMPv6 (RFC 4443, RFC 4861) message.

use network_types::icmp::Icmpv4Hdr;
use proxy_common::Reason;

use super::l4::payload_len;
use crate::frame::Frame;
use crate::packet::{Icmp, Packet};

#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    let &[kind, code, ..] = frame.window::<{ Icmpv4Hdr::LEN }>(packet.l4).ok_or(Reason::MalformedL4)?;
    if payload_len(packet) < Icmpv4Hdr::LEN {
        return Err(Reason::MalformedL4);
    }
    packet.icmp = match (packet.is_v4, kind) {
        (true, 0 | 8) | (false, 128 | 129) => Icmp::Echo,
        // Unreachable, time exceeded, parameter problem; in ICMPv6 packet too big besides.
        (true, 3 | 11 | 12) | (false, 1..=4) => Icmp::Error,
        // RFC 4861 section 6.1.1 and others: valid only with hop limit 255, so never from beyond the link.
        (false, 133..=137) if packet.ttl == 255 && code == 0 => Icmp::Discovery,
        _ => Icmp::Other,
    };
    Ok(())
}
