//! Memory of the stateless modes for ring slots whose owner has changed: 8-byte fingerprints in one cache line per hash.
//! An entry that is still fresh is never displaced: a flow that finds no room goes to the previous owner, which is
//! where a miss sends its further packets too. So a flood of SYNs moves no flow.

use proxy_common::{BudgetValue, CacheLine, ConfigValue, limits, proto};

use crate::hash;
use crate::packet::{Icmp, Packet};
use crate::tables::Memory;

/// Ages count in steps of this many ticks.
const AGE_SHIFT: u32 = 8;

/// A ring slot in change.
#[derive(Clone, Copy)]
pub(crate) struct Query {
    /// Tick.
    pub(crate) now: u32,
    /// Tick of the change.
    pub(crate) changed_at: u32,
    /// Owner now.
    pub(crate) current: u16,
    /// Owner before.
    pub(crate) previous: u16,
}

/// The slot that the packet's flow belongs to: the current owner, the previous one, or, where the ring has changed more
/// than once while it settles, the owner in between that is remembered.
// Few packets meet a slot in change: a call keeps this off the others' stack.
#[inline(never)]
pub(crate) fn choose<M: Memory>(memory: &mut M, config: &ConfigValue, packet: &Packet, query: Query) -> u16 {
    let Query { now, changed_at, current, previous } = query;
    let hash = hash::secret_hash(config.secret, &packet.key);
    #[expect(clippy::cast_possible_truncation, reason = "masked below the number of lines")]
    let line = (hash as u32) & (limits::CACHE_LINES - 1);
    let entry = Entry { tag: hash >> 32, age: age(now) };
    let is_syn = packet.is_syn();
    // A SYN decides anew; every other packet follows what is remembered.
    if !is_syn && let Some(slot) = memory.cache_line(line).and_then(|line| refresh(line, entry)) {
        return slot;
    }
    let is_udp = packet.key.proto == proto::UDP && packet.icmp == Icmp::None;
    // UDP has no first packet. What has been silent since the change for as long as a UDP flow lives is new.
    let is_new = is_syn || (is_udp && now.wrapping_sub(changed_at) > config.udp_ticks);
    let owner = if is_new { current } else { previous };
    // TCP flows of before need no entry: a miss says the same. UDP flows of before do, once the time is over.
    if !(is_new || is_udp) || owner_kept(memory, config, now, line, entry, owner) {
        return owner;
    }
    previous
}

#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    age: u64,
}

/// Takes a way for the flow, if the budget and the line have room.
#[inline(always)]
fn owner_kept<M: Memory>(
    memory: &mut M,
    config: &ConfigValue,
    now: u32,
    line: u32,
    entry: Entry,
    owner: u16,
) -> bool {
    if !memory.spent().is_some_and(|spent| within_budget(spent, config, now)) {
        return false;
    }
    let max_age = u64::from(config.cache_ticks >> AGE_SHIFT);
    memory.cache_line(line).is_some_and(|line| store(line, entry, owner, max_age))
}

/// One entry more in this second?
#[inline(always)]
fn within_budget(spent: &mut BudgetValue, config: &ConfigValue, now: u32) -> bool {
    let second = now / config.hz.max(1);
    if spent.window != second {
        *spent = BudgetValue { window: second, waiting: 0 };
    }
    if spent.waiting >= config.cache_budget {
        return false;
    }
    spent.waiting += 1;
    true
}

/// The remembered backend of a flow; a hit makes the entry young again.
#[inline(always)]
fn refresh(line: &mut CacheLine, entry: Entry) -> Option<u16> {
    for way in &mut line.ways {
        if *way >> 32 == entry.tag && *way != 0 {
            #[expect(clippy::cast_possible_truncation, reason = "the middle 16 bits")]
            let slot = (*way >> 16) as u16;
            *way = pack(entry, slot);
            return Some(slot);
        }
    }
    None
}

/// Writes the entry over its own old one, an empty way or one too old; false where there is none.
#[inline(always)]
fn store(line: &mut CacheLine, entry: Entry, slot: u16, max_age: u64) -> bool {
    for way in &mut line.ways {
        let idle = (entry.age.wrapping_sub(*way)) & 0xffff;
        if *way == 0 || *way >> 32 == entry.tag || idle > max_age {
            *way = pack(entry, slot);
            return true;
        }
    }
    false
}

#[inline(always)]
fn pack(entry: Entry, slot: u16) -> u64 {
    entry.tag << 32 | u64::from(slot) << 16 | entry.age
}

#[inline(always)]
fn age(now: u32) -> u64 {
    u64::from((now >> AGE_SHIFT) & 0xffff)
}
