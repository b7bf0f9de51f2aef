//! The source ACL: order, scope, defaults, and what is never subject to it.

use ipnet::IpNet;
use proxy_common::{Reason, config_flag};

use super::Row;
use super::scene::{NETS, Net, V6, world};
use crate::engine::Verdict;
use crate::packet::{Icmp, Packet, Tcp, Udp, arp, flags};
use crate::world::{List, World};

pub(super) fn rows() -> Vec<Row> {
    NETS.into_iter().flat_map(of).collect()
}

fn of(net: Net) -> Vec<Row> {
    let to_other = Packet::new(net.client, net.stranger, Tcp::syn(1, 22));
    let synack = net.answer(Tcp::new(8_080, 30_000).flags(flags::SYN | flags::ACK).numbers(9, 1));
    vec![
        Row::new(
            "a drop list acts on everything",
            world().with(|w| w.lists = vec![list(true, false, &[net.client])]),
        )
        .stops(&net.syn(), Reason::AclDrop)
        .stops(&net.direct(Tcp::syn(1, 80)), Reason::AclDrop)
        .stops(&to_other, Reason::AclDrop)
        .stops(
            &to_other.clone().with(|p| p.ip.first_byte = Some(if net.v6 { 0x60 } else { 0x4f })),
            Reason::AclDrop,
        ),
        Row::new(
            "a drop list of scope services acts on VIPs only",
            world().with(|w| w.lists = vec![list(true, true, &[net.client])]),
        )
        .stops(&net.syn(), Reason::AclDrop)
        .stops(&Packet::new(net.client, net.dsr_vip, Icmp::echo(net.dsr_vip, 1, 1)), Reason::AclDrop)
        .stops(&to_other, Reason::NotOurs),
        Row::new(
            "the first list that matches wins, not the longest prefix",
            world()
                .with(|w| w.lists = vec![list(false, false, &[all(net)]), list(true, false, &[net.client])]),
        )
        .stops(&to_other, Reason::NotOurs)
        .steers(&net.syn(), Reason::Nat, Verdict::Tx, &net.requested(&net.syn())),
        Row::new(
            "a list of scope services and another of all: each VIP packet counts under the first",
            world().with(|w| {
                w.lists = vec![list(true, true, &[net.client]), list(true, false, &[net.client])];
            }),
        )
        .stops(&net.direct(Tcp::syn(1, 80)), Reason::AclDrop)
        .stops(&net.syn(), Reason::AclDrop)
        .stops(&to_other, Reason::AclDrop),
        Row::new(
            "the other table can be in force",
            world().with(|w| {
                w.config.acl_table = 1;
                w.lists = vec![list(true, false, &[net.client])];
            }),
        )
        .stops(&to_other, Reason::AclDrop),
        Row::new("default drop acts on VIPs only", defaults(config_flag::SERVICE_DEFAULT_DROP))
            .stops(&net.syn(), Reason::AclDefaultDrop)
            .stops(&to_other, Reason::NotOurs),
        Row::new("default drop of the interface", defaults(config_flag::TRAFFIC_DEFAULT_DROP))
            .stops(&to_other, Reason::AclDefaultDrop)
            .steers(&net.syn(), Reason::Nat, Verdict::Tx, &net.requested(&net.syn())),
        Row::new(
            "management is above every list and default",
            defaults(3 * config_flag::SERVICE_DEFAULT_DROP).with(|w| {
                w.management = vec![prefix(net.client)];
                w.lists = vec![list(true, false, &[all(net)])];
            }),
        )
        .stops(&to_other, Reason::NotOurs)
        .stops(&Packet::new(net.router, net.stranger, Tcp::syn(1, 22)), Reason::AclDrop),
        Row::new(
            "answers of our flows are not subject to any list or default",
            defaults(3 * config_flag::SERVICE_DEFAULT_DROP).with(|w| {
                w.lists = vec![list(true, false, &[net.backend]), list(false, false, &[net.client])];
            }),
        )
        .steers(&net.syn(), Reason::Nat, Verdict::Tx, &net.requested(&net.syn()))
        .steers(&synack, Reason::NatReply, Verdict::Tx, &net.answered(&synack))
        .stops(&net.answer(Tcp::new(8_080, 30_001)), Reason::AclDrop)
        .stops(&net.answer(Udp::new(8_080, 30_000)), Reason::AclDrop),
        Row::new("a source denied later loses its flow", world())
            .steers(&net.syn(), Reason::Nat, Verdict::Tx, &net.requested(&net.syn()))
            .set(world().with(|w| w.lists = vec![list(true, false, &[net.client])]))
            .stops(&net.request(Tcp::new(40_000, 80)), Reason::AclDrop),
        Row::new(
            "ARP and neighbour discovery are never subject",
            defaults(3 * config_flag::SERVICE_DEFAULT_DROP).with(|w| {
                w.lists = vec![list(true, false, &[all(net)])];
            }),
        )
        .frame(arp([192, 0, 2, 1], [198, 51, 100, 10]), Reason::NonIp)
        .stops(
            &Packet::new(V6.client, V6.stranger, Icmp::neighbour_solicitation(V6.stranger)).ttl(255),
            Reason::NeighbourDiscovery,
        ),
    ]
}

fn defaults(flags: u32) -> World {
    world().with(|w| w.config.flags |= flags)
}

fn list(drop: bool, services_only: bool, prefixes: &[&str]) -> List {
    List { drop, services_only, prefixes: prefixes.iter().map(|text| prefix(text)).collect() }
}

/// A prefix, or a single address.
fn prefix(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| IpNet::from(crate::packet::address(text)))
}

/// Every address of the family.
fn all(net: Net) -> &'static str {
    if net.v6 { "::/0" } else { "0.0.0.0/0" }
}
