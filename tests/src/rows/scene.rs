//! The settings that most rows begin with: in each family a NAT VIP and a `dsr-l2` VIP, each with one backend, and one
//! source-NAT address with a single port, so that what leaves can be written down.

use std::net::IpAddr;

use proxy_common::{BackendValue, Mode, SnatValue, proto};

use crate::packet::{CLIENT_MAC, L4, Packet, Tcp, Udp, WEIR_MAC, address};
use crate::world::{BACKEND_MAC, EGRESS_MAC, Service, Vip, World, backend, mapped};

/// Addresses of one family.
#[derive(Clone, Copy)]
pub(super) struct Net {
    pub(super) v6: bool,
    pub(super) client: &'static str,
    pub(super) nat_vip: &'static str,
    pub(super) dsr_vip: &'static str,
    pub(super) backend: &'static str,
    pub(super) snat: &'static str,
    pub(super) router: &'static str,
    pub(super) stranger: &'static str,
}

/// IPv4.
pub(super) const V4: Net = Net {
    v6: false,
    client: "192.0.2.1",
    nat_vip: "198.51.100.10",
    dsr_vip: "198.51.100.20",
    backend: "10.0.0.11",
    snat: "203.0.113.1",
    router: "10.9.9.9",
    stranger: "198.51.100.99",
};

/// IPv6.
pub(super) const V6: Net = Net {
    v6: true,
    client: "2001:db8:c::1",
    nat_vip: "2001:db8:f::10",
    dsr_vip: "2001:db8:f::20",
    backend: "2001:db8:b::11",
    snat: "2001:db8:a::1",
    router: "2001:db8:9::9",
    stranger: "2001:db8:f::99",
};

/// Both.
pub(super) const NETS: [Net; 2] = [V4, V6];

/// The one source-NAT port.
pub(super) const SNAT_PORT: u16 = 30_000;
/// The client's port.
pub(super) const CLIENT_PORT: u16 = 40_000;

/// The settings. NAT services lead back out of interface 1, direct ones out of interface 2. In each mode: TCP 80
/// (backend port 8080 by NAT) and UDP 53.
pub(super) fn world() -> World {
    let mut world = World::empty();
    for (number, net) in (0..).zip(NETS) {
        world.snat.push(SnatValue {
            addr: mapped(address(net.snat)),
            port_min: SNAT_PORT,
            port_max: SNAT_PORT,
            ..SnatValue::default()
        });
        for (vip, mode, ifindex) in [(net.nat_vip, Mode::Nat, 1), (net.dsr_vip, Mode::DsrL2, 2)] {
            let addr = address(vip);
            world.vips.push(Vip { addr, unknown_port_pass: false });
            for (port, proto) in [(80, proto::TCP), (53, proto::UDP)] {
                let slot = world.backends.len() as u16 + 1;
                let to = if port == 80 && mode == Mode::Nat { 8_080 } else { port };
                world.backends.insert(slot, backend(address(net.backend), to, slot, ifindex, (number, 1)));
                world.services.push(service(addr, port, proto, mode, slot));
            }
        }
    }
    world
}

/// A service whose id is its only backend's slot.
pub(super) fn service(addr: IpAddr, port: u16, proto: u8, mode: Mode, slot: u16) -> Service {
    Service {
        addr,
        port,
        proto,
        mode,
        unknown_mode: false,
        id: slot,
        syn_budget: 100,
        changed_ago: 0,
        ring: vec![(slot, slot); 5],
    }
}

/// Changes every backend.
pub(super) fn backends(world: &mut World, change: impl Fn(&mut BackendValue)) {
    world.backends.values_mut().for_each(change);
}

impl Net {
    /// From the client to the NAT VIP, as it comes in.
    pub(super) fn request(self, l4: impl Into<L4>) -> Packet {
        Packet::new(self.client, self.nat_vip, l4)
    }

    /// The client's SYN to TCP 80 of the NAT VIP.
    pub(super) fn syn(self) -> Packet {
        self.request(Tcp::syn(CLIENT_PORT, 80))
    }

    /// The client's datagram to UDP 53 of the NAT VIP.
    pub(super) fn datagram(self) -> Packet {
        self.request(Udp::new(CLIENT_PORT, 53).payload(b"question"))
    }

    /// From the backend to the source-NAT address, as it comes in.
    pub(super) fn answer(self, l4: impl Into<L4>) -> Packet {
        Packet::new(self.backend, self.snat, l4).with(|p| p.src_mac = BACKEND_MAC)
    }

    /// What a request of the flow looks like towards the backend.
    pub(super) fn requested(self, request: &Packet) -> Packet {
        request.clone().with(|p| {
            (p.dst_mac, p.src_mac) = (BACKEND_MAC, EGRESS_MAC);
            p.ip.ttl -= 1;
            (p.ip.src, p.ip.dst) = (address(self.snat), address(self.backend));
            match &mut p.l4 {
                L4::Tcp(tcp) => (tcp.sport, tcp.dport) = (SNAT_PORT, 8_080),
                L4::Udp(udp) => (udp.sport, udp.dport) = (SNAT_PORT, 53),
                other => panic!("no ports: {other:?}"),
            }
        })
    }

    /// What an answer of the flow looks like towards the client.
    pub(super) fn answered(self, answer: &Packet) -> Packet {
        answer.clone().with(|p| {
            (p.dst_mac, p.src_mac) = (CLIENT_MAC, WEIR_MAC);
            p.ip.ttl -= 1;
            (p.ip.src, p.ip.dst) = (address(self.nat_vip), address(self.client));
            match &mut p.l4 {
                L4::Tcp(tcp) => (tcp.sport, tcp.dport) = (80, CLIENT_PORT),
                L4::Udp(udp) => (udp.sport, udp.dport) = (53, CLIENT_PORT),
                other => panic!("no ports: {other:?}"),
            }
        })
    }

    /// From the client to the direct VIP.
    pub(super) fn direct(self, l4: impl Into<L4>) -> Packet {
        Packet::new(self.client, self.dsr_vip, l4)
    }

    /// The same as it leaves towards the backend.
    pub(super) fn directed(self, packet: &Packet) -> Packet {
        packet.clone().with(|p| {
            (p.dst_mac, p.src_mac) = (BACKEND_MAC, EGRESS_MAC);
            p.ip.ttl -= 1;
        })
    }
}
