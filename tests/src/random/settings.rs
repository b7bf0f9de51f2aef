//! Random settings.

use ipnet::IpNet;
use proxy_common::{BackendState, Mode, SnatValue, config_flag, proto};

use super::{BACKEND, CLIENT, PORTS, SNAT, VIP, host};
use crate::rng::Rng;
use crate::world::{List, Service, Vip, World, backend, mapped};

/// Lists, VIPs, services of all modes and both families, backends in every state.
pub fn world(rng: &mut Rng) -> World {
    let mut world = World::empty();
    world.config.seed = rng.bits();
    world.config.secret = rng.bits();
    world.config.acl_table = rng.below(2) as u32;
    for (flag, percent) in [(config_flag::SERVICE_DEFAULT_DROP, 15), (config_flag::TRAFFIC_DEFAULT_DROP, 10)]
    {
        if rng.percent(percent) {
            world.config.flags |= flag;
        }
    }
    if rng.percent(20) {
        world.management.push(prefix(rng));
    }
    for _ in 0..rng.below(5) {
        let prefixes = (0..rng.below(6)).map(|_| prefix(rng)).collect();
        world.lists.push(List { drop: rng.percent(60), services_only: rng.percent(40), prefixes });
    }
    for v6 in [false, true] {
        let first = world.snat.len() as u16;
        for number in 1..=2 {
            let port_min = 20_000 + rng.below(1_000) as u16;
            let ports = if rng.percent(10) { rng.below(8) } else { 5_000 + rng.below(5_000) };
            let addr = mapped(host(v6, SNAT, number));
            world.snat.push(SnatValue {
                addr,
                port_min,
                port_max: port_min + ports as u16,
                ..SnatValue::default()
            });
        }
        for number in 1..=4 {
            let addr = host(v6, VIP, number);
            world.vips.push(Vip { addr, unknown_port_pass: rng.percent(30) });
            // One mode for each VIP, as the address decides whether flows are looked for; sometimes two.
            let mode = [Mode::Nat, Mode::Nat, Mode::Nat, Mode::DsrL2, Mode::DsrL2, Mode::L7][rng.below(6)];
            for protocol in [proto::TCP, proto::UDP] {
                for port in [0, PORTS[0], PORTS[1], PORTS[2]] {
                    if !rng.percent(if port == 0 { 25 } else { 70 }) {
                        continue;
                    }
                    let mode = if rng.percent(5) { other(mode) } else { mode };
                    add_service(&mut world, rng, (v6, number), (port, protocol, mode), first);
                }
            }
        }
    }
    world
}

/// A change of settings while flows are there: states, rings, next hops, reused slots.
pub fn change(world: &mut World, rng: &mut Rng) {
    for backend in world.backends.values_mut() {
        match rng.below(24) {
            0 => backend.state = BackendState::Draining as u8,
            1 => backend.state = BackendState::Down as u8,
            2 => backend.state = BackendState::Active as u8,
            3 => backend.flags = 0,
            4 => backend.generation += 1,
            5 => backend.state = BackendState::Free as u8,
            6 => backend.ifindex = 1 + rng.below(3) as u32,
            _ => {}
        }
    }
    for service in world.services.iter_mut().filter(|service| !service.ring.is_empty()) {
        service.changed_ago = ago(rng);
        let owners: Vec<u16> = service.ring.iter().map(|slot| slot.0).collect();
        for slot in &mut service.ring {
            if rng.percent(20) {
                slot.0 = *rng.pick(&owners);
            } else if rng.percent(20) {
                slot.1 = slot.0;
            }
        }
    }
}

fn add_service(
    world: &mut World,
    rng: &mut Rng,
    (v6, number): (bool, u8),
    (port, protocol, mode): (u16, u8, Mode),
    first_snat: u16,
) {
    let id = world.services.len() as u16 + 1;
    let mut slots = Vec::new();
    for _ in 0..rng.below(4) + usize::from(rng.percent(95)) {
        let slot = world.backends.len() as u16 + 1;
        let count = if rng.percent(3) { 0 } else { 2 };
        let to = if port == 0 || mode == Mode::DsrL2 || rng.percent(20) {
            port
        } else {
            8_000 + rng.below(3) as u16
        };
        let addr = host(v6, BACKEND, rng.below(6) as u8 + 1);
        let mut value = backend(addr, to, id, 1 + rng.below(3) as u32, (first_snat, count));
        value.generation = 1 + rng.below(3) as u32;
        value.mtu = if rng.percent(10) { 100 } else { 1_500 };
        value.dst_mac[4] = slot as u8;
        match rng.below(20) {
            0 => value.flags = 0,
            1 => value.state = BackendState::Draining as u8,
            2 => value.state = BackendState::Down as u8,
            _ => {}
        }
        world.backends.insert(slot, value);
        slots.push(slot);
    }
    let length = if slots.is_empty() { 0 } else { 1 + rng.below(60) };
    let ring = (0..length)
        .map(|_| {
            let current = *rng.pick(&slots);
            (current, if rng.percent(70) { current } else { *rng.pick(&slots) })
        })
        .collect();
    let syn_budget = if rng.percent(15) { rng.below(10) as u32 } else { 100_000 };
    let addr = host(v6, VIP, number);
    world.services.push(Service {
        addr,
        port,
        proto: protocol,
        mode,
        unknown_mode: false,
        id,
        syn_budget,
        changed_ago: ago(rng),
        ring,
    });
}

fn ago(rng: &mut Rng) -> u32 {
    if rng.percent(50) { 1_000 } else { crate::world::LONG + 1_000 }
}

fn other(mode: Mode) -> Mode {
    match mode {
        Mode::Nat => Mode::DsrL2,
        Mode::DsrL2 => Mode::L7,
        Mode::L7 => Mode::Nat,
    }
}

/// A prefix that often holds some clients.
fn prefix(rng: &mut Rng) -> IpNet {
    let v6 = rng.percent(50);
    let role = *rng.pick(&[CLIENT, CLIENT, CLIENT, BACKEND]);
    let lengths: &[u8] = if v6 { &[0, 32, 48, 120, 125, 127, 128] } else { &[0, 8, 16, 24, 29, 31, 32] };
    let addr = host(v6, role, rng.below(12) as u8);
    IpNet::new(addr, *rng.pick(lengths)).expect("length fits").trunc()
}
