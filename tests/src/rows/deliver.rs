//! Services of mode `l7`: to the host as they came.

use proxy_common::{Mode, Reason, proto};

use super::Row;
use super::scene::{NETS, Net, service, world};
use crate::engine::Verdict;
use crate::packet::{Icmp, Packet, Tcp, Udp, address, flags};
use crate::world::{List, World};

pub(super) fn rows() -> Vec<Row> {
    NETS.into_iter().flat_map(of).collect()
}

fn of(net: Net) -> Vec<Row> {
    let vip = address(net.dsr_vip);
    let syn = net.direct(Tcp::syn(1, 80));
    let data = net.direct(Tcp::new(1, 80).flags(flags::ACK).payload(b"request"));
    let answer = Packet::new(net.dsr_vip, net.client, Tcp::new(80, 1).payload(b"answer"));
    let error = |icmp| Packet::new(net.router, net.dsr_vip, icmp);
    vec![
        Row::new("packets of an l7 service go to the host as they came", l7(net))
            .stops(&syn, Reason::Deliver)
            .stops(&data, Reason::Deliver)
            .stops(&data.clone().with(|p| p.tcp().flags = flags::RST), Reason::Deliver)
            // The host is where they end: there is no next hop that would need a TTL.
            .stops(&syn.clone().ttl(1), Reason::Deliver)
            .stops(&syn.clone().tagged(&[7]), Reason::Deliver),
        Row::new("so do ICMP errors about its connections", l7(net))
            .stops(&error(Icmp::too_big(&answer, 1_280)), Reason::Deliver)
            .stops(&error(Icmp::unreachable(&answer, 1)), Reason::Deliver)
            .stops(
                &error(Icmp::unreachable(
                    &Packet::new(net.dsr_vip, net.client, Tcp::new(22, 1).payload(b"answer")),
                    1,
                )),
                Reason::UnsupportedIcmp,
            ),
        Row::new("a denied source gets nothing of it", l7(net).with(|w| deny(w, net.client)))
            .stops(&syn, Reason::AclDrop)
            .stops(&data, Reason::AclDrop)
            .stops(&Packet::new(net.router, net.dsr_vip, Tcp::syn(1, 80)), Reason::Deliver),
        Row::new("what no VIP takes, an l7 service does not take either", l7(net))
            .stops(&Packet::new(net.dsr_vip, net.dsr_vip, Tcp::syn(1, 80)), Reason::MartianSource)
            .stops(&syn.clone().with(|p| p.tcp().flags = 0), Reason::MalformedTcpFlags),
        Row::new("its VIP's other ports are unknown", l7(net))
            .stops(&net.direct(Tcp::syn(1, 22)), Reason::UnknownPort)
            .stops(&net.direct(Udp::new(1, 80)), Reason::UnknownPort)
            .stops(&net.direct(Icmp::echo(net.dsr_vip, 1, 1)), Reason::VipEcho),
        Row::new(
            "the same, where they may pass",
            l7(net).with(|w| w.vips.iter_mut().for_each(|vip| vip.unknown_port_pass = true)),
        )
        .stops(&net.direct(Tcp::syn(1, 22)), Reason::UnknownPortPass),
        Row::new(
            "port 0 takes every port",
            l7(net).with(|w| w.services.iter_mut().filter(|s| s.addr == vip).for_each(|s| s.port = 0)),
        )
        .stops(&net.direct(Tcp::syn(1, 22)), Reason::Deliver)
        .stops(&syn, Reason::Deliver),
        Row::new(
            "an l7 service and a nat service on one VIP",
            l7(net).with(|w| {
                let mut nat = service(vip, 443, proto::TCP, Mode::Nat, 1);
                nat.id = w.services[0].id;
                nat.ring = vec![(nat.id, nat.id); 5];
                w.services.push(nat);
                w.services.retain(|s| s.addr == vip);
                for backend in w.backends.values_mut() {
                    (backend.snat_first, backend.snat_count) = (u16::from(net.v6), 1);
                    backend.addr = crate::world::mapped(address(net.backend));
                }
            }),
        )
        .stops(&syn, Reason::Deliver)
        .steers(
            &net.direct(Tcp::syn(super::scene::CLIENT_PORT, 443)),
            Reason::Nat,
            Verdict::Tx,
            &net.requested(&net.direct(Tcp::syn(super::scene::CLIENT_PORT, 443))),
        )
        .stops(&data, Reason::Deliver),
    ]
}

/// The direct VIP's TCP service becomes an `l7` one, without ring or backends; its UDP service goes.
fn l7(net: Net) -> World {
    let vip = address(net.dsr_vip);
    world().with(|w| {
        w.services.retain(|s| s.addr != vip || s.proto == proto::TCP);
        for service in w.services.iter_mut().filter(|s| s.addr == vip) {
            (service.mode, service.ring) = (Mode::L7, Vec::new());
        }
    })
}

fn deny(world: &mut World, source: &str) {
    let prefix = address(source).into();
    world.lists.push(List { drop: true, services_only: true, prefixes: vec![prefix] });
}
