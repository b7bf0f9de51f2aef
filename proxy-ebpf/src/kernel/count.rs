//! Counters, per CPU: each packet under its interface and reason, and under the list, service and backend it met.

use proxy_common::{Class, Count, Reason, TrafficCount, limits};
use proxy_ebpf::Outcome;

use super::maps;

/// This program instance's interface; set by the loader, one instance for each interface.
#[unsafe(no_mangle)]
static INTERFACE_SLOT: u32 = 0;

/// Counts a packet and hands its outcome on.
#[inline(always)]
pub(super) fn count(outcome: &Outcome) -> &Outcome {
    let bytes = u64::from(outcome.bytes);
    let interface = interface_slot();
    add(maps::stats_reasons.get_ptr_mut(interface * limits::REASON_SLOTS + outcome.reason.index()), bytes);
    if let Some(list) = outcome.list {
        add(maps::stats_lists.get_ptr_mut(u32::from(list)), bytes);
    }
    if outcome.service != 0 && outcome.reason.is_served() {
        add_traffic(maps::stats_services.get_ptr_mut(u32::from(outcome.service)), outcome, bytes);
    }
    if outcome.service != 0 && outcome.reason.class() == Class::Steer {
        add_traffic(maps::stats_backends.get_ptr_mut(u32::from(outcome.backend)), outcome, bytes);
    }
    outcome
}

/// This instance's interface slot.
#[inline(always)]
pub(super) fn interface_slot() -> u32 {
    // SAFETY: a constant of the object that the loader may have replaced, hence volatile.
    unsafe { core::ptr::read_volatile(&raw const INTERFACE_SLOT) }
}

/// Packets of this interface and CPU that met a reason.
#[inline(always)]
pub(super) fn packets(reason: Reason) -> u64 {
    let index = interface_slot() * limits::REASON_SLOTS + reason.index();
    maps::stats_reasons.get(index).map_or(0, |count| count.packets)
}

#[inline(always)]
fn add(count: Option<*mut Count>, bytes: u64) {
    if let Some(count) = count {
        // SAFETY: this CPU's own slot of a per-CPU map.
        let count = unsafe { &mut *count };
        count.packets = count.packets.wrapping_add(1);
        count.bytes = count.bytes.wrapping_add(bytes);
    }
}

#[inline(always)]
fn add_traffic(count: Option<*mut TrafficCount>, outcome: &Outcome, bytes: u64) {
    if let Some(count) = count {
        // SAFETY: this CPU's own slot of a per-CPU map.
        let count = unsafe { &mut *count };
        if outcome.reply {
            count.reply_packets = count.reply_packets.wrapping_add(1);
            count.reply_bytes = count.reply_bytes.wrapping_add(bytes);
        } else {
            count.packets = count.packets.wrapping_add(1);
            count.bytes = count.bytes.wrapping_add(bytes);
            count.connections = count.connections.wrapping_add(u64::from(outcome.new_flow));
        }
    }
}
