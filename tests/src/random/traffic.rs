//! Random traffic: conversations that get deep into the flow states, errors about their packets, and noise.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::{BACKEND, CLIENT, PORTS, SNAT, STRANGER, VIP, host, spoil};
use crate::oracle::parse::{Content, Tuple, parse};
use crate::packet::{Icmp, L4, Packet, Tcp, Udp, arp, flags, frame};
use crate::rng::Rng;

/// Makes packets, some of them answers to what was steered before.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    steered: VecDeque<Vec<u8>>,
}

/// Steered frames remembered.
const REMEMBERED: usize = 48;

impl Traffic {
    /// Learns a frame that was steered.
    pub fn steered(&mut self, frame: &[u8]) {
        self.steered.push_back(frame.to_vec());
        if self.steered.len() > REMEMBERED {
            self.steered.pop_front();
        }
    }

    /// The next frame, of at least 14 bytes, and the interface that it comes in by.
    pub fn next(&mut self, rng: &mut Rng) -> (Vec<u8>, u32) {
        let ingress = if rng.percent(85) { 1 } else { 2 + rng.below(2) as u32 };
        let mut out = match rng.below(100) {
            0..=27 => self.spoiled(opening(rng), rng),
            28..=71 => match self.answer(rng) {
                Some(packet) => self.spoiled(packet, rng),
                None => self.spoiled(opening(rng), rng),
            },
            72..=85 => match self.error(rng) {
                Some(packet) => self.spoiled(packet, rng),
                None => self.spoiled(opening(rng), rng),
            },
            86..=90 => self.spoiled(stray(rng), rng),
            91..=93 => self.spoiled(message(rng), rng),
            94 => arp([10, CLIENT, 0, 1], [10, VIP, 0, 1]),
            95 => frame(rng.bits() as u16, &[rng.byte(); 46]),
            _ => noise(rng),
        };
        if rng.percent(8) {
            spoil::bytes(&mut out, rng);
        }
        (out, ingress)
    }

    fn spoiled(&self, mut packet: Packet, rng: &mut Rng) -> Vec<u8> {
        for _ in 0..[0, 0, 0, 0, 0, 0, 1, 1, 1, 2][rng.below(10)] {
            spoil::fields(&mut packet, rng);
        }
        packet.build()
    }

    /// What the receiver of a steered frame would send back, or the same sender's next packet.
    fn answer(&self, rng: &mut Rng) -> Option<Packet> {
        let (tuple, content) = self.remembered(rng)?;
        let tuple = tuple.reversed();
        let l4: L4 = match content {
            Content::Tcp { flags: heard, seq, .. } => {
                let (syn, acks) = (heard & flags::SYN != 0, heard & flags::ACK != 0);
                let said = match (syn, acks) {
                    _ if rng.percent(5) => flags::RST,
                    (true, false) => flags::SYN | flags::ACK,
                    _ if rng.percent(20) => flags::FIN | flags::ACK,
                    _ if rng.percent(3) => flags::SYN,
                    _ => flags::ACK,
                };
                Tcp::new(tuple.sport, tuple.dport)
                    .flags(said)
                    .numbers(rng.bits() as u32, seq.wrapping_add(1))
                    .payload(&vec![7; rng.below(20)])
                    .into()
            }
            _ => Udp::new(tuple.sport, tuple.dport).payload(&vec![7; rng.below(20)]).into(),
        };
        Some(Packet::between(tuple.src, tuple.dst, l4))
    }

    /// An ICMP error about a steered frame, from its receiver or from a router on the way.
    fn error(&self, rng: &mut Rng) -> Option<Packet> {
        let (tuple, content) = self.remembered(rng)?;
        let l4: L4 = match content {
            Content::Tcp { flags, seq, ack, .. } => {
                Tcp::new(tuple.sport, tuple.dport).flags(flags).numbers(seq, ack).payload(b"some data").into()
            }
            _ => Udp::new(tuple.sport, tuple.dport).payload(b"some data").into(),
        };
        let about = Packet::between(tuple.src, tuple.dst, l4).ttl(rng.byte());
        let mut icmp = match rng.below(3) {
            0 => Icmp::unreachable(&about, rng.below(5) as u8),
            1 => Icmp::too_big(&about, 1_280),
            _ => Icmp::time_exceeded(&about),
        };
        if rng.percent(40) {
            icmp.body.truncate(*rng.pick(&[20, 27, 28, 36, 38, 40, 47, 48, 56, 58]));
        }
        let v6 = tuple.src.is_ipv6();
        let sender = if rng.percent(50) { tuple.dst } else { host(v6, STRANGER, 1) };
        Some(Packet::between(sender, tuple.src, icmp))
    }

