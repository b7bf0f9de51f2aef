//! The order of a plan: everything new stands before anything points at it, a deny is in force before what it guards,
//! and nothing is taken away before nobody can reach it any more.

use proxy_common::{BackendState, BackendValue, ConfigValue, DestinationValue, SnatValue, destination_flag};

use super::desired::Target;
use super::diff::{to_remove, to_set};
use super::order_acl::acl_steps;
use super::settings::{ACL_PRESENT, DEFAULT_DROPS};
use super::{Installed, Limits, Step};

/// Steps from what is installed to the target.
pub(super) fn steps(target: &Target, installed: &Installed, limits: &Limits) -> Vec<Step> {
    let acl = acl_steps(target, installed, limits);
    let (tightened, last) = configs(target, installed, acl.switch);
    let (backends_now, backends_later) = backends(target, installed);
    let mut steps = acl.before;

    if tightened != installed.config {
        steps.push(Step::SetConfig { value: tightened });
    }
    steps.extend(filter_on(target, installed));
    steps.extend(pool_destinations(target, installed));
    steps.extend(to_set(&installed.snat, &target.snat).map(|(index, value)| snat(*index, *value)));
    steps.extend(backends_now);
    steps.extend(
        to_set(&installed.rings, &target.rings)
            .map(|(first, blocks)| Step::SetRing { first: *first, blocks: blocks.clone() }),
    );
    steps.extend(vip_destinations(target, installed));
    steps.extend(
        to_set(&installed.services, &target.services)
            .map(|(key, value)| Step::SetService { key: *key, value: *value }),
    );

    steps.extend(
        to_remove(&installed.services, &target.services).map(|(key, _)| Step::DeleteService { key: *key }),
    );
    steps.extend(lapsed_destinations(target, installed));
    steps.extend(filter_off(target, installed));
    if last != tightened {
        steps.push(Step::SetConfig { value: last });
    }

    let mut later = backends_later;
    later.extend(
        to_remove(&installed.snat, &target.snat).map(|(index, _)| snat(*index, SnatValue::default())),
    );
    later.extend(acl.after);
    if !later.is_empty() || acl.switch || leaves_rings(target, installed) {
        steps.push(Step::Grace);
    }
    steps.extend(later);
    steps
}

/// The settings before services change and those at the end. First what denies more, and what must be known as soon as
/// the ACL has entries; last what denies less, with everything else and the new generation.
fn configs(target: &Target, installed: &Installed, switch: bool) -> (ConfigValue, ConfigValue) {
    let old = installed.config;
    let acl_table = if switch { 1 - (old.acl_table & 1) } else { old.acl_table };
    let last = ConfigValue { acl_table, ..target.config };
    // Switching tables changes every verdict at one moment, so the defaults change with it.
    let guarding = DEFAULT_DROPS | ACL_PRESENT;
    let guards = if switch { last.flags } else { old.flags | last.flags } & guarding;
    // A data path without settings gets them all at once.
    let base = if old.syn_ticks == 0 { last } else { old };
    let flags = base.flags & !guarding | guards;
    let tightened = ConfigValue { generation: old.generation, acl_table, flags, ..base };
    if target.shortage.is_some() { (tightened, tightened) } else { (tightened, last) }
}

/// Backend writes before rings point at them, and those that must wait until no ring in use does: a backend that takes
/// fewer packets than before, or none.
fn backends(target: &Target, installed: &Installed) -> (Vec<Step>, Vec<Step>) {
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for (slot, value) in to_set(&installed.backends, &target.backends) {
        let set = |value| Step::SetBackend { slot: *slot, value };
        match installed.backends.get(slot) {
            Some(old) if takes(old) > takes(value) => {
                let kept = BackendValue { state: old.state, ..*value };
                if kept != *old {
                    now.push(set(kept));
                }
                later.push(set(*value));
            }
            _ => now.push(set(*value)),
        }
    }
    for (slot, old) in to_remove(&installed.backends, &target.backends) {
        let value = BackendValue {
            generation: old.generation,
            state: BackendState::Free as u8,
            ..Default::default()
        };
        later.push(Step::SetBackend { slot: *slot, value });
    }
    (now, later)
}

/// How much a backend takes: nothing, old flows, new flows too.
fn takes(backend: &BackendValue) -> u8 {
    match BackendState::from_byte(backend.state) {
        BackendState::Free | BackendState::Down => 0,
        BackendState::Draining => 1,
        BackendState::Active => 2,
    }
}

/// Addresses of the pool: answers must be known as ours before the first packet leaves from there.
fn pool_destinations<'a>(target: &'a Target, installed: &'a Installed) -> impl Iterator<Item = Step> {
    to_set(&installed.destinations, &target.destinations).filter_map(|(addr, value)| {
        let old = installed.destinations.get(addr).map_or(0, |old| old.flags);
        let flags = old | value.flags & destination_flag::SNAT;
        (flags != old).then_some(Step::SetDestination { addr: *addr, value: DestinationValue { flags } })
    })
}

/// Addresses of services to be; what an address was, it still is.
fn vip_destinations<'a>(target: &'a Target, installed: &'a Installed) -> impl Iterator<Item = Step> {
    to_set(&installed.destinations, &target.destinations).filter_map(|(addr, value)| {
        let old = installed.destinations.get(addr).map_or(0, |old| old.flags);
        let pooled = old | value.flags & destination_flag::SNAT;
        let flags = value.flags | old & LASTING;
        (flags != pooled).then_some(Step::SetDestination { addr: *addr, value: DestinationValue { flags } })
    })
}

/// Addresses that are ours no longer, or less so.
fn lapsed_destinations(target: &Target, installed: &Installed) -> Vec<Step> {
    let gone = to_remove(&installed.destinations, &target.destinations)
        .map(|(addr, _)| Step::DeleteDestination { addr: *addr });
    let less = to_set(&installed.destinations, &target.destinations).filter_map(|(addr, value)| {
        let old = installed.destinations.get(addr).map_or(0, |old| old.flags);
        (old & LASTING & !value.flags != 0).then_some(Step::SetDestination { addr: *addr, value: *value })
    });
    gone.chain(less).collect()
}

fn filter_on(target: &Target, installed: &Installed) -> impl Iterator<Item = Step> {
    target.filter.iter().filter_map(|(word, value)| {
        let old = installed.filter.get(word).copied().unwrap_or(0);
        (old | value != old).then_some(Step::SetFilter { word: *word, value: old | value })
    })
}

fn filter_off(target: &Target, installed: &Installed) -> impl Iterator<Item = Step> {
    installed.filter.iter().filter_map(|(word, old)| {
        let value = target.filter.get(word).copied().unwrap_or(0);
        (old & !value != 0).then_some(Step::SetFilter { word: *word, value })
    })
}

/// Whether a service goes or leaves its ring, so that its id or blocks become free.
fn leaves_rings(target: &Target, installed: &Installed) -> bool {
    installed.services.iter().any(|(key, old)| {
        target.services.get(key).is_none_or(|new| new.ring != old.ring && old.ring != 0 || new.id != old.id)
    })
}

fn snat(index: u16, value: SnatValue) -> Step {
    Step::SetSnat { index, value }
}

/// What an address is, as opposed to how unknown ports are treated.
const LASTING: u32 = destination_flag::VIP | destination_flag::SNAT;
