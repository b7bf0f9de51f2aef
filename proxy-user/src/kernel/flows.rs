//! NAT flows: counting them, and removing those that are over.
//!
//! The data path adds and refreshes entries all the while, and a hash map has no compare-and-delete. So an entry is read
//! again right before it is deleted; a packet that arrives between these two calls finds its flow gone, as it would have
//! a microsecond later.

use std::collections::BTreeMap;

use proxy_common::{
    Addr, BackendState, BackendValue, ConfigValue, Direction, FlowKey, FlowState, FlowValue, proto,
};

use super::batch;
use super::errno::errno_of;
use super::maps::{Maps, MapsError, found};
use super::schema;

/// Flows by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Waiting for their handshake.
    pub new: u64,
    /// Established.
    pub established: u64,
    /// Closed by one side.
    pub closing: u64,
    /// Closed.
    pub closed: u64,
}

/// What a sweep saw and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Entries seen; a flow has two.
    pub entries: u64,
    /// Entries removed.
    pub removed: u64,
    /// Flows that stay, by service id.
    pub services: BTreeMap<u16, FlowCounts>,
    /// Flows that stay, by backend slot.
    pub backends: BTreeMap<u16, FlowCounts>,
    /// Source-NAT ports in use, by address.
    pub snat_ports: BTreeMap<Addr, u64>,
}

/// Counts the flows and removes those whose both directions have been idle for longer than their state allows, and
/// those of backends that are no more. `now` is the tick at the start.
///
/// # Errors
/// A map cannot be read or written.
pub fn sweep(maps: &mut Maps, config: &ConfigValue, now: u32) -> Result<Sweep, MapsError> {
    let backends = backends(maps)?;
    let mut sweep = Sweep::default();
    let mut suspects = Vec::new();
    batch::for_each(schema::FLOWS, &maps.flows, |key: &FlowKey, value: &FlowValue| {
        sweep.entries += 1;
        if idle(value, now) > limit(config, key.proto, value.state)
            || !belongs(backends.get(&value.backend), value)
        {
            suspects.push(*key);
        } else {
            sweep.count(key, value);
        }
    })?;
    for key in suspects {
        if let Some(value) = sweep_pair(maps, config, now, &key, &mut sweep.removed)? {
            sweep.count(&key, &value);
        }
    }
    Ok(sweep)
}

impl Sweep {
    fn count(&mut self, key: &FlowKey, value: &FlowValue) {
        if value.direction == Direction::Reply as u8 {
            *self.snat_ports.entry(key.dst).or_default() += 1;
            return;
        }
        let state = FlowState::from_byte(value.state);
        self.services.entry(value.service).or_default().add(state);
        self.backends.entry(value.backend).or_default().add(state);
    }
}

impl FlowCounts {
    fn add(&mut self, state: FlowState) {
        *match state {
            FlowState::New => &mut self.new,
            FlowState::Established => &mut self.established,
            FlowState::Closing => &mut self.closing,
            FlowState::Closed => &mut self.closed,
        } += 1;
    }
}

/// Looks at both entries of a flow and removes them if it is over. Returns the entry if it stays.
fn sweep_pair(
    maps: &mut Maps,
    config: &ConfigValue,
    now: u32,
    key: &FlowKey,
    removed: &mut u64,
) -> Result<Option<FlowValue>, MapsError> {
    let Some(value) = maps.flow(key)? else { return Ok(None) };
    let peer_key = value.peer_key(key.proto);
    // An entry under the peer's key that does not point back is another flow's.
    let peer = maps.flow(&peer_key)?.filter(|peer| peer.peer_key(key.proto) == *key);
    if !is_over(maps, config, now, key.proto, &value, peer.as_ref())? {
        return Ok(Some(value));
    }
    // The reply entry is the claim on the port, so it goes last.
    let (first, last) = match peer {
        Some(_) if value.direction == Direction::Reply as u8 => (Some(peer_key), *key),
        Some(_) => (Some(*key), peer_key),
        None => (None, *key),
    };
    for key in first.into_iter().chain([last]) {
        *removed += u64::from(remove(maps, config, now, &key)?);
    }
    Ok(None)
}

