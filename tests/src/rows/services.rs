//! From the destination to a service and a backend.

use proxy_common::{BackendState, Mode, Reason, proto};

use super::Row;
use super::scene::{NETS, Net, backends, service, world};
use crate::engine::Verdict;
use crate::packet::{Icmp, L4, Packet, Tcp, Udp, address};

pub(super) fn rows() -> Vec<Row> {
    NETS.into_iter().flat_map(of).collect()
}

fn of(net: Net) -> Vec<Row> {
    let tcp = net.direct(Tcp::syn(1, 80));
    let ssh = net.direct(Tcp::syn(1, 22));
    let vip = address(net.dsr_vip);
    let any = |proto, slot| service(vip, 0, proto, Mode::DsrL2, slot);
    vec![
        Row::new("packets to others pass untouched", world())
            .stops(&Packet::new(net.client, net.stranger, Tcp::syn(1, 80)), Reason::NotOurs)
            .stops(&Packet::new(net.client, net.snat, Tcp::syn(1, 30_000)), Reason::NotOurs)
            .stops(&Packet::new(net.client, net.stranger, Icmp::echo(net.stranger, 1, 1)), Reason::NotOurs),
        Row::new("echo to a VIP passes", world())
            .stops(&Packet::new(net.client, net.dsr_vip, Icmp::echo(net.dsr_vip, 1, 1)), Reason::VipEcho)
            .stops(&Packet::new(net.client, net.nat_vip, Icmp::echo(net.nat_vip, 1, 1)), Reason::VipEcho),
        Row::new("other ICMP messages to a VIP", world()).stops(
            &Packet::new(
                net.client,
                net.dsr_vip,
                Icmp::new(net.v6, if net.v6 { 139 } else { 13 }, 0, vec![0; 8]),
            ),
            Reason::UnsupportedIcmp,
        ),
        Row::new("other protocols to a VIP", world())
            .stops(&net.direct(L4::Raw(132, vec![0; 12])), Reason::UnsupportedProtocol)
            // The other family's ICMP.
            .stops(
                &net.direct(L4::Raw(if net.v6 { 1 } else { 58 }, vec![0; 12])),
                Reason::UnsupportedProtocol,
            ),
        Row::new("a VIP's port without a service", world())
            .stops(&ssh, Reason::UnknownPort)
            .stops(&net.direct(Udp::new(1, 80)), Reason::UnknownPort)
            .stops(&net.request(Tcp::new(1, 53)), Reason::UnknownPort),
        Row::new(
            "the same, where it may pass",
            world().with(|w| {
                w.vips.iter_mut().for_each(|vip| vip.unknown_port_pass = true);
            }),
        )
        .stops(&ssh, Reason::UnknownPortPass)
        .stops(&ssh.clone().with(|p| p.ip.fragment = 1).with(|p| p.tcp().flags = 0), {
            if net.v6 { Reason::MalformedTcpFlags } else { Reason::Fragment }
        }),
        Row::new(
            "port 0 is every port without its own service",
            world().with(|w| {
                let (first, second) = (w.services[0].id, w.services[1].id);
                w.services.retain(|s| s.addr != vip);
                w.services.push(any(proto::TCP, first));
                w.services.push(service(vip, 80, proto::TCP, Mode::DsrL2, second));
                backends(w, |b| b.ifindex = 2);
                for (slot, backend) in &mut w.backends {
                    (backend.service, backend.dst_mac[3]) = (*slot, *slot as u8);
                }
            }),
        )
        .steers(&ssh, Reason::DsrL2, Verdict::Redirect, &net.directed(&ssh).with(|p| p.dst_mac[3] = 1))
        .steers(
            &tcp,
            Reason::DsrL2,
            Verdict::Redirect,
            &net.directed(&tcp).with(|p| p.dst_mac[3] = 2),
        ),
        Row::new(
            "port 0 by NAT keeps the packet's port",
            world().with(|w| {
                for service in &mut w.services {
                    service.port = if service.proto == proto::TCP { 0 } else { service.port };
                }
                backends(w, |b| b.port = proxy_common::Port::new(0));
            }),
        )
        .steers(
            &net.request(Tcp::syn(40_000, 2_222)),
            Reason::Nat,
            Verdict::Tx,
            &net.requested(&net.request(Tcp::syn(40_000, 2_222))).with(|p| p.tcp().dport = 2_222),
        ),
        Row::new("sources that can't be", world()).stops_all(
            martians(net).iter().map(|src| Packet::new(src, net.dsr_vip, Tcp::syn(1, 80))),
            Reason::MartianSource,
        ),
        Row::new("such sources are nobody's business elsewhere", world()).stops_all(
            martians(net).iter().map(|src| Packet::new(src, net.stranger, Tcp::syn(1, 80))),
            Reason::NotOurs,
        ),
        Row::new(
            "a service without a ring",
            world().with(|w| w.services.iter_mut().for_each(|s| s.ring.clear())),
        )
        .stops(&net.syn(), Reason::NoBackend)
        .stops(&tcp, Reason::NoBackend),
        Row::new(
            "no backend that is up",
            world().with(|w| backends(w, |b| b.state = BackendState::Down as u8)),
        )
        .stops(&net.syn(), Reason::NoBackend)
        .stops(&tcp, Reason::NoBackend),
        Row::new(
            "a ring slot that another service's backend has taken",
            world().with(|w| backends(w, |b| b.service = 77)),
        )
        .stops(&net.syn(), Reason::NoBackend)
        .stops(&tcp, Reason::NoBackend),
        Row::new("a next hop without a MAC address", world().with(|w| backends(w, |b| b.flags = 0)))
            .stops(&net.syn(), Reason::NeighbourUnresolved)
            .stops(&tcp, Reason::NeighbourUnresolved),
        Row::new("larger than the way to the backend", world().with(|w| backends(w, |b| b.mtu = 70)))
            .stops(&net.direct(Udp::new(1, 53).payload(&[0; 43])), Reason::TooBig)
            .stops(&net.request(Udp::new(1, 53).payload(&[0; 43])), Reason::TooBig),
        Row::new(
            "a mode that the object does not know",
            world().with(|w| {
                w.services.iter_mut().for_each(|s| s.unknown_mode = true);
            }),
        )
        .stops(&tcp, Reason::HelperFailed)
        .stops(&net.syn(), Reason::HelperFailed),
    ]
}

fn martians(net: Net) -> Vec<&'static str> {
    if net.v6 {
        vec!["::", "::1", "ff02::1", "::ffff:192.0.2.1", net.dsr_vip]
    } else {
        vec!["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", net.dsr_vip]
    }
}
