//! The packets: one TCP frame of each kind, and the flows that are written over its source.

use std::collections::HashSet;
use std::net::IpAddr;

/// Flows of the rows with many.
pub(super) const FLOWS: u32 = 131_072;

/// Where our packets come from, as their Ethernet header says.
pub(super) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xb0];

/// Bytes of headers that the restoring program writes, by family; the last of them, after the headers, are payload.
const V4_LEN: usize = 60;
const V6_LEN: usize = 80;

/// TCP flag bits of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// The first of a connection.
    Syn,
    /// One in the middle.
    Ack,
}

/// A flow's part of the source: the last four bytes of the address, and the port.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    tail: [u8; 4],
    port: u16,
}

impl Flow {
    /// As `bench_flows` holds it.
    pub(super) fn word(self) -> u64 {
        let [a, b, c, d] = self.tail;
        let [e, f] = self.port.to_be_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The client's address, of the VIP's family: 10.0.0.0/8 or 2001:db8:c::/48.
    pub(super) fn client(self, v4: bool) -> IpAddr {
        let [a, b, c, d] = self.tail;
        if v4 {
            return IpAddr::from(self.tail);
        }
        IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0xc, 0, 0, 0, 0, 0, 0, a, b, c, d])
    }
}

/// All flows, in random order, the same in every run, no two alike.
pub(super) fn flows() -> Vec<Flow> {
    let mut random = Random(0x5eed);
    let mut seen = HashSet::new();
    std::iter::from_fn(|| {
        let [a, b, c, d, e, ..] = random.next().to_le_bytes();
        Some(Flow { tail: [10, a, b, c], port: 1_024 + u16::from_le_bytes([d, e]) % 64_000 })
    })
    .filter(|flow| seen.insert(*flow))
    .take(FLOWS as usize)
    .collect()
}

/// xorshift64*: plenty for picking addresses.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A TCP segment without options, right in all its checksums.
pub(super) fn tcp(source: IpAddr, source_port: u16, destination: IpAddr, segment: Segment) -> Vec<u8> {
    let l4 = |payload: usize| {
        let mut bytes = Vec::with_capacity(20 + payload);
        bytes.extend(source_port.to_be_bytes());
        bytes.extend(80_u16.to_be_bytes());
        bytes.extend(1_000_u32.to_be_bytes());
        bytes.extend(if segment == Segment::Ack { 2_000_u32 } else { 0 }.to_be_bytes());
        bytes.extend([5 << 4, if segment == Segment::Ack { 0x10 } else { 2 }, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.resize(20 + payload, 0);
        bytes
    };
    let mut frame = [OUR_MAC, CLIENT_MAC].concat();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut payload = l4(V4_LEN - 54);
            let pseudo = pseudo(&source.octets(), &destination.octets(), &payload);
            let sum = checksum(&[&pseudo, &payload]);
            place(&mut payload, 16, sum);
            let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
            let mut ip = vec![0x45, 0];
            ip.extend(length.to_be_bytes());
            ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            let sum = checksum(&[&ip]);
            place(&mut ip, 10, sum);
            frame.extend([8, 0]);
            frame.extend(ip);
            frame.extend(payload);
        }
        (source, destination) => {
            let (source, destination) = (v6(source), v6(destination));
            let mut payload = l4(V6_LEN - 74);
            let pseudo = pseudo(&source, &destination, &payload);
            let sum = checksum(&[&pseudo, &payload]);
            place(&mut payload, 16, sum);
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(source);
            frame.extend(destination);
            frame.extend(payload);
        }
    }
    frame
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn pseudo(source: &[u8], destination: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    [source, destination, &[0, 6], &length.to_be_bytes()].concat()
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2)).map(|pair| match pair {
        [a, b] => u64::from(u16::from_be_bytes([*a, *b])),
        [a] => u64::from(*a) << 8,
        _ => 0,
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or_default()).to_be_bytes()
}

fn place(bytes: &mut [u8], at: usize, value: [u8; 2]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = from;
    }
}

/// The port of a flow.
pub(super) fn port(flow: Flow) -> u16 {
    flow.port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_right_checksums_and_the_lengths_that_the_programs_write() {
        let flow = flows()[0];
        for (v4, length) in [(true, V4_LEN), (false, V6_LEN)] {
            let to: IpAddr = if v4 { "198.51.100.1" } else { "2001:db8::1" }.parse().unwrap();
            let frame = tcp(flow.client(v4), flow.port, to, Segment::Ack);
            assert_eq!(frame.len(), length);
            let packet = proxy_ebpf::parse::packet(&proxy_ebpf::memory::SliceFrame::new(frame)).unwrap();
            assert_eq!(packet.fault, None);
            assert_eq!(packet.key.sport.number(), flow.port);
        }
        let frame = tcp(flow.client(true), flow.port, "198.51.100.1".parse().unwrap(), Segment::Syn);
        assert_eq!(checksum(&[&frame[14..34]]), [0, 0]);
    }

    #[test]
    fn flows_are_many_and_distinct() {
        let flows = flows();
        assert_eq!(flows.len(), FLOWS as usize);
        assert_eq!(flows.iter().collect::<HashSet<_>>().len(), flows.len());
    }
}
