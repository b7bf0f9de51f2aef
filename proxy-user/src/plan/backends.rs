//! Backends as the data path shall see them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proxy_common::{BackendState, BackendValue, Port, backend_flag};

use super::Installed;
use super::convert::{ip_addr, map_addr};
use super::problem::Trouble;
use super::snat::SnatPlan;
use crate::model::{AdminState, Backend, BackendAddr, Forward, NextHop};

/// Ways to backends.
#[derive(Clone, Copy)]
pub(super) struct Ways<'a> {
    pub next_hops: &'a BTreeMap<IpAddr, NextHop>,
    pub installed: &'a Installed,
}

impl Ways<'_> {
    /// The host's own address on the way to a backend. While a known backend has no route it keeps the one it had, so
    /// that answers of its flows are still told from the host's own traffic.
    pub(super) fn source(&self, backend: IpAddr, known: Option<&BackendValue>) -> Option<IpAddr> {
        let source = match self.next_hops.get(&backend) {
            Some(hop) => Some(hop.source),
            None => known
                .filter(|value| value.snat_count > 0)
                .and_then(|value| self.installed.snat.get(&value.snat_first))
                .map(|entry| ip_addr(&entry.addr)),
        };
        source.filter(|source| source.is_ipv4() == backend.is_ipv4() && !source.is_unspecified())
    }
}

/// A backend of a service as it shall stand in its slot.
pub(super) struct Compiled {
    /// The value, but for the generation.
    pub value: BackendValue,
    /// Its weight in the ring; 0 if it takes no new flows.
    pub weight: u16,
    /// What keeps it from being used as wanted.
    pub trouble: Option<Trouble>,
}

/// The value of a backend of service `id`. A backend whose neighbour is not resolved stays in the ring, so that a flap of
/// the neighbour table moves no flows; one without a route, or out of reach for the mode, leaves it.
pub(super) fn compile(
    (addr, backend): (&BackendAddr, &Backend),
    forward: Forward,
    id: u16,
    known: Option<&BackendValue>,
    ways: &Ways<'_>,
    snat: &SnatPlan,
) -> Compiled {
    let hop = ways.next_hops.get(&addr.addr);
    let range = match forward {
        Forward::Nat => snat.range(addr.addr, ways.source(addr.addr, known)),
        Forward::DsrL2 | Forward::L7 => None,
    };
    let trouble = match (hop, forward) {
        (None, _) => Some(Trouble::Unreachable),
        (Some(hop), Forward::DsrL2) if !hop.on_link => Some(Trouble::NotOnLink),
        (Some(hop), Forward::Nat) if range.is_none() => Some(Trouble::NoSource(hop.source)),
        _ => None,
    };
    let draining = backend.weight == 0 || backend.state == AdminState::Drain;
    let state = match trouble {
        // Its packets would come back from the gateway.
        Some(Trouble::NotOnLink) => BackendState::Down,
        _ if draining => BackendState::Draining,
        _ => BackendState::Active,
    };
    let (snat_first, snat_count) = range.unwrap_or_default();
    let dst_mac = hop.and_then(|hop| hop.dst_mac);
    let value = BackendValue {
        addr: map_addr(addr.addr),
        port: Port::new(addr.port),
        state: state as u8,
        flags: dst_mac.map_or(0, |_| backend_flag::RESOLVED),
        generation: 0,
        ifindex: hop.map_or(0, |hop| hop.ifindex),
        mtu: hop.map_or(0, |hop| hop.mtu),
        service: id,
        dst_mac: dst_mac.unwrap_or_default(),
        src_mac: hop.map_or([0; 6], |hop| hop.src_mac),
        snat_first,
        snat_count,
    };
    let weight = if draining || trouble.is_some() { 0 } else { backend.weight };
    Compiled { value, weight, trouble }
}
