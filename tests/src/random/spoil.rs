//! Ways to make a good packet odd or wrong.

use crate::packet::{Extension, L4, Packet};
use crate::rng::Rng;

/// Changes fields of a packet.
pub(super) fn fields(packet: &mut Packet, rng: &mut Rng) {
    match rng.below(18) {
        0 => packet.ip.ttl = *rng.pick(&[0, 1, 2, 255]),
        1 => *packet = packet.clone().tagged(&[5]),
        2 => *packet = packet.clone().tagged(&[5, 6]),
        3 => *packet = packet.clone().tagged(&[5, 6, 7]),
        4 => packet.ip.options = vec![1; 4 * (1 + rng.below(10))],
        5 => packet.ip.fragment = *rng.pick(&[0x2000, 0x0001, 0x1fff, 0x2010, 0x8000]),
        6 => packet.ip.length_error = rng.below(80) as i32 - 40,
        7 => packet.ip.first_byte = Some(rng.byte()),
        8 => packet.padding = vec![rng.byte(); 1 + rng.below(30)],
        9 => packet.ip.checksum_error = rng.bits() as u16,
        10 | 11 => {
            packet.ip.extensions = (0..1 + rng.below(8)).map(|_| extension(rng)).collect();
        }
        12 => packet.src_mac[5] = rng.byte() & 3,
        13 => packet.ip.tos = rng.byte(),
        _ => transport(&mut packet.l4, rng),
    }
}

fn transport(l4: &mut L4, rng: &mut Rng) {
    match l4 {
        L4::Tcp(tcp) => match rng.below(6) {
            0 => tcp.flags = rng.byte(),
            1 => tcp.words = Some(rng.byte() & 15),
            2 => tcp.checksum_error = rng.bits() as u16,
            3 => tcp.options = vec![1; 4 * rng.below(10)],
            4 => tcp.payload = vec![rng.byte(); rng.below(1_600)],
            _ => tcp.ack = rng.bits() as u32,
        },
        L4::Udp(udp) => match rng.below(4) {
            0 => udp.summed = false,
            1 => udp.length_error = rng.below(40) as i32 - 20,
            2 => udp.checksum_error = rng.bits() as u16,
            _ => udp.payload = vec![rng.byte(); rng.below(1_600)],
        },
        L4::Icmp(icmp) => match rng.below(5) {
            0 => icmp.kind = rng.byte(),
            1 => icmp.body.truncate(rng.below(60)),
            2 => icmp.checksum_error = rng.bits() as u16,
            3 if !icmp.body.is_empty() => {
                let at = rng.below(icmp.body.len().min(64));
                icmp.body[at] = rng.byte();
            }
            _ => icmp.code = rng.byte(),
        },
        L4::Raw(_, bytes) => *bytes = vec![rng.byte(); rng.below(64)],
    }
}

fn extension(rng: &mut Rng) -> Extension {
    match rng.below(8) {
        0 => Extension::fragment(rng.below(3) as u16, rng.percent(30)),
        1 => Extension::fragment(0, false),
        2 => Extension::routing(rng.below(2) as u8),
        3 => Extension::authentication(),
        _ => Extension::options(*rng.pick(&[0, 60])),
    }
}

/// Changes bytes of a frame; never makes it shorter than an Ethernet header.
pub(super) fn bytes(frame: &mut Vec<u8>, rng: &mut Rng) {
    match rng.below(5) {
        0 => frame.truncate(14 + rng.below(frame.len() - 13)),
        1 => frame.extend((0..1 + rng.below(20)).map(|i| i as u8)),
        2 => {
            let at = rng.below(frame.len());
            frame[at] ^= 1 << rng.below(8);
        }
        _ => {
            // Most often in the headers.
            let at = 12 + rng.below(frame.len().min(70) - 12);
            frame[at] = rng.byte();
        }
    }
}
