//! Link and network headers: what passes, what is dropped at a VIP, what is steered all the same.

use proxy_common::Reason;

use super::Row;
use super::scene::{NETS, V4, V6, world};
use crate::engine::Verdict;
use crate::packet::{Extension, Icmp, L4, Packet, Tcp, Udp, arp, flags, frame};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("ARP and other ethertypes pass", world())
            .frame(arp([192, 0, 2, 1], [198, 51, 100, 10]), Reason::NonIp)
            .frame(frame(0x88cc, &[0; 46]), Reason::NonIp),
        Row::new("frames too short for addresses pass", world())
            .frame(V4.syn().build()[..33].to_vec(), Reason::Truncated)
            .frame(V6.syn().build()[..53].to_vec(), Reason::Truncated)
            .frame(V4.syn().tagged(&[5]).build()[..16].to_vec(), Reason::Truncated),
        Row::new("a third tag passes", world()).stops(&V4.syn().tagged(&[1, 2, 3]), Reason::VlanTooDeep),
        Row::new("IPv4 options are kept", world()).steers(
            &V4.syn().with(|p| p.ip.options = vec![1; 40]),
            Reason::Nat,
            Verdict::Tx,
            &V4.requested(&V4.syn().with(|p| p.ip.options = vec![1; 40])),
        ),
        Row::new("IPv4 header faults", world())
            .stops(&V4.syn().with(|p| p.ip.first_byte = Some(0x44)), Reason::MalformedIpv4)
            .stops(&V4.syn().with(|p| p.ip.first_byte = Some(0x65)), Reason::MalformedIpv4)
            .stops(&V4.syn().with(|p| p.ip.length_error = 1), Reason::MalformedIpv4)
            .stops(&V4.syn().with(|p| p.ip.length_error = -40), Reason::MalformedIpv4),
        Row::new("IPv6 header faults", world())
            .stops(&V6.syn().with(|p| p.ip.first_byte = Some(0x45)), Reason::MalformedIpv6)
            .stops(&V6.syn().with(|p| p.ip.length_error = 1), Reason::MalformedIpv6),
        Row::new("IPv4 fragments", world())
            .stops(&V4.syn().with(|p| p.ip.fragment = 0x2000), Reason::Fragment)
            .stops(&V4.syn().with(|p| p.ip.fragment = 0x00b9), Reason::Fragment)
            .stops(
                &Packet::new(V4.client, V4.stranger, Udp::new(1, 2)).with(|p| p.ip.fragment = 1),
                Reason::NotOurs,
            ),
        Row::new("IPv6 fragments", world())
            .stops(&chain(vec![Extension::fragment(0, true)]), Reason::Fragment)
            .stops(&chain(vec![Extension::options(0), Extension::fragment(185, false)]), Reason::Fragment),
        Row::new("a chain of IPv6 extension headers is followed", world()).steers(
            &chain(friendly()),
            Reason::Nat,
            Verdict::Tx,
            &V6.requested(&chain(friendly())),
        ),
        Row::new("IPv6 extension headers that are refused", world())
            .stops(&chain(vec![Extension::routing(1)]), Reason::ExtensionHeaders)
            .stops(&chain(vec![Extension::options(60); 7]), Reason::ExtensionHeaders)
            .stops(&chain(vec![]).with(|p| p.l4 = L4::Raw(59, vec![])), Reason::UnsupportedProtocol)
            .stops(&chain(vec![]).with(|p| p.l4 = L4::Raw(60, vec![])), Reason::MalformedIpv6),
        Row::new("an IPv6 packet to a mapped address is not ours", world())
            .stops(&Packet::new(V6.client, "::ffff:198.51.100.10", Tcp::syn(1, 80)), Reason::NotOurs),
        Row::new("neighbour discovery passes, but not from beyond the link", world())
            .stops(&solicitation().ttl(255), Reason::NeighbourDiscovery)
            .stops(&solicitation().ttl(254), Reason::UnsupportedIcmp),
    ];
    for net in NETS {
        rows.extend([
            Row::new("one and two tags are kept, on the way out too", world())
                .steers(
                    &net.syn().tagged(&[5]),
                    Reason::Nat,
                    Verdict::Tx,
                    &net.requested(&net.syn().tagged(&[5])),
                )
                .steers(
                    &net.syn().tagged(&[5, 6]),
                    Reason::Nat,
                    Verdict::Tx,
                    &net.requested(&net.syn().tagged(&[5, 6])),
                ),
            Row::new("a tag does not cross interfaces", world())
                .stops(&net.direct(Tcp::syn(1, 80)).tagged(&[5]), Reason::VlanAcross),
            Row::new("TTL would reach 0", world())
                .stops(&net.syn().ttl(1), Reason::TtlExceeded)
                .stops(&net.direct(Tcp::syn(1, 80)).ttl(0), Reason::TtlExceeded),
            Row::new("TCP and UDP headers that are wrong", world())
                .stops(&net.request(L4::Raw(6, vec![0; 19])), Reason::MalformedL4)
                .stops(&net.syn().with(|p| p.tcp().words = Some(4)), Reason::MalformedL4)
                .stops(&net.syn().with(|p| p.tcp().words = Some(15)), Reason::MalformedL4)
                .stops(&net.datagram().with(|p| p.udp().length_error = 1), Reason::MalformedL4)
                .stops(&net.datagram().with(|p| p.udp().length_error = -9), Reason::MalformedL4)
                .stops(&net.request(L4::Raw(17, vec![0; 7])), Reason::MalformedL4)
                .stops(&net.request(L4::Raw(if net.v6 { 58 } else { 1 }, vec![8; 7])), Reason::MalformedL4),
            Row::new("TCP flags that no stack sends", world())
                .stops(&net.request(Tcp::new(1, 80).flags(0)), Reason::MalformedTcpFlags)
                .stops(
                    &net.request(Tcp::new(1, 80).flags(flags::SYN | flags::FIN)),
                    Reason::MalformedTcpFlags,
                )
                .stops(
                    &net.request(Tcp::new(1, 80).flags(flags::SYN | flags::RST)),
                    Reason::MalformedTcpFlags,
                ),
            Row::new("padding after the packet is left alone", world()).steers(
                &net.syn().with(|p| p.padding = vec![0xaa; 9]),
                Reason::Nat,
                Verdict::Tx,
                &net.requested(&net.syn().with(|p| p.padding = vec![0xaa; 9])),
            ),
            Row::new("a wrong checksum stays wrong, by as much", world()).steers(
                &net.syn().with(|p| p.tcp().checksum_error = 1),
                Reason::Nat,
                Verdict::Tx,
                &net.requested(&net.syn().with(|p| p.tcp().checksum_error = 1)),
            ),
            Row::new("faults of packets to others are nobody's business", world())
                .stops(&Packet::new(net.client, net.stranger, Tcp::new(1, 80).flags(0)), Reason::NotOurs)
                .stops(&Packet::new(net.client, net.stranger, Tcp::syn(1, 80)).ttl(1), Reason::NotOurs),
        ]);
    }
    rows
}

fn chain(extensions: Vec<Extension>) -> Packet {
    V6.syn().with(|p| p.ip.extensions = extensions)
}

fn friendly() -> Vec<Extension> {
    vec![
        Extension::options(0),
        Extension::options(60),
        Extension::routing(0),
        Extension::fragment(0, false),
        Extension::authentication(),
        Extension::options(60),
    ]
}

fn solicitation() -> Packet {
    Packet::new(V6.client, V6.nat_vip, Icmp::neighbour_solicitation(V6.nat_vip))
}
