//! IPv4 and IPv6 headers.

use std::net::IpAddr;

use super::checksum;

/// An IP header of either family; fields of the other family are not built.
#[derive(Clone, Debug)]
pub struct Ip {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4 identification.
    pub id: u16,
    /// IPv4 flags and fragment offset, as on the wire.
    pub fragment: u16,
    /// IPv4 options, a multiple of four bytes, at most 40.
    pub options: Vec<u8>,
    /// IPv6 extension headers in their order.
    pub extensions: Vec<Extension>,
    /// Added to the right total length (IPv4) or payload length (IPv6).
    pub length_error: i32,
    /// Instead of the right version and header length (first byte).
    pub first_byte: Option<u8>,
    /// Added to the right IPv4 header checksum.
    pub checksum_error: u16,
}

impl Ip {
    /// A header without options.
    pub fn new(src: IpAddr, dst: IpAddr) -> Self {
        assert_eq!(src.is_ipv4(), dst.is_ipv4(), "one family");
        Self {
            src,
            dst,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            fragment: 0x4000,
            options: Vec::new(),
            extensions: Vec::new(),
            length_error: 0,
            first_byte: None,
            checksum_error: 0,
        }
    }

    /// Length in bytes, with options and extension headers.
    pub fn header_len(&self) -> usize {
        match self.src {
            IpAddr::V4(_) => 20 + self.options.len(),
            IpAddr::V6(_) => 40 + self.extensions.iter().map(|e| e.body.len() + 1).sum::<usize>(),
        }
    }

    /// The whole packet.
    pub fn build(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.build_v4(src.octets(), dst.octets(), protocol, payload)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                self.build_v6(src.octets(), dst.octets(), protocol, payload)
            }
            _ => panic!("two families"),
        }
    }

    fn build_v4(&self, src: [u8; 4], dst: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = (20 + self.options.len() + payload.len()) as i32 + self.length_error;
        let first = self.first_byte.unwrap_or(0x40 | ((20 + self.options.len()) / 4) as u8);
        let mut out = vec![first, self.tos];
        out.extend((length as u16).to_be_bytes());
        out.extend(self.id.to_be_bytes());
        out.extend(self.fragment.to_be_bytes());
        out.extend([self.ttl, protocol, 0, 0]);
        out.extend(src);
        out.extend(dst);
        out.extend(&self.options);
        let sum = checksum(&out).wrapping_add(self.checksum_error);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend(payload);
        out
    }

    fn build_v6(&self, src: [u8; 16], dst: [u8; 16], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = (self.header_len() - 40 + payload.len()) as i32 + self.length_error;
        let first = self.first_byte.unwrap_or(0x60 | (self.tos >> 4));
        let mut out = vec![first, self.tos << 4, 0, 0];
        out.extend((length as u16).to_be_bytes());
        let kinds: Vec<u8> = self.extensions.iter().map(|e| e.kind).chain([protocol]).collect();
        out.extend([kinds[0], self.ttl]);
        out.extend(src);
        out.extend(dst);
        for (extension, next) in self.extensions.iter().zip(&kinds[1..]) {
            out.push(*next);
            out.extend(&extension.body);
        }
        out.extend(payload);
        out
    }
}

/// An IPv6 extension header.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its protocol number.
    pub kind: u8,
    /// Everything after its "next header" byte: its length byte comes first.
    pub body: Vec<u8>,
}

impl Extension {
    /// Eight bytes of padding options: hop-by-hop (0) or destination options (60).
    pub fn options(kind: u8) -> Self {
        Self { kind, body: vec![0, 1, 4, 0, 0, 0, 0] }
    }

    /// A routing header with this many segments left.
    pub fn routing(segments_left: u8) -> Self {
        Self { kind: 43, body: vec![0, 4, segments_left, 0, 0, 0, 0] }
    }

    /// A fragment header: offset in units of 8 bytes, more to come.
    pub fn fragment(offset: u16, more: bool) -> Self {
        let [high, low] = ((offset << 3) | u16::from(more)).to_be_bytes();
        Self { kind: 44, body: vec![0, high, low, 0, 0, 0, 1] }
    }

    /// An authentication header of 24 bytes (RFC 4302: length in words of four bytes less two).
    pub fn authentication() -> Self {
        let mut body = vec![4];
        body.extend([0; 22]);
        Self { kind: 51, body }
    }
}
