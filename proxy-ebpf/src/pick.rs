//! Ring slot to backend.

use proxy_common::{
    BackendState, BackendValue, ConfigValue, FlowKey, Reason, ServiceValue, limits, ring_owners,
    ring_remembers,
};

use crate::cache;
use crate::hash;
use crate::packet::Packet;
use crate::tables::{Memory, Tables};

/// A backend and its slot.
#[derive(Clone, Copy)]
pub(crate) struct Pick<'a> {
    pub(crate) slot: u16,
    pub(crate) backend: &'a BackendValue,
}

/// The flow's ring slot: its owners now and before the last change ([`ring_owners`]).
#[inline(always)]
fn ring_slot<T: Tables>(
    tables: &T,
    config: &ConfigValue,
    service: &ServiceValue,
    key: &FlowKey,
) -> Result<u32, Reason> {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the ring word")]
    let (first_block, length) = ((service.ring >> 32) as u32, service.ring as u32);
    if length == 0 {
        return Err(Reason::NoBackend);
    }
    let index = hash::ring_index(hash::flow_hash(config.seed, key), length);
    let block = first_block + index / limits::RING_BLOCK_SLOTS;
    tables.ring_slot(block, index % limits::RING_BLOCK_SLOTS).ok_or(Reason::HelperFailed)
}

/// The backend for a new NAT flow: the slot's owner now.
#[inline(always)]
pub(crate) fn for_new_flow<'a, T: Tables>(
    tables: &'a T,
    config: &ConfigValue,
    service: &ServiceValue,
    key: &FlowKey,
) -> Result<Pick<'a>, Reason> {
    let (current, previous) = ring_owners(ring_slot(tables, config, service, key)?);
    // The previous owner steps in for the moment between a backend's end and the ring without it.
    usable(tables, service, current).or_else(|| usable(tables, service, previous)).ok_or(Reason::NoBackend)
}

/// The backend for a packet of a stateless mode. Where the slot's owner has changed, flows that were there before stay
/// with the previous one, and flows begun since are remembered in the cache; what is not there is from before.
#[inline(always)]
pub(crate) fn stateless<'a, T: Tables, M: Memory>(
    tables: &'a T,
    memory: &mut M,
    config: &ConfigValue,
    service: &ServiceValue,
    packet: &Packet,
) -> Result<Pick<'a>, Reason> {
    let slot = ring_slot(tables, config, service, &packet.key)?;
    let (current, previous) = ring_owners(slot);
    if !ring_remembers(slot) {
        return usable(tables, service, current).ok_or(Reason::NoBackend);
    }
    let Some(before) = usable(tables, service, previous) else {
        return usable(tables, service, current).ok_or(Reason::NoBackend);
    };
    // Nobody owns the slot now where all backends drain: flows from before go on, and no other begins.
    if current == 0 && packet.is_syn() {
        return Err(Reason::NoBackend);
    }
    let now = if current == 0 { Some(before) } else { usable(tables, service, current) };
    let Some(now) = now else { return Ok(before) };
    let query =
        cache::Query { now: tables.now(), changed_at: service.changed_at, current: now.slot, previous };
    let slot = cache::choose(memory, config, packet, query);
    if slot == now.slot {
        return Ok(now);
    }
    // An owner between the two, of a flow begun between two changes; if it is gone, the previous one as for a miss.
    Ok(if slot == previous { before } else { usable(tables, service, slot).unwrap_or(before) })
}

#[inline(always)]
fn usable<'a, T: Tables>(tables: &'a T, service: &ServiceValue, slot: u16) -> Option<Pick<'a>> {
    let backend = tables.backend(slot)?;
    let state = BackendState::from_byte(backend.state);
    let alive = state == BackendState::Active || state == BackendState::Draining;
    (slot != 0 && alive && backend.service == service.id).then_some(Pick { slot, backend })
}
