//! Frames that tell the link where an address now is: ARP announcement and unsolicited neighbour advertisement.
//!
//! ```text
//! ARP announcement (RFC 5227, 2.3)          neighbour advertisement (RFC 4861, 4.4; 7.2.6)
//! Ethernet  ff:ff:ff:ff:ff:ff, 0x0806       Ethernet  33:33:00:00:00:01, 0x86dd
//! ARP       request, sender MAC and IP =    IPv6      address → ff02::1, hop limit 255
//!           ours and the address, target    ICMPv6    136, override set, target = address,
//!           MAC 0, target IP = the address            option 2: our MAC
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The frame that announces `addr` at `mac`.
#[must_use]
pub fn frame(mac: [u8; 6], addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => arp(mac, addr),
        IpAddr::V6(addr) => advertisement(mac, addr),
    }
}

fn arp(mac: [u8; 6], addr: Ipv4Addr) -> Vec<u8> {
    let addr = addr.octets();
    [
        &[0xff; 6][..],
        &mac,
        &[0x08, 0x06],
        // Ethernet, IPv4, lengths 6 and 4, request.
        &[0, 1, 0x08, 0, 6, 4, 0, 1],
        &mac,
        &addr,
        &[0; 6],
        &addr,
        // Up to the shortest Ethernet frame.
        &[0; 18],
    ]
    .concat()
}

fn advertisement(mac: [u8; 6], addr: Ipv6Addr) -> Vec<u8> {
    let source = addr.octets();
    let target = ALL_NODES.octets();
    let body = |checksum: u16| {
        [
            &[136, 0][..],
            &checksum.to_be_bytes(),
            &[OVERRIDE, 0, 0, 0],
            &source,
            // Target link-layer address, 8 bytes in all.
            &[2, 1],
            &mac,
        ]
        .concat()
    };
    // Payload length 32, next header ICMPv6: the same words in the header and in the sum.
    let sum = checksum(&[&source[..], &target, &[0, 0, 0, 32, 0, 0, 0, 58], &body(0)].concat());
    [
        &[0x33, 0x33, 0, 0, 0, 1][..],
        &mac,
        &[0x86, 0xdd],
        &[0x60, 0, 0, 0, 0, 32, 58, 255],
        &source,
        &target,
        &body(sum),
    ]
    .concat()
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or_default()
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The override flag alone: not a router, not asked for.
const OVERRIDE: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn an_arp_announcement_byte_for_byte() {
        let frame = frame(MAC, "198.51.100.10".parse().unwrap());
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0,
            0, 0, 0, 1, 198, 51, 100, 10, 0, 0, 0, 0, 0, 0, 198, 51, 100, 10,
        ];
        assert_eq!(frame[..42], expected);
        assert_eq!(frame.len(), 60);
    }

    #[test]
    fn a_neighbour_advertisement_is_valid() {
        let frame = frame(MAC, "2001:db8::10".parse().unwrap());
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!(frame[21], 255, "hop limit");
        assert_eq!((frame[54], frame[58]), (136, 0x20));
        assert_eq!(frame[62..78], frame[22..38], "the target is the source");
        assert_eq!(frame[78..86], [2, 1, 2, 0, 0, 0, 0, 1]);
        // Summing everything with the checksum in place gives zero.
        let pseudo = [&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &frame[54..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        assert_ne!(frame[56..58], [0, 0]);
    }
}
