//! Builds packets field by field, right or wrong, with checksums worked out from nothing.
//!
//! A packet is a value: an expected packet is the sent one with some fields changed, built again.

mod ip;
mod l4;

use std::net::IpAddr;

use proxy_common::Mac;

pub use ip::{Extension, Ip};
pub use l4::{Icmp, L4, Tcp, Udp, flags};

/// MAC address of the side that sends to weir.
pub const CLIENT_MAC: Mac = [0x02, 0, 0, 0, 0, 0x01];
/// MAC address of weir's interface.
pub const WEIR_MAC: Mac = [0x02, 0, 0, 0, 0, 0x02];

/// A VLAN tag: ethertype that announces it and its contents.
pub type Tag = (u16, u16);

/// An Ethernet frame with an IP packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Destination MAC address.
    pub dst_mac: Mac,
    /// Source MAC address.
    pub src_mac: Mac,
    /// VLAN tags, outermost first.
    pub tags: Vec<Tag>,
    /// IP header.
    pub ip: Ip,
    /// What the IP packet carries.
    pub l4: L4,
    /// Bytes after the IP packet, as padding of short frames.
    pub padding: Vec<u8>,
}

impl Packet {
    /// From one address to another (both of one family), with `l4`.
    pub fn new(src: &str, dst: &str, l4: impl Into<L4>) -> Self {
        Self::between(address(src), address(dst), l4)
    }

    /// As [`Packet::new`], from parsed addresses.
    pub fn between(src: IpAddr, dst: IpAddr, l4: impl Into<L4>) -> Self {
        Self {
            dst_mac: WEIR_MAC,
            src_mac: CLIENT_MAC,
            tags: Vec::new(),
            ip: Ip::new(src, dst),
            l4: l4.into(),
            padding: Vec::new(),
        }
    }

    /// The same with changes.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The same with VLAN tags of these ids, 802.1ad outside where there are several.
    #[must_use]
    pub fn tagged(mut self, ids: &[u16]) -> Self {
        let last = ids.len().saturating_sub(1);
        self.tags =
            ids.iter().enumerate().map(|(i, id)| (if i == last { 0x8100 } else { 0x88a8 }, *id)).collect();
        self
    }

    /// The same with a TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip.ttl = ttl;
        self
    }

    /// TCP header.
    pub fn tcp(&mut self) -> &mut Tcp {
        match &mut self.l4 {
            L4::Tcp(tcp) => tcp,
            other => panic!("not TCP: {other:?}"),
        }
    }

    /// UDP header.
    pub fn udp(&mut self) -> &mut Udp {
        match &mut self.l4 {
            L4::Udp(udp) => udp,
            other => panic!("not UDP: {other:?}"),
        }
    }

    /// ICMP message.
    pub fn icmp(&mut self) -> &mut Icmp {
        match &mut self.l4 {
            L4::Icmp(icmp) => icmp,
            other => panic!("not ICMP: {other:?}"),
        }
    }

    /// Offset of the IP header in the frame.
    pub fn ip_offset(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    /// Offset of the TCP, UDP or ICMP header in the frame.
    pub fn l4_offset(&self) -> usize {
        self.ip_offset() + self.ip.header_len()
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.dst_mac);
        out.extend(self.src_mac);
        for (ethertype, tci) in &self.tags {
            out.extend(ethertype.to_be_bytes());
            out.extend(tci.to_be_bytes());
        }
        out.extend(if self.ip.src.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        out.extend(self.ip_packet());
        out.extend(&self.padding);
        out
    }

    /// The IP packet without its frame: what an ICMP error quotes.
    pub fn ip_packet(&self) -> Vec<u8> {
        let l4 = self.l4.build(self.ip.src, self.ip.dst);
        self.ip.build(self.l4.protocol(), &l4)
    }
}

/// A frame of any ethertype with a body.
pub fn frame(ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(WEIR_MAC);
    out.extend(CLIENT_MAC);
    out.extend(ethertype.to_be_bytes());
    out.extend(body);
    out
}

/// An ARP request from one address for another (RFC 826).
pub fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
    body.extend(CLIENT_MAC);
    body.extend(sender);
    body.extend([0; 6]);
    body.extend(target);
    frame(0x0806, &body)
}

/// An address from text; panics if it is none.
pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is not an address"))
}

/// The Internet checksum of these bytes (RFC 1071), summed one 16-bit word after the other.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The pseudo header of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC 8200 section 8.1).
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            out.extend(src.octets());
            out.extend(dst.octets());
            out.extend([0, protocol]);
            out.extend((length as u16).to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            out.extend(src.octets());
            out.extend(dst.octets());
            out.extend((length as u32).to_be_bytes());
            out.extend([0, 0, 0, protocol]);
        }
        _ => panic!("two families: {src} and {dst}"),
    }
    out
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    /// Somebody else's parser and checksums agree with what is built.
    fn verify(frame: &[u8]) {
        let sliced = SlicedPacket::from_ethernet(frame).expect("parses");
        let v4 = match sliced.net.as_ref().expect("IP") {
            NetSlice::Ipv4(v4) => {
                let header = v4.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                Some((header.source, header.destination))
            }
            _ => None,
        };
        let v6 = match sliced.net.as_ref().expect("IP") {
            NetSlice::Ipv6(v6) => Some((v6.header().source(), v6.header().destination())),
            _ => None,
        };
        let (stored, right) = match (sliced.transport.expect("transport"), v4, v6) {
            (TransportSlice::Tcp(tcp), Some((s, d)), _) => {
                (tcp.checksum(), tcp.calc_checksum_ipv4(s, d).unwrap())
            }
            (TransportSlice::Tcp(tcp), _, Some((s, d))) => {
                (tcp.checksum(), tcp.calc_checksum_ipv6(s, d).unwrap())
            }
            (TransportSlice::Udp(udp), Some((s, d)), _) => {
                (udp.checksum(), udp.to_header().calc_checksum_ipv4_raw(s, d, udp.payload()).unwrap())
            }
            (TransportSlice::Udp(udp), _, Some((s, d))) => {
                (udp.checksum(), udp.to_header().calc_checksum_ipv6_raw(s, d, udp.payload()).unwrap())
            }
            (TransportSlice::Icmpv4(icmp), ..) => {
                (icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()))
            }
            (TransportSlice::Icmpv6(icmp), _, Some((s, d))) => {
                (icmp.checksum(), icmp.icmp_type().calc_checksum(s, d, icmp.payload()).unwrap())
            }
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!(stored, right);
    }

    #[test]
    fn another_parser_agrees() {
        for (src, dst) in [("192.0.2.1", "198.51.100.10"), ("2001:db8::1", "2001:db8:1::10")] {
            let tcp = Packet::new(src, dst, Tcp::new(1234, 80).payload(b"odd"));
            verify(&tcp.build());
            verify(&tcp.clone().tagged(&[7]).build());
            verify(&tcp.clone().tagged(&[7, 8]).build());
            verify(&Packet::new(src, dst, Udp::new(1234, 53).payload(b"question")).build());
            verify(&Packet::new(src, dst, Icmp::echo(dst, 1, 2)).build());
            verify(&Packet::new(dst, src, Icmp::unreachable(&tcp, 3)).build());
        }
        let options =
            Packet::new("192.0.2.1", "198.51.100.10", Tcp::new(1, 2)).with(|p| p.ip.options = vec![1; 8]);
        verify(&options.build());
        let chain = Packet::new("2001:db8::1", "2001:db8:1::10", Udp::new(1, 2))
            .with(|p| p.ip.extensions = vec![Extension::options(0), Extension::options(60)]);
        verify(&chain.build());
    }
}
