//! IPv6 (RFC 8200) with a bounded chain of extension headers.

use network_types::ip::Ipv6Hdr;
use proxy_common::{Addr, Reason, limits};

use crate::frame::Frame;
use crate::packet::Packet;

/// Length of the fixed header.
const HEADER_LEN: u32 = 40;
const _: () = assert!(Ipv6Hdr::LEN == HEADER_LEN as usize);

/// Extension headers by IANA number.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;

#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    let &[vcf, _, _, _, len0, len1, next, hop_limit] =
        frame.window::<8>(packet.l3).ok_or(Reason::Truncated)?;
    (packet.key.src, packet.key.dst) = addresses(frame, packet.l3).ok_or(Reason::Truncated)?;
    packet.key.proto = next;
    packet.l4 = packet.l3 + Ipv6Hdr::LEN;
    packet.ip_len = u32::from(u16::from_be_bytes([len0, len1])) + HEADER_LEN;
    packet.ttl = hop_limit;
    let end = packet.l3 + packet.ip_len as usize;
    packet.fault = if vcf >> 4 != 6 || (end > frame.len() && end > frame.total_len()) {
        Some(Reason::MalformedIpv6)
    } else {
        walk(frame, packet).err()
    };
    Ok(())
}

/// Follows the chain to the transport header.
#[inline(always)]
fn walk<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    for _ in 0..limits::EXTENSION_HEADERS {
        let length = match packet.key.proto {
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING | FRAGMENT | AUTHENTICATION => {
                let &[next, len, a, b] = frame.window::<4>(packet.l4).ok_or(Reason::MalformedIpv6)?;
                let length = match packet.key.proto {
                    FRAGMENT => {
                        // Offset and "more" both zero: an atomic fragment (RFC 6946), a whole packet.
                        if u16::from_be_bytes([a, b]) & 0xfff9 != 0 {
                            return Err(Reason::Fragment);
                        }
                        8
                    }
                    // Segments left: not yet at its destination, and its checksum is over another address.
                    ROUTING if b != 0 => return Err(Reason::ExtensionHeaders),
                    AUTHENTICATION => (len as usize + 2) * 4,
                    _ => (len as usize + 1) * 8,
                };
                packet.key.proto = next;
                length
            }
            NO_NEXT_HEADER => return Err(Reason::UnsupportedProtocol),
            _ => return Ok(()),
        };
        packet.l4 += length;
    }
    match packet.key.proto {
        HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING | FRAGMENT | AUTHENTICATION => {
            Err(Reason::ExtensionHeaders)
        }
        _ => Ok(()),
    }
}

/// Source and destination of the header at an offset.
#[inline(always)]
pub(super) fn addresses<F: Frame>(frame: &F, l3: usize) -> Option<(Addr, Addr)> {
    Some((Addr::v6(*frame.window::<16>(l3 + 8)?), Addr::v6(*frame.window::<16>(l3 + 24)?)))
}
