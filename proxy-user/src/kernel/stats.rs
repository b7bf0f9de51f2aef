//! Counters, added up over the possible CPUs (one that is offline keeps what it counted).

use aya::Pod;
use aya::maps::{MapData, MapError, PerCpuArray};
use proxy_common::{Count, TrafficCount, limits};

use super::maps::{Maps, MapsError};
use super::{schema, write};

/// Packets and bytes of an interface by reason number; [`limits::REASON_SLOTS`] entries.
///
/// # Errors
/// The map cannot be read.
pub fn reasons(maps: &Maps, interface_slot: u32) -> Result<Vec<Count>, MapsError> {
    reason_indices(interface_slot)
        .map(|index| sum(schema::STATS_REASONS, &maps.reason_counts, index))
        .collect()
}

/// Zeroes the counters of an interface slot, before another interface gets it.
///
/// # Errors
/// The map cannot be written.
pub fn zero_reasons(maps: &mut Maps, interface_slot: u32) -> Result<(), MapsError> {
    reason_indices(interface_slot)
        .try_for_each(|index| write::zero(schema::STATS_REASONS, &mut maps.reason_counts, index))
}

/// Packets and bytes that a list decided.
///
/// # Errors
/// The map cannot be read.
pub fn list(maps: &Maps, slot: u16) -> Result<Count, MapsError> {
    sum(schema::STATS_LISTS, &maps.list_counts, u32::from(slot))
}

/// Traffic of a service id.
///
/// # Errors
/// The map cannot be read.
pub fn service(maps: &Maps, id: u16) -> Result<TrafficCount, MapsError> {
    sum(schema::STATS_SERVICES, &maps.service_counts, u32::from(id))
}

/// Traffic of a backend slot.
///
/// # Errors
/// The map cannot be read.
pub fn backend(maps: &Maps, slot: u16) -> Result<TrafficCount, MapsError> {
    sum(schema::STATS_BACKENDS, &maps.backend_counts, u32::from(slot))
}

fn reason_indices(interface_slot: u32) -> std::ops::Range<u32> {
    let first = interface_slot.saturating_mul(limits::REASON_SLOTS);
    first..first.saturating_add(limits::REASON_SLOTS)
}

fn sum<V: Pod + Default + Add>(
    name: &'static str,
    map: &PerCpuArray<MapData, V>,
    index: u32,
) -> Result<V, MapsError> {
    match map.get(&index, 0) {
        Ok(values) => Ok(values.iter().fold(V::default(), |sum, value| sum.plus(value))),
        // aya does not check the range of a look-up; the kernel says "no such entry".
        Err(MapError::KeyNotFound) => Err(MapsError::OutOfRange {
            map: name,
            what: format!("counter {index}"),
            reason: format!("the map has {} entries", map.len()),
        }),
        Err(error) => Err(MapsError::new(name, "read", || format!("counter {index}"), &error)),
    }
}

/// Adds counters up; they wrap as the data path's do.
trait Add {
    fn plus(self, other: &Self) -> Self;
}

impl Add for Count {
    fn plus(self, other: &Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}

impl Add for TrafficCount {
    fn plus(self, other: &Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            connections: self.connections.wrapping_add(other.connections),
            reply_packets: self.reply_packets.wrapping_add(other.reply_packets),
            reply_bytes: self.reply_bytes.wrapping_add(other.reply_bytes),
        }
    }
}
