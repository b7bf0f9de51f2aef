//! A SYN flood on one service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proxy_user::lab::FrameSocket;

use crate::bed::{Bed, FAMILIES, Family, bed};

#[test]
fn a_flood_hurts_nobody_but_its_own_target() {
    bed(1, |bed| {
        let mut services = String::new();
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            services += &bed.service(&format!("target{n}"), "tcp", family, 80, "syn_budget = 200");
            services += &bed.service(&format!("other{n}"), "tcp", family, 8080, "");
        }
        let daemon = bed.start(&services);
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            let _target = bed.http(family, 80);
            let _other = bed.http(family, 8080);
            let mut stands = bed.talk(family.vip_at(80));
            assert_eq!(stands.ask(), Ok(1));
            let before = daemon.reason("syn_budget");

            let socket = FrameSocket::open(&bed.client_port).unwrap();
            for number in 0..3000_u16 {
                socket.send(&syn(bed, family, number)).unwrap();
                if number % 500 == 0 {
                    assert_eq!(stands.ask(), Ok(1), "the connection that stands");
                    assert_eq!(bed.get(family.client(), family.vip_at(8080)), Ok(1), "another service");
                }
            }
            assert_eq!(stands.ask(), Ok(1), "the connection that stands");
            bed.gets(family.client(), family.vip_at(8080), 20);
            let dropped = daemon.reason("syn_budget") - before;
            assert!(dropped > 1000, "over the budget: {dropped}");
            let admitted = daemon.service(&format!("target{n}"))["connections"].as_u64().unwrap();
            assert!(admitted < 2000, "within the budget: {admitted}");
        }
    });
}

/// A SYN from another address each time, that nobody will finish.
fn syn(bed: &Bed, family: Family, number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut tcp = vec![high | 0x40, low, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0];
    let (mut frame, source): (Vec<u8>, IpAddr) = match family {
        Family::V4 => (header(bed, [0x08, 0x00]), Ipv4Addr::new(10, 1, high, low | 1).into()),
        Family::V6 => (header(bed, [0x86, 0xdd]), Ipv6Addr::new(0xfd01, 0, 0, 0, 1, 0, 0, number + 1).into()),
    };
    let sum = sum(&pseudo(source, family.vip(), 6, &tcp)).to_be_bytes();
    tcp[16..18].copy_from_slice(&sum);
    frame.extend(ip_header(source, family.vip(), 6, tcp.len()));
    frame.extend(tcp);
    frame
}

fn header(bed: &Bed, kind: [u8; 2]) -> Vec<u8> {
    [&bed.weir_port.mac()[..], &bed.client_port.mac(), &kind].concat()
}

fn ip_header(source: IpAddr, target: IpAddr, proto: u8, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap();
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let [high, low] = (length + 20).to_be_bytes();
            let mut bytes = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, proto, 0, 0];
            bytes.extend(source.octets());
            bytes.extend(target.octets());
            let sum = sum(&bytes).to_be_bytes();
            bytes[10..12].copy_from_slice(&sum);
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let [high, low] = length.to_be_bytes();
            let mut bytes = vec![0x60, 0, 0, 0, high, low, proto, 64];
            bytes.extend(source.octets());
            bytes.extend(target.octets());
            bytes
        }
        _ => panic!("two families"),
    }
}

/// What a transport checksum covers: the same sum for both families, since lengths are short.
fn pseudo(source: IpAddr, target: IpAddr, proto: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => [source.octets(), target.octets()].concat(),
        (IpAddr::V6(source), IpAddr::V6(target)) => [source.octets(), target.octets()].concat(),
        _ => panic!("two families"),
    };
    bytes.extend([0, proto]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

/// RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
