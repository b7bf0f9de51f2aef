//! Random desired states, small enough that two of them have much in common.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::{Limits, World, backend, next_hop};
use crate::model::{
    AclEntry, AclList, AclPolicy, Action, AdminState, Announce, Backend, BackendAddr, Forward, NextHop,
    Origin, Protocol, Scope, Service, Timeouts, UnknownPort, Vip,
};

/// Addresses and prefixes within a /27 or a /123, so that they often cover each other.
pub(super) fn source() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), 0_u8..40).prop_map(|(v4, low)| address(v4, low))
}

fn address(v4: bool, low: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(198, 51, 100, low).into()
    } else {
        Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | u128::from(low)).into()
    }
}

pub(super) fn prefix() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), 0_u8..32, prop_oneof![1 => Just(40_u8), 1 => 0_u8..=10, 12 => 0_u8..=6]).prop_map(
        |(v4, low, short)| {
            let net = match address(v4, low) {
                IpAddr::V4(addr) => Ipv4Net::new(addr, 32_u8.saturating_sub(short)).map(IpNet::V4).unwrap(),
                IpAddr::V6(addr) => {
                    Ipv6Net::new(addr, 128_u8.saturating_sub(short * 3)).map(IpNet::V6).unwrap()
                }
            };
            net.trunc()
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Pass), Just(Action::Drop)]
}

pub(super) fn policy() -> impl Strategy<Value = AclPolicy> {
    let list = (action(), any::<bool>(), vec(prefix(), 0..12), 0_u32..1000);
    let lists = btree_map("[abcde]", list, 0..4);
    (lists, action(), action(), vec(prefix(), 0..2)).prop_map(
        |(lists, default, interface_default, management)| {
            let entry = AclEntry { origin: Origin::File, expires_at: None, reason: None };
            let lists =
                lists.into_iter().enumerate().map(|(place, (name, (action, services, prefixes, order)))| {
                    let scope = if services { Scope::Services } else { Scope::All };
                    let entries = prefixes.into_iter().map(|prefix| (prefix, entry.clone())).collect();
                    // Unique, and not in the order of names.
                    let order = order * 10 + u32::try_from(place).unwrap();
                    (name, AclList { order, action, scope, origin: Origin::File, entries })
                });
            AclPolicy { lists: lists.collect(), default, interface_default, management }
        },
    )
}

fn backends() -> impl Strategy<Value = BTreeMap<BackendAddr, Backend>> {
    let weight = prop_oneof![4 => Just(1_u16), 1 => 0_u16..5];
    btree_map(0_u8..6, (weight, prop::bool::weighted(0.1)), 0..5).prop_map(|backends| {
        let place = |(low, (weight, drain))| {
            let state = if drain { AdminState::Drain } else { AdminState::Active };
            let addr = BackendAddr { addr: Ipv4Addr::new(10, 0, 0, low).into(), port: 8080 };
            (addr, Backend { state, ..backend(weight) })
        };
        backends.into_iter().map(place).collect()
    })
}

fn service() -> impl Strategy<Value = (Forward, bool, BTreeMap<BackendAddr, Backend>)> {
    let forward = prop_oneof![3 => Just(Forward::Nat), 3 => Just(Forward::DsrL2), 1 => Just(Forward::L7)];
    (forward, any::<bool>(), backends())
}

fn next_hops() -> impl Strategy<Value = BTreeMap<IpAddr, NextHop>> {
    let hop = (prop::bool::weighted(0.9), prop::bool::weighted(0.8), prop::bool::weighted(0.9), 0_u8..2);
    btree_map(0_u8..6, hop, 3..7).prop_map(|hops| {
        let hops = hops.into_iter().map(|(low, (on_link, resolved, sourced, egress))| {
            let addr: IpAddr = Ipv4Addr::new(10, 0, 0, low).into();
            let hop = next_hop(addr);
            let source = if sourced { [192, 0, 2, egress] } else { [0; 4] };
            let dst_mac = hop.dst_mac.filter(|_| resolved);
            (addr, NextHop { on_link, dst_mac, source: source.into(), ..hop })
        });
        hops.collect()
    })
}

/// A world at one of a few points in time; rings settle after 50 ticks. In half of them the maps hold just enough for
/// one more ring than there are services, so that plans take several rounds.
pub(super) fn world() -> impl Strategy<Value = World> {
    let services = btree_map(0_u8..4, service(), 0..4);
    let pool = prop_oneof![2 => Just(0_u8), 1 => 1_u8..4];
    (policy(), services, next_hops(), pool, 1_000_u32..1_080, any::<bool>()).prop_map(
        |(acl, services, next_hops, pool, now, tight)| {
            let mut world = World { next_hops, now, generation: u64::from(now), ..World::default() };
            if tight {
                world.limits = Limits { ring_blocks: 5 * 128, services: 5, ..world.limits };
            }
            world.desired.acl = acl.into();
            world.desired.timeouts = Timeouts { settle: Duration::from_millis(500), ..Timeouts::default() };
            world.desired.snat.addresses =
                (0..pool).map(|low| Ipv4Addr::new(203, 0, 113, low).into()).collect();
            for (number, (forward, pass, backends)) in services {
                let vip = Vip {
                    protocol: Protocol::Tcp,
                    addr: Ipv4Addr::new(100, 64, 0, number / 2).into(),
                    port: u16::from(number),
                };
                let service = Service {
                    vip,
                    forward,
                    announce: Announce::None,
                    unknown_port: if pass { UnknownPort::Pass } else { UnknownPort::Drop },
                    syn_budget: 10,
                    origin: Origin::Api,
                    backends,
                    discovery: None,
                    health: None,
                    publish: Vec::new(),
                    l7: None,
                };
                world.desired.services.insert(format!("service-{number}"), service);
            }
            world
        },
    )
}
