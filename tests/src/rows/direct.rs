//! Direct server return, and ring slots whose owner has changed.

use std::collections::BTreeMap;

use proxy_common::{BackendState, FlowKey, Port, Reason, limits, proto};

use super::Row;
use super::scene::{NETS, Net, backends, world};
use crate::engine::Verdict;
use crate::packet::{Icmp, Packet, Tcp, Udp, address, flags};
use crate::world::{LONG, World, mapped};

pub(super) fn rows() -> Vec<Row> {
    NETS.into_iter().flat_map(of).collect()
}

fn of(net: Net) -> Vec<Row> {
    let (before, now) = ([0, 0x0b], [9, 0x0b]);
    let out =
        |packet: &Packet, mac: [u8; 2]| net.directed(packet).with(|p| p.dst_mac[4..].copy_from_slice(&mac));
    let syn = net.direct(Tcp::syn(1, 80));
    let data = net.direct(Tcp::new(1, 80).flags(flags::ACK | flags::PSH).payload(b"x"));
    let other = net.direct(Tcp::new(2, 80));
    let datagram = net.direct(Udp::new(3, 53).payload(b"x"));
    let unsummed = net.direct(Udp::new(3, 53).payload(b"x").unsummed());
    let error = Packet::new(
        net.router,
        net.dsr_vip,
        Icmp::too_big(&Packet::new(net.dsr_vip, net.client, Tcp::new(80, 1)), 1_400),
    );
    let steer = |row: Row, packet: &Packet, mac| {
        row.steers(packet, Reason::DsrL2, Verdict::Redirect, &out(packet, mac))
    };
    let row = |name, world| Row::new(name, world);
    vec![
        [&syn, &data, &datagram, &unsummed, &error]
            .into_iter()
            .fold(row("MAC addresses and TTL only", world()), |row, packet| steer(row, packet, before)),
        row("out of the interface it came in by", world()).steers_from(
            2,
            &syn.clone().tagged(&[5]),
            Reason::DsrL2,
            Verdict::Tx,
            &net.directed(&syn.clone().tagged(&[5])),
        ),
        row("a large frame in several buffers", world().with(|w| backends(w, |b| b.mtu = 9_000))).steers(
            &net.direct(Udp::new(3, 53).payload(&[7; 8_000])),
            Reason::DsrL2,
            Verdict::Redirect,
            &net.directed(&net.direct(Udp::new(3, 53).payload(&[7; 8_000]))),
        ),
        // A slot that has changed: the flow seen from its SYN on goes to the new owner, all others stay.
        [(&data, before), (&syn, now), (&data, now), (&other, before), (&error, now), (&datagram, before)]
            .into_iter()
            .fold(row("a changed slot", changed(0)), |row, (packet, mac)| steer(row, packet, mac)),
        [(&datagram, now), (&datagram, now)].into_iter().fold(
            row("a slot changed so long ago that UDP flows are new", changed(LONG + 1)),
            |row, (packet, mac)| steer(row, packet, mac),
        ),
        steer(
            steer(
                row("no budget for the memory of flows", changed(0).with(|w| w.config.cache_budget = 0)),
                &syn,
                before,
            ),
            &data,
            before,
        ),
        full_line(net, "a full line of the memory takes no other flow", None, before),
        full_line(net, "an entry too old makes room", Some(256 * 11), now),
        steer(
            row(
                "the previous owner is gone",
                changed(0).with(|w| {
                    w.backends.get_mut(&previous(net)).expect("there").state = BackendState::Down as u8;
                }),
            ),
            &data,
            now,
        ),
        steer(
            row(
                "the new owner is down",
                changed(0).with(|w| {
                    w.backends.range_mut(20..).for_each(|(_, b)| b.state = BackendState::Down as u8);
                }),
            ),
            &syn,
            before,
        ),
        steer(
            steer(
                row(
                    "a draining backend still takes what the ring sends",
                    world().with(|w| {
                        backends(w, |b| b.state = BackendState::Draining as u8);
                    }),
                ),
                &syn,
                before,
            ),
            &data,
            before,
        ),
    ]
}

/// Nine flows of one line of eight places: the ninth finds none, unless the others have aged for so long.
fn full_line(net: Net, name: &'static str, wait: Option<u32>, ninth: [u8; 2]) -> Row {
    let world = changed(0).with(|w| w.config.cache_ticks = if wait.is_some() { 256 * 10 } else { LONG });
    let syns: Vec<Packet> =
        one_line(net, world.config.secret).iter().map(|port| net.direct(Tcp::syn(*port, 80))).collect();
    let steer = |row: Row, syn: &Packet, mac: [u8; 2]| {
        let out = net.directed(syn).with(|p| p.dst_mac[4..].copy_from_slice(&mac));
        row.steers(syn, Reason::DsrL2, Verdict::Redirect, &out)
    };
    let row = syns[..8].iter().fold(Row::new(name, world), |row, syn| steer(row, syn, [9, 0x0b]));
    let row = match wait {
        Some(ticks) => row.wait(ticks),
        None => row,
    };
    let row = steer(row, &syns[8], ninth);
    // The first one's place is still its own, or the ninth's.
    let data = syns[0].clone().with(|p| p.tcp().flags = flags::ACK);
    steer(row, &data, if wait.is_some() { [0, 0x0b] } else { [9, 0x0b] })
}

/// Nine ports of the client whose flows share a line.
fn one_line(net: Net, secret: u64) -> Vec<u16> {
    let mut lines: BTreeMap<u64, Vec<u16>> = BTreeMap::new();
    for port in 1..=u16::MAX {
        let key = FlowKey::new(
            mapped(address(net.client)),
            mapped(address(net.dsr_vip)),
            Port::new(port),
            Port::new(80),
            proto::TCP,
        );
        let line = proxy_ebpf::hash::secret_hash(secret, &key) & u64::from(limits::CACHE_LINES - 1);
        let ports = lines.entry(line).or_default();
        ports.push(port);
        if ports.len() == 9 {
            return ports.clone();
        }
    }
    panic!("four ports share a line on average, and none is shared by nine");
}

/// The direct services' ring slots have gone from their backend to another, so many ticks ago.
fn changed(ago: u32) -> World {
    world().with(|w| {
        for service in w.services.iter_mut().filter(|s| s.mode == proxy_common::Mode::DsrL2) {
            let (old, new) = (service.id, if service.proto == proto::TCP { 20 } else { 21 });
            let slot = new + if service.addr.is_ipv6() { 10 } else { 0 };
            let mut backend = w.backends[&old];
            backend.dst_mac[4] = 9;
            w.backends.insert(slot, backend);
            service.ring.iter_mut().for_each(|owners| *owners = (slot, old));
            service.changed_ago = ago;
        }
    })
}

/// Slot of the direct TCP service's backend.
fn previous(net: Net) -> u16 {
    if net.v6 { 7 } else { 3 }
}
