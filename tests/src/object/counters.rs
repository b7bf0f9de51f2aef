//! The object's counters, summed over the CPUs.

use anyhow::Result;
use aya::Pod;
use aya::maps::{MapData, PerCpuArray};
use proxy_common::{Count, Reason, TrafficCount, limits};

use super::{INTERFACE_SLOT, Object, Used};
use crate::engine::Counters;

impl Object {
    /// The packets counted under a reason.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reason_packets(&self, reason: Reason) -> Result<u64> {
        let index = INTERFACE_SLOT * limits::REASON_SLOTS + reason.index();
        Ok(self.reason_counts.get(&index, 0)?.iter().map(|count| count.packets).sum())
    }

    /// All counters of the slots noted as used.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Counters> {
        let used = &self.used;
        let mut counters = Counters::default();
        for slot in 0..limits::REASON_SLOTS {
            let count = sum(&self.reason_counts, INTERFACE_SLOT * limits::REASON_SLOTS + slot, add)?;
            if count != Count::default() {
                counters.reasons.insert(slot, count);
            }
        }
        for slot in used.list_slots() {
            let count = sum(&self.list_counts, slot, add)?;
            if count != Count::default() {
                counters.lists.insert(slot, count);
            }
        }
        for slot in &used.services {
            let count = sum(&self.service_counts, u32::from(*slot), add_traffic)?;
            if count != TrafficCount::default() {
                counters.services.insert(u32::from(*slot), count);
            }
        }
        for slot in &used.backends {
            let count = sum(&self.backend_counts, u32::from(*slot), add_traffic)?;
            if count != TrafficCount::default() {
                counters.backends.insert(u32::from(*slot), count);
            }
        }
        Ok(counters)
    }

    pub(super) fn clear_counters(&mut self, used: &Used, cpus: usize) -> Result<()> {
        for slot in 0..limits::REASON_SLOTS {
            zero(&mut self.reason_counts, INTERFACE_SLOT * limits::REASON_SLOTS + slot, cpus)?;
        }
        for slot in used.list_slots() {
            zero(&mut self.list_counts, slot, cpus)?;
        }
        for slot in &used.services {
            zero(&mut self.service_counts, u32::from(*slot), cpus)?;
        }
        for slot in &used.backends {
            zero(&mut self.backend_counts, u32::from(*slot), cpus)?;
        }
        Ok(())
    }
}

impl Used {
    /// List slots, with those of the default action and the management list.
    fn list_slots(&self) -> impl Iterator<Item = u32> {
        [0, 1].into_iter().chain(self.lists.iter().map(|slot| u32::from(*slot)))
    }
}

fn sum<V: Pod + Default>(map: &PerCpuArray<MapData, V>, index: u32, add: fn(&mut V, &V)) -> Result<V> {
    let mut total = V::default();
    for value in map.get(&index, 0)?.iter() {
        add(&mut total, value);
    }
    Ok(total)
}

fn zero<V: Pod + Default>(map: &mut PerCpuArray<MapData, V>, index: u32, cpus: usize) -> Result<()> {
    Ok(map.set(index, vec![V::default(); cpus].try_into()?, 0)?)
}

fn add(total: &mut Count, value: &Count) {
    total.packets += value.packets;
    total.bytes += value.bytes;
}

fn add_traffic(total: &mut TrafficCount, value: &TrafficCount) {
    total.packets += value.packets;
    total.bytes += value.bytes;
    total.connections += value.connections;
    total.reply_packets += value.reply_packets;
    total.reply_bytes += value.reply_bytes;
}
