//! ICMP errors about flows, translated in both directions.

use proxy_common::Reason;

use super::Row;
use super::scene::{CLIENT_PORT, NETS, Net, SNAT_PORT, world};
use crate::engine::Verdict;
use crate::packet::{CLIENT_MAC, Icmp, L4, Packet, Tcp, Udp, WEIR_MAC, address};
use crate::world::{BACKEND_MAC, EGRESS_MAC};

pub(super) fn rows() -> Vec<Row> {
    NETS.into_iter().flat_map(of).collect()
}

fn of(net: Net) -> Vec<Row> {
    // What the backend's side sees of the flows, and what the client's side sees.
    let inside = Packet::new(net.snat, net.backend, Tcp::new(SNAT_PORT, 8_080).payload(b"request")).ttl(60);
    let outside = Packet::new(net.client, net.nat_vip, Tcp::new(CLIENT_PORT, 80).payload(b"request")).ttl(60);
    let answer = Packet::new(net.nat_vip, net.client, Tcp::new(80, CLIENT_PORT).payload(b"answer")).ttl(50);
    let answer_inside =
        Packet::new(net.backend, net.snat, Tcp::new(8_080, SNAT_PORT).payload(b"answer")).ttl(50);
    let udp_inside = Packet::new(net.snat, net.backend, Udp::new(SNAT_PORT, 53).payload(b"question"));
    let udp_outside = Packet::new(net.client, net.nat_vip, Udp::new(CLIENT_PORT, 53).payload(b"question"));
    let header = if net.v6 { 40 } else { 20 };
    let begun = |name| {
        Row::new(name, world())
            .steers(&net.syn(), Reason::Nat, Verdict::Tx, &net.requested(&net.syn()))
            .steers(&net.datagram(), Reason::Nat, Verdict::Tx, &net.requested(&net.datagram()))
    };
    // From a router or the backend to the source-NAT address, as it comes in, and as the client sees it.
    let to_client = |row: Row, from: &str, icmp: Icmp, after: Icmp| {
        let arrives = Packet::new(from, net.snat, icmp).with(|p| p.src_mac = BACKEND_MAC);
        let leaves = Packet::new(net.nat_vip, net.client, after).ttl(63).with(|p| {
            (p.dst_mac, p.src_mac) = (CLIENT_MAC, WEIR_MAC);
        });
        row.steers(&arrives, Reason::NatIcmp, Verdict::Tx, &leaves)
    };
    // From a router or the client to the VIP, and as the backend sees it.
    let to_backend = |row: Row, icmp: Icmp, after: Icmp| {
        let arrives = Packet::new(net.router, net.nat_vip, icmp);
        let leaves = Packet::new(net.snat, net.backend, after).ttl(63).with(|p| {
            (p.dst_mac, p.src_mac) = (BACKEND_MAC, EGRESS_MAC);
        });
        row.steers(&arrives, Reason::NatIcmp, Verdict::Tx, &leaves)
    };
    let full: [fn(&Packet) -> Icmp; 3] =
        [|p| Icmp::unreachable(p, 1), |p| Icmp::too_big(p, 1_280), Icmp::time_exceeded];
    let mut rows = vec![
        full.iter().fold(begun("errors about the client's packets"), |row, error| {
            let row = to_client(row, net.router, error(&inside), error(&outside));
            let row = to_client(row, net.backend, error(&udp_inside), error(&udp_outside));
            // RFC 792 asks for no more than eight bytes of the quoted segment.
            to_client(row, net.router, error(&inside).quoted(header + 8), error(&outside).quoted(header + 8))
        }),
        full.iter().fold(begun("errors about the backend's packets"), |row, error| {
            let row = to_backend(row, error(&answer), error(&answer_inside));
            to_backend(row, error(&answer).quoted(header + 8), error(&answer_inside).quoted(header + 8))
        }),
        begun("errors that quote too little, another sender's packet or no flow's")
            .stops(&at_vip(net, Icmp::unreachable(&answer, 1).quoted(header + 7)), Reason::UnsupportedIcmp)
            .stops(&at_vip(net, Icmp::unreachable(&answer, 1).quoted(header - 1)), Reason::UnsupportedIcmp)
            .stops(&at_vip(net, Icmp::unreachable(&outside, 1)), Reason::UnsupportedIcmp)
            .stops(&at_vip(net, Icmp::unreachable(&answer.clone().with(|p| p.tcp().sport = 81), 1)), {
                Reason::UnsupportedIcmp
            })
            .stops(
                &at_vip(
                    net,
                    Icmp::unreachable(&answer.clone().with(|p| p.l4 = L4::Raw(132, vec![0; 12])), 1),
                ),
                Reason::UnsupportedIcmp,
            ),
        begun("padding is not part of the quote").stops(
            &at_vip(net, Icmp::unreachable(&answer, 1).quoted(header))
                .with(|p| p.padding = vec![0, 80, 0x9c, 0x40, 0, 0, 0, 0]),
            Reason::UnsupportedIcmp,
        ),
        {
            let icmp = |about: &Packet| Icmp::unreachable(about, 1).quoted(header + 8);
            let arrives = at_vip(net, icmp(&answer)).with(|p| p.padding = vec![0x55; 20]);
            let leaves = Packet::new(net.snat, net.backend, icmp(&answer_inside)).ttl(63).with(|p| {
                (p.dst_mac, p.src_mac) = (BACKEND_MAC, EGRESS_MAC);
                p.padding = vec![0x55; 20];
            });
            begun("padding after a short quote stays").steers(&arrives, Reason::NatIcmp, Verdict::Tx, &leaves)
        },
        begun("TTL of an error")
            .stops(&at_vip(net, Icmp::unreachable(&answer, 1)).ttl(1), Reason::TtlExceeded),
        begun("an error to a source-NAT address about no flow is the host's").stops(
            &Packet::new(
                net.router,
                net.snat,
                Icmp::unreachable(&inside.clone().with(|p| p.tcp().sport = 9), 1),
            ),
            Reason::NotOurs,
        ),
    ];
    if !net.v6 {
        let quoted_fragment = inside.clone().with(|p| p.ip.fragment = 0x00b9);
        rows.push(begun("a quoted fragment that is not the first").stops(
            &Packet::new(net.router, net.snat, Icmp::time_exceeded(&quoted_fragment)),
            Reason::NotOurs,
        ));
        let options = |p: &Packet| Icmp::too_big(&p.clone().with(|p| p.ip.options = vec![1; 8]), 1_280);
        rows.push(to_client(
            begun("IPv4 options in the quote"),
            net.router,
            options(&inside),
            options(&outside),
        ));
        let unsummed = |about: &Packet| Icmp::unreachable(&about.clone().with(|p| p.udp().summed = false), 3);
        rows.push(to_client(
            begun("a quoted datagram without a checksum"),
            net.backend,
            unsummed(&udp_inside),
            unsummed(&udp_outside),
        ));
    }
    rows
}

/// An error from a router to the NAT VIP.
fn at_vip(net: Net, icmp: Icmp) -> Packet {
    let packet = Packet::new(net.router, net.nat_vip, icmp);
    assert_eq!(packet.ip.dst, address(net.nat_vip));
    packet
}