/// Deletes an entry, unless a packet has come by in the meantime.
fn remove(maps: &mut Maps, config: &ConfigValue, now: u32, key: &FlowKey) -> Result<bool, MapsError> {
    let Some(value) = maps.flow(key)? else { return Ok(false) };
    if !is_over(maps, config, now, key.proto, &value, None)? {
        return Ok(false);
    }
    match maps.flows.remove(key) {
        Ok(()) => Ok(true),
        Err(error) if errno_of(&error) == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(MapsError::new(schema::FLOWS, "delete", || format!("{key:?}"), &error)),
    }
}

fn is_over(
    maps: &Maps,
    config: &ConfigValue,
    now: u32,
    proto: u8,
    value: &FlowValue,
    peer: Option<&FlowValue>,
) -> Result<bool, MapsError> {
    // The slot is read now, not from the sweep's start: it may have been given to a new backend since.
    let slot = u32::from(value.backend);
    let backend = found(schema::BACKENDS, || format!("backend slot {slot}"), maps.backends.get(&slot, 0))?;
    if !belongs(backend.as_ref(), value) {
        return Ok(true);
    }
    // For a moment the two may be in different states; the more patient one counts.
    let idle = peer.map_or(idle(value, now), |peer| idle(value, now).min(idle(peer, now)));
    let limit = limit(config, proto, value.state);
    Ok(idle > peer.map_or(limit, |peer| limit.max(self::limit(config, proto, peer.state))))
}

fn backends(maps: &Maps) -> Result<BTreeMap<u16, BackendValue>, MapsError> {
    let mut used = BTreeMap::new();
    batch::for_each(schema::BACKENDS, &maps.backends, |slot: &u32, value: &BackendValue| {
        if let (true, Ok(slot)) = (value.generation != 0, u16::try_from(*slot)) {
            used.insert(slot, *value);
        }
    })?;
    Ok(used)
}

/// Whether a flow's backend is still the one that it began with.
fn belongs(backend: Option<&BackendValue>, flow: &FlowValue) -> bool {
    backend.is_some_and(|backend| {
        backend.generation == flow.generation && BackendState::from_byte(backend.state) != BackendState::Free
    })
}

/// Ticks since the last packet. A packet may be newer than `now`.
fn idle(value: &FlowValue, now: u32) -> u32 {
    let ticks = now.wrapping_sub(value.last_seen);
    if ticks > u32::MAX / 2 { 0 } else { ticks }
}

fn limit(config: &ConfigValue, protocol: u8, state: u8) -> u32 {
    match FlowState::from_byte(state) {
        FlowState::New => config.syn_ticks,
        FlowState::Established if protocol == proto::UDP => config.udp_ticks,
        FlowState::Established => config.tcp_ticks,
        FlowState::Closing => config.closing_ticks,
        FlowState::Closed => config.closed_ticks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_survives_the_wrap() {
        let seen = |last_seen| FlowValue { last_seen, ..FlowValue::default() };
        assert_eq!(idle(&seen(u32::MAX - 4), 5), 10);
        assert_eq!(idle(&seen(5), 5), 0);
        assert_eq!(idle(&seen(6), 5), 0, "a packet after the sweep began");
    }

    #[test]
    fn limits_follow_protocol_and_state() {
        let config = ConfigValue {
            syn_ticks: 1,
            tcp_ticks: 2,
            udp_ticks: 3,
            closing_ticks: 4,
            closed_ticks: 5,
            ..ConfigValue::default()
        };
        let all = |protocol| [1, 2, 3, 4, 99].map(|state| limit(&config, protocol, state));
        assert_eq!(all(proto::TCP), [1, 2, 4, 5, 5]);
        assert_eq!(all(proto::UDP), [1, 3, 4, 5, 5]);
    }
}
