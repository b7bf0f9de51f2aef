//! Reads a frame with somebody else's parser (etherparse) and plain slices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice};
use proxy_common::{Reason, limits, proto};

/// A packet's addresses, ports and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Protocol.
    pub proto: u8,
}

impl Tuple {
    /// The other direction's.
    pub fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, proto: self.proto }
    }

    /// As map keys and hashes take it.
    pub fn key(self) -> proxy_common::FlowKey {
        proxy_common::FlowKey {
            src: crate::world::mapped(self.src),
            dst: crate::world::mapped(self.dst),
            sport: proxy_common::Port::new(self.sport),
            dport: proxy_common::Port::new(self.dport),
            proto: self.proto,
            reserved: [0; 3],
        }
    }
}

/// What a frame holds.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// Number of VLAN tags.
    pub tags: usize,
    /// Whether the frame says IPv4.
    pub v4: bool,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Offset of the IP header.
    pub ip: usize,
    /// Offset of the transport header.
    pub l4: usize,
    /// Length of the IP packet by its header.
    pub ip_len: usize,
    /// What the transport header says, or why the packet is no good for a VIP.
    pub content: Result<Content, Reason>,
}

/// The transport header.
#[derive(Clone, Debug)]
pub enum Content {
    /// TCP.
    Tcp { tuple: Tuple, flags: u8, seq: u32, ack: u32 },
    /// UDP.
    Udp { tuple: Tuple },
    /// ICMP echo request or reply.
    Echo,
    /// IPv6 neighbour discovery.
    Discovery,
    /// An ICMP error; the quoted TCP or UDP packet and the offset of its ports, if it can be made out.
    Error(Option<(Tuple, usize)>),
    /// Another ICMP message.
    OtherIcmp,
}

/// Reads a frame.
///
/// # Errors
/// A reason of class pass.
pub fn parse(frame: &[u8]) -> Result<Parsed, Reason> {
    if frame.len() < 14 {
        return Err(Reason::Truncated);
    }
    let (mut at, mut tags) = (12, 0);
    while is_tag(word(frame, at)) {
        if tags == limits::VLAN_TAGS as usize {
            return Err(Reason::VlanTooDeep);
        }
        tags += 1;
        at += 4;
        if at + 2 > frame.len() {
            return Err(Reason::Truncated);
        }
    }
    let ip = at + 2;
    match word(frame, at) {
        0x0800 if frame.len() < ip + 20 => Err(Reason::Truncated),
        0x86dd if frame.len() < ip + 40 => Err(Reason::Truncated),
        0x0800 => Ok(parse_v4(frame, ip, tags)),
        0x86dd => Ok(parse_v6(frame, ip, tags)),
        _ => Err(Reason::NonIp),
    }
}

fn parse_v4(frame: &[u8], ip: usize, tags: usize) -> Parsed {
    let bytes = &frame[ip..];
    let (header, total) = (usize::from(bytes[0] & 15) * 4, usize::from(word(bytes, 2)));
    let mut parsed = Parsed {
        tags,
        v4: true,
        src: v4(&bytes[12..16]),
        dst: v4(&bytes[16..20]),
        ttl: bytes[8],
        ip,
        l4: ip + header,
        ip_len: total,
        content: Err(Reason::MalformedIpv4),
    };
    if total < header || total > bytes.len() {
        return parsed;
    }
    // Version, header length.
    let Ok(slice) = Ipv4HeaderSlice::from_slice(&bytes[..total]) else { return parsed };
    parsed.content = if slice.is_fragmenting_payload() {
        Err(Reason::Fragment)
    } else {
        content(frame, &parsed, slice.protocol().0)
    };
    parsed
}

fn parse_v6(frame: &[u8], ip: usize, tags: usize) -> Parsed {
    let bytes = &frame[ip..];
    let mut parsed = Parsed {
        tags,
        v4: false,
        src: v6(&bytes[8..24]),
        dst: v6(&bytes[24..40]),
        ttl: bytes[7],
        ip,
        l4: ip + 40,
        ip_len: 40 + usize::from(word(bytes, 4)),
        content: Err(Reason::MalformedIpv6),
    };
    if bytes[0] >> 4 != 6 || parsed.ip_len > bytes.len() {
        return parsed;
    }
    parsed.content = match walk(frame, ip + 40, bytes[6], 0) {
        Ok((l4, protocol)) => {
            parsed.l4 = l4;
            content(frame, &parsed, protocol)
        }
        Err(reason) => Err(reason),
    };
    parsed
}

