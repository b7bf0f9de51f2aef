//! Our addresses, and the filter that tells most packets early that they are not for us.

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::{Addr, DestinationValue, Mode, destination_flag, filter_bit, filter_place};
use proxy_ebpf::hash::filter_bucket;

use super::convert::map_addr;
use super::desired::Target;
use super::problem::{PlanError, What};
use super::{Installed, Limits};
use crate::model::{Desired, UnknownPort};

/// VIPs of the target's services and the addresses of its pool.
pub(super) fn destinations(
    desired: &Desired,
    target: &Target,
    installed: &Installed,
    limits: &Limits,
) -> Result<BTreeMap<Addr, DestinationValue>, PlanError> {
    // Services of one address agree; if they don't, drop is the careful one.
    let dropping: BTreeSet<Addr> = desired
        .services
        .values()
        .filter(|service| service.unknown_port == UnknownPort::Drop)
        .map(|service| map_addr(service.vip.addr))
        .collect();
    let mut destinations: BTreeMap<Addr, DestinationValue> = BTreeMap::new();
    for key in target.services.keys() {
        let unknown = if dropping.contains(&key.addr) { 0 } else { destination_flag::UNKNOWN_PORT_PASS };
        destinations.entry(key.addr).or_default().flags |= destination_flag::VIP | unknown;
    }
    for entry in target.snat.values() {
        destinations.entry(entry.addr).or_default().flags |= destination_flag::SNAT;
    }
    let limit = limits.destinations as usize;
    let wanted = destinations.len();
    if wanted > limit {
        return Err(PlanError::TooMany { what: What::Destinations, wanted, limit, cure: "" });
    }
    let added = destinations.keys().filter(|addr| !installed.destinations.contains_key(*addr)).count();
    let free = limit.saturating_sub(installed.destinations.len());
    if added > free {
        return Err(PlanError::NoRoomBeside { what: What::Destinations, wanted: added, free });
    }
    Ok(destinations)
}

/// The filter's words that are not zero.
pub(super) fn filter(target: &Target) -> BTreeMap<u32, u64> {
    let mut words: BTreeMap<u32, u64> = BTreeMap::new();
    let mut set = |addr: &Addr, bits: u32| {
        let (word, shift) = filter_place(filter_bucket(addr));
        *words.entry(word).or_default() |= u64::from(bits) << shift;
    };
    for (key, service) in &target.services {
        let nat = if service.mode == Mode::Nat as u8 { filter_bit::NAT } else { 0 };
        set(&key.addr, filter_bit::VIP | nat);
    }
    target.snat.values().for_each(|entry| set(&entry.addr, filter_bit::SNAT));
    words
}
