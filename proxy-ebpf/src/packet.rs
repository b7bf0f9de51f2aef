//! The parsed packet, made once.

use proxy_common::{Addr, FlowKey, Reason, proto};

/// What the decision needs to know of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Addresses, ports, protocol. After [`crate::parse::error::follow`] of an ICMP error: those of its flow.
    pub key: FlowKey,
    /// Offset of the IP header.
    pub l3: usize,
    /// Offset of the transport header.
    pub l4: usize,
    /// Length of the IP packet in bytes, by its header.
    pub ip_len: u32,
    /// Whether the IP header is IPv4.
    pub is_v4: bool,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Number of VLAN tags.
    pub tags: u8,
    /// TCP flags, 0 for other protocols.
    pub tcp_flags: u8,
    /// What kind of ICMP message it is, if it is one.
    pub icmp: Icmp,
    /// Why the packet would be dropped if it is for a VIP.
    pub fault: Option<Reason>,
}

/// Kinds of ICMP message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Icmp {
    /// Not ICMP.
    #[default]
    None,
    /// Echo request or reply.
    Echo,
    /// An error about some flow's packet.
    Error,
    /// Neighbour discovery.
    Discovery,
    /// Anything else.
    Other,
}

/// TCP flag bits.
pub mod tcp {
    /// No more data from this side.
    pub const FIN: u8 = 1;
    /// First packet of a side.
    pub const SYN: u8 = 2;
    /// Connection refused or aborted.
    pub const RST: u8 = 4;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
}

impl Packet {
    /// A TCP SYN without ACK: the first packet of a connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// Whether the packet belongs to a TCP or UDP flow, itself or as an error about one.
    #[inline(always)]
    #[must_use]
    pub const fn has_flow(&self) -> bool {
        self.fault.is_none() && (self.key.proto == proto::TCP || self.key.proto == proto::UDP)
    }

    /// Offset of the IP packet's end; what follows is padding.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> usize {
        self.l3 + self.ip_len as usize
    }

    /// Bytes from the Ethernet header to the end of the IP packet.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the offset of the IP header is at most 22")]
    pub const fn bytes(&self) -> u32 {
        self.ip_len + self.l3 as u32
    }
}

/// Whether a source can't be: unspecified, loopback, multicast, class E (RFC 1122 section 3.2.1.3, RFC 4291), IPv4
/// mapped on an IPv6 wire, or the destination itself.
#[inline(always)]
#[must_use]
pub fn is_martian(src: &Addr, dst: &Addr, is_v4: bool) -> bool {
    let (high, low) = src.words();
    if (high, low) == dst.words() {
        return true;
    }
    if is_v4 {
        let first = low >> 24 & 0xff;
        return first == 0 || first == 127 || first >= 224;
    }
    high >> 56 == 0xff || (high == 0 && (low <= 1 || low >> 32 == 0xffff))
}
