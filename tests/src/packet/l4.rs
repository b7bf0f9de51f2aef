//! TCP, UDP, ICMP and anything else that an IP packet carries.

use std::net::IpAddr;

use proxy_common::proto;

use super::{Packet, checksum, pseudo_header};

/// TCP flags.
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 1;
    /// Begins a connection.
    pub const SYN: u8 = 2;
    /// Ends it at once.
    pub const RST: u8 = 4;
    /// Deliver now.
    pub const PSH: u8 = 8;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
}

/// What an IP packet carries.
#[derive(Clone, Debug)]
pub enum L4 {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP or ICMPv6, by the family of the IP header.
    Icmp(Icmp),
    /// Any protocol number with any bytes.
    Raw(u8, Vec<u8>),
}

impl L4 {
    /// Protocol number. ICMP knows its family.
    pub fn protocol(&self) -> u8 {
        match self {
            Self::Tcp(_) => proto::TCP,
            Self::Udp(_) => proto::UDP,
            Self::Icmp(icmp) if icmp.v6 => proto::ICMPV6,
            Self::Icmp(_) => proto::ICMP,
            Self::Raw(protocol, _) => *protocol,
        }
    }

    /// The bytes, with their checksum.
    pub fn build(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        match self {
            Self::Tcp(tcp) => tcp.build(src, dst),
            Self::Udp(udp) => udp.build(src, dst),
            Self::Icmp(icmp) => icmp.build(src, dst),
            Self::Raw(_, bytes) => bytes.clone(),
        }
    }
}

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Instead of the right header length in words.
    pub words: Option<u8>,
    /// Data.
    pub payload: Vec<u8>,
    /// Added to the right checksum.
    pub checksum_error: u16,
}

impl Tcp {
    /// A segment with an acknowledgement.
    pub fn new(sport: u16, dport: u16) -> Self {
        Self {
            sport,
            dport,
            seq: 1_000,
            ack: 2_000,
            flags: flags::ACK,
            options: Vec::new(),
            words: None,
            payload: Vec::new(),
            checksum_error: 0,
        }
    }

    /// A bare SYN with an MSS option.
    pub fn syn(sport: u16, dport: u16) -> Self {
        Self { flags: flags::SYN, ack: 0, options: vec![2, 4, 0x05, 0xb4], ..Self::new(sport, dport) }
    }

    /// The same with these flags.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// The same with these numbers.
    #[must_use]
    pub fn numbers(mut self, seq: u32, ack: u32) -> Self {
        (self.seq, self.ack) = (seq, ack);
        self
    }

    /// The same with data.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    fn build(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.sport.to_be_bytes());
        out.extend(self.dport.to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.ack.to_be_bytes());
        let words = self.words.unwrap_or((5 + self.options.len() / 4) as u8);
        out.extend([words << 4, self.flags]);
        out.extend([0xff, 0xff, 0, 0, 0, 0]);
        out.extend(&self.options);
        out.extend(&self.payload);
        let sum = transport_checksum(src, dst, proto::TCP, &out).wrapping_add(self.checksum_error);
        out[16..18].copy_from_slice(&sum.to_be_bytes());
        out
    }
}

/// A UDP datagram.
#[derive(Clone, Debug)]
pub struct Udp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Data.
    pub payload: Vec<u8>,
    /// Whether the checksum is there; 0 says it is not.
    pub summed: bool,
    /// Added to the right length.
    pub length_error: i32,
    /// Added to the right checksum.
    pub checksum_error: u16,
}

impl Udp {
    /// A datagram without data.
    pub fn new(sport: u16, dport: u16) -> Self {
        Self { sport, dport, payload: Vec::new(), summed: true, length_error: 0, checksum_error: 0 }
    }

    /// The same with data.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// The same without a checksum.
    #[must_use]
    pub fn unsummed(mut self) -> Self {
        self.summed = false;
        self
    }

    fn build(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.sport.to_be_bytes());
        out.extend(self.dport.to_be_bytes());
        out.extend(((8 + self.payload.len()) as i32 + self.length_error).to_be_bytes()[2..].iter());
        out.extend([0, 0]);
        out.extend(&self.payload);
        if self.summed {
            // 0 says "no checksum", so that a sum of 0 goes out as its other form (RFC 768).
            let sum = match transport_checksum(src, dst, proto::UDP, &out) {
                0 => 0xffff,
                sum => sum,
            };
            out[6..8].copy_from_slice(&sum.wrapping_add(self.checksum_error).to_be_bytes());
        }
        out
    }
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, Debug)]
pub struct Icmp {
    /// Whether it is ICMPv6.
    pub v6: bool,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The second word of the header.
    pub rest: [u8; 4],
    /// What follows: data, or the packet that an error quotes.
    pub body: Vec<u8>,
    /// Added to the right checksum.
    pub checksum_error: u16,
}

impl Icmp {
    /// Any message.
    pub fn new(v6: bool, kind: u8, code: u8, body: Vec<u8>) -> Self {
        Self { v6, kind, code, rest: [0; 4], body, checksum_error: 0 }
    }

    /// An echo request to this address.
    pub fn echo(dst: &str, id: u16, sequence: u16) -> Self {
        let v6 = super::address(dst).is_ipv6();
        let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
        Self { rest: [a, b, c, d], ..Self::new(v6, if v6 { 128 } else { 8 }, 0, b"ping".to_vec()) }
    }

    /// "Destination unreachable" about a packet.
    pub fn unreachable(about: &Packet, code: u8) -> Self {
        let v6 = about.ip.src.is_ipv6();
        Self::new(v6, if v6 { 1 } else { 3 }, code, about.ip_packet())
    }

    /// "Fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201) about a packet.
    pub fn too_big(about: &Packet, mtu: u16) -> Self {
        let [high, low] = mtu.to_be_bytes();
        let v6 = about.ip.src.is_ipv6();
        let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
        Self { rest: [0, 0, high, low], ..Self::new(v6, kind, code, about.ip_packet()) }
    }

    /// "Time exceeded" about a packet.
    pub fn time_exceeded(about: &Packet) -> Self {
        let v6 = about.ip.src.is_ipv6();
        Self::new(v6, if v6 { 3 } else { 11 }, 0, about.ip_packet())
    }

    /// A neighbour solicitation for a target (RFC 4861).
    pub fn neighbour_solicitation(target: &str) -> Self {
        let IpAddr::V6(target) = super::address(target) else { panic!("IPv6 only") };
        Self::new(true, 135, 0, target.octets().to_vec())
    }

    /// The same with only so many bytes of the quoted packet.
    #[must_use]
    pub fn quoted(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }

    fn build(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        let mut out = vec![self.kind, self.code, 0, 0];
        out.extend(self.rest);
        out.extend(&self.body);
        let sum = if self.v6 { transport_checksum(src, dst, proto::ICMPV6, &out) } else { checksum(&out) };
        out[2..4].copy_from_slice(&sum.wrapping_add(self.checksum_error).to_be_bytes());
        out
    }
}

impl From<Tcp> for L4 {
    fn from(tcp: Tcp) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<Udp> for L4 {
    fn from(udp: Udp) -> Self {
        Self::Udp(udp)
    }
}

impl From<Icmp> for L4 {
    fn from(icmp: Icmp) -> Self {
        Self::Icmp(icmp)
    }
}

/// Checksum over pseudo header and bytes whose own checksum field is zero.
fn transport_checksum(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let mut all = pseudo_header(src, dst, protocol, bytes.len());
    all.extend(bytes);
    checksum(&all)
}