/// The chain of extension headers from one on: where the transport header stands, and its protocol.
fn walk(frame: &[u8], at: usize, kind: u8, depth: u32) -> Result<(usize, u8), Reason> {
    if !matches!(kind, 0 | 43 | 44 | 51 | 60) {
        // 59: nothing follows.
        return if kind == 59 && depth < limits::EXTENSION_HEADERS {
            Err(Reason::UnsupportedProtocol)
        } else {
            Ok((at, kind))
        };
    }
    if depth == limits::EXTENSION_HEADERS {
        return Err(Reason::ExtensionHeaders);
    }
    let Some(&[next, length, c, d]) = frame.get(at..at + 4) else { return Err(Reason::MalformedIpv6) };
    let length = usize::from(length);
    let size = match kind {
        // RFC 6946: a fragment header on a whole packet is no fragment.
        44 if u16::from_be_bytes([c, d]) >> 3 != 0 || d & 1 == 1 => return Err(Reason::Fragment),
        44 => 8,
        43 if d != 0 => return Err(Reason::ExtensionHeaders),
        51 => (length + 2) * 4,
        _ => (length + 1) * 8,
    };
    walk(frame, at + size, next, depth + 1)
}

fn content(frame: &[u8], parsed: &Parsed, protocol: u8) -> Result<Content, Reason> {
    let end = parsed.ip + parsed.ip_len;
    let bytes = frame.get(parsed.l4..end).unwrap_or(&[]);
    let tuple = |sport, dport| Tuple { src: parsed.src, dst: parsed.dst, sport, dport, proto: protocol };
    match (protocol, parsed.v4) {
        (proto::TCP, _) => {
            let tcp = TcpHeaderSlice::from_slice(bytes).map_err(|_| Reason::MalformedL4)?;
            let none = bytes[13] & 0x3f == 0;
            if none || (tcp.syn() && (tcp.fin() || tcp.rst())) {
                return Err(Reason::MalformedTcpFlags);
            }
            Ok(Content::Tcp {
                tuple: tuple(tcp.source_port(), tcp.destination_port()),
                flags: bytes[13],
                seq: tcp.sequence_number(),
                ack: tcp.acknowledgment_number(),
            })
        }
        (proto::UDP, _) => {
            if bytes.len() < 8 || word(bytes, 4) < 8 || usize::from(word(bytes, 4)) > bytes.len() {
                return Err(Reason::MalformedL4);
            }
            Ok(Content::Udp { tuple: tuple(word(bytes, 0), word(bytes, 2)) })
        }
        (proto::ICMP, true) | (proto::ICMPV6, false) => {
            if bytes.len() < 8 {
                return Err(Reason::MalformedL4);
            }
            Ok(match (parsed.v4, bytes[0]) {
                (true, 0 | 8) | (false, 128 | 129) => Content::Echo,
                (true, 3 | 11 | 12) => Content::Error(quoted_v4(frame, parsed.l4 + 8, end)),
                (false, 1..=4) => Content::Error(quoted_v6(frame, parsed.l4 + 8, end)),
                (false, 133..=137) if bytes[1] == 0 && parsed.ttl == 255 => Content::Discovery,
                _ => Content::OtherIcmp,
            })
        }
        _ => Err(Reason::UnsupportedProtocol),
    }
}

fn quoted_v4(frame: &[u8], at: usize, end: usize) -> Option<(Tuple, usize)> {
    let bytes = frame.get(at..end).filter(|bytes| bytes.len() >= 20)?;
    let header = usize::from(bytes[0] & 15) * 4;
    if bytes[0] >> 4 != 4 || header < 20 || word(bytes, 6) & 0x1fff != 0 {
        return None;
    }
    quoted(bytes, header, v4(&bytes[12..16]), v4(&bytes[16..20]), bytes[9]).map(|tuple| (tuple, at + header))
}

fn quoted_v6(frame: &[u8], at: usize, end: usize) -> Option<(Tuple, usize)> {
    let bytes = frame.get(at..end).filter(|bytes| bytes.len() >= 40 && bytes[0] >> 4 == 6)?;
    quoted(bytes, 40, v6(&bytes[8..24]), v6(&bytes[24..40]), bytes[6]).map(|tuple| (tuple, at + 40))
}

fn quoted(bytes: &[u8], at: usize, src: IpAddr, dst: IpAddr, proto: u8) -> Option<Tuple> {
    let ports = bytes.get(at..at + 8)?;
    matches!(proto, proto::TCP | proto::UDP).then(|| Tuple {
        src,
        dst,
        sport: word(ports, 0),
        dport: word(ports, 2),
        proto,
    })
}

fn is_tag(ethertype: u16) -> bool {
    ethertype == 0x8100 || ethertype == 0x88a8
}

/// Two bytes as a number.
pub fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn v4(bytes: &[u8]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
}

fn v6(bytes: &[u8]) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(bytes);
    IpAddr::V6(Ipv6Addr::from(octets))
}