    fn remembered(&self, rng: &mut Rng) -> Option<(Tuple, Content)> {
        let frame = self.steered.get(rng.below(self.steered.len()))?;
        match parse(frame).ok()?.content.ok()? {
            content @ (Content::Tcp { tuple, .. } | Content::Udp { tuple }) => Some((tuple, content)),
            _ => None,
        }
    }
}

/// A packet from a client to a VIP, most often the first one.
fn opening(rng: &mut Rng) -> Packet {
    let v6 = rng.percent(50);
    let src = match rng.below(30) {
        0 => impossible(v6, rng),
        _ => host(v6, CLIENT, rng.below(10) as u8 + 1),
    };
    let dst = host(v6, VIP, rng.below(4) as u8 + 1);
    let (sport, dport) = (1_024 + rng.below(40) as u16, *rng.pick(&PORTS));
    if rng.percent(35) {
        return Packet::between(src, dst, Udp::new(sport, dport).payload(&vec![1; rng.below(30)]));
    }
    let tcp = Tcp::syn(sport, dport).numbers(rng.bits() as u32, 0);
    Packet::between(src, dst, if rng.percent(80) { tcp } else { tcp.flags(rng.byte() & 0x3f) })
}

/// A source that can't be.
fn impossible(v6: bool, rng: &mut Rng) -> IpAddr {
    let of: [&str; 5] = if v6 {
        ["::", "::1", "ff02::1", "::ffff:10.1.0.1", "2001:db8:2::1"]
    } else {
        ["0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.2.0.1"]
    };
    crate::packet::address(rng.pick::<&str>(&of))
}

/// A packet to somebody else, or to one of our source-NAT addresses without a flow.
fn stray(rng: &mut Rng) -> Packet {
    let v6 = rng.percent(50);
    let src = host(v6, *rng.pick(&[CLIENT, BACKEND]), rng.below(10) as u8 + 1);
    let dst = match rng.below(8) {
        0 if v6 => crate::packet::address("::ffff:10.2.0.1"),
        1 | 2 => host(v6, SNAT, 1),
        _ => host(v6, STRANGER, rng.below(3) as u8),
    };
    Packet::between(src, dst, Tcp::syn(rng.bits() as u16, *rng.pick(&PORTS)))
}

/// An ICMP message or another protocol to a VIP.
fn message(rng: &mut Rng) -> Packet {
    let v6 = rng.percent(50);
    let (src, dst) = (host(v6, CLIENT, rng.below(10) as u8 + 1), host(v6, VIP, rng.below(4) as u8 + 1));
    let packet = match rng.below(4) {
        0 => Packet::between(src, dst, L4::Raw(*rng.pick(&[47, 50, 59, 132, 1, 58]), vec![0; 20])),
        1 => Packet::between(src, dst, Icmp::new(v6, rng.byte(), 0, vec![0; 24])),
        2 => Packet::between(src, dst, Icmp::new(v6, 133 + rng.below(6) as u8, 0, vec![0; 16])),
        _ => Packet::between(src, dst, Icmp::new(v6, if v6 { 128 } else { 8 }, 0, vec![0; 16])),
    };
    if rng.percent(50) { packet.ttl(255) } else { packet }
}

/// Bytes after a plausible ethertype.
fn noise(rng: &mut Rng) -> Vec<u8> {
    let body: Vec<u8> = (0..rng.below(90)).map(|_| rng.byte()).collect();
    let ethertype = *rng.pick(&[0x0800, 0x86dd, 0x8100, 0x88a8]);
    frame(ethertype, &body)
}
