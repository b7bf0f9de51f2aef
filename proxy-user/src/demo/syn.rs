//! The first packet of a TCP connection over IPv4, as a frame.

use std::net::SocketAddrV4;

/// Where a frame comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// MAC addresses: source, destination.
    pub(super) macs: ([u8; 6], [u8; 6]),
    /// Source.
    pub(super) from: SocketAddrV4,
    /// Destination.
    pub(super) to: SocketAddrV4,
}

/// A SYN without options (RFC 9293), all checksums right.
pub(super) fn frame(ends: &Ends) -> Vec<u8> {
    let (source, destination) = (ends.from.ip(), ends.to.ip());
    let mut tcp = [ends.from.port().to_be_bytes(), ends.to.port().to_be_bytes()].concat();
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    let length = [0, 20];
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, TCP], &length, &tcp].concat();
    put(&mut tcp, 16, checksum(&pseudo));

    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0];
    ip.extend(source.octets());
    ip.extend(destination.octets());
    let sum = checksum(&ip);
    put(&mut ip, 10, sum);
    [&ends.macs.1[..], &ends.macs.0, &IPV4, &ip, &tcp].concat()
}

/// Whether it is a SYN over IPv4 without options to this port.
pub(super) fn is_syn_to(frame: &[u8], port: u16) -> bool {
    let at = |place: usize, wanted: &[u8]| frame.get(place..place + wanted.len()) == Some(wanted);
    at(12, &IPV4) && at(14, &[0x45]) && at(23, &[TCP]) && at(36, &port.to_be_bytes()) && at(47, &[SYN])
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

fn put(bytes: &mut [u8], place: usize, value: [u8; 2]) {
    if let Some(field) = bytes.get_mut(place..place + 2) {
        field.copy_from_slice(&value);
    }
}

const IPV4: [u8; 2] = [0x08, 0x00];
const TCP: u8 = 6;
const SYN: u8 = 0x02;

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<u8> {
        let from = "203.0.113.2:20000".parse().unwrap();
        let to = "198.51.100.10:80".parse().unwrap();
        frame(&Ends { macs: ([2; 6], [4; 6]), from, to })
    }

    #[test]
    fn checksums_are_right() {
        let frame = example();
        assert_eq!(checksum(&frame[14..34]), [0, 0], "a header with its sum adds up to zero");
        let pseudo = [&frame[26..34], &[0, TCP, 0, 20], &frame[34..]].concat();
        assert_eq!(checksum(&pseudo), [0, 0]);
        assert_eq!(frame.len(), 54);
    }

    #[test]
    fn a_syn_is_known_by_its_port_and_flags() {
        let mut frame = example();
        assert!(is_syn_to(&frame, 80));
        assert!(!is_syn_to(&frame, 8080));
        frame[47] = 0x12;
        assert!(!is_syn_to(&frame, 80), "a SYN-ACK is an answer");
        assert!(!is_syn_to(&frame[..40], 80));
    }
}
