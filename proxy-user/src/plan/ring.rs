//! The content of a ring: for each slot the owner and, while a change settles, the owner before it, so that flows begun
//! there stay.

use proxy_common::limits::RING_BLOCK_SLOTS;
use proxy_common::{RING_REMEMBERS, RingBlock, ServiceValue, ring_owners, ring_remembers, ring_slot};

use super::blocks::{block_count, ring_parts};
use super::maglev::Maglev;
use super::{Installed, Ring};

/// A ring in force.
#[derive(Debug)]
pub(super) struct RingInForce {
    blocks: Ring,
    /// In slots.
    length: usize,
    /// Changed less than the settling time ago: flows are still where the previous owners say.
    unsettled: bool,
}

impl RingInForce {
    /// The ring of an installed service; `None` if it has none or a block of it is missing.
    pub(super) fn read(
        installed: &Installed,
        service: &ServiceValue,
        now: u32,
        settle_ticks: u32,
    ) -> Option<Self> {
        let (first, length) = ring_parts(service.ring)?;
        let blocks = installed.rings.get(&first)?;
        (blocks.len() == block_count(length) as usize).then(|| Self {
            blocks: blocks.clone(),
            length: length as usize,
            unsettled: now.wrapping_sub(service.changed_at) < settle_ticks,
        })
    }

    /// The slots of the ring that follows this one, given its owners. A slot's previous owner is the one whom its flows
    /// settled on, if `in_use` says that it still takes packets; else the present owner; else the new one.
    pub(super) fn follow(&self, owners: &[u16], in_use: impl Fn(u16) -> bool) -> Vec<u32> {
        (0_u64..)
            .zip(owners)
            .map(|(place, owner)| {
                let (present, before) = ring_owners(self.at(place, owners.len() as u64));
                let settled = if self.unsettled { before } else { present };
                let previous = [settled, present].into_iter().find(|slot| *slot != 0 && in_use(*slot));
                let slot = ring_slot(*owner, previous.unwrap_or(*owner));
                // Back with the owner before, while flows begun with another in between are remembered.
                let between = present != *owner && present != 0 && in_use(present);
                let remembers = self.unsettled && (between || self.remembers(place, owners.len() as u64));
                if previous == Some(*owner) && remembers { slot | RING_REMEMBERS } else { slot }
            })
            .collect()
    }

    /// A ring of this one's length that nobody owns.
    pub(super) fn ownerless(&self) -> Maglev {
        Maglev::ownerless(self.length)
    }

    /// Whether the owners are these.
    pub(super) fn owned_by(&self, owners: &[u16]) -> bool {
        let slots = self.blocks.iter().flat_map(|block| &block.slots);
        self.length == owners.len() && slots.zip(owners).all(|(slot, owner)| ring_owners(*slot).0 == *owner)
    }

    /// Its blocks, if they are these.
    pub(super) fn same(&self, blocks: &[RingBlock]) -> Option<Ring> {
        (*self.blocks == *blocks).then(|| self.blocks.clone())
    }

    fn remembers(&self, place: u64, length: u64) -> bool {
        self.at(place, length) & RING_REMEMBERS != 0
    }

    /// The slot that most flows of a slot of a ring of `length` slots are in. Slots are equal shares of the flow hash,
    /// whatever the ring's length, so the one under the middle is it.
    fn at(&self, place: u64, length: u64) -> u32 {
        let under = (2 * place + 1) * self.length as u64 / (2 * length).max(1);
        let (block, slot) = (under / u64::from(RING_BLOCK_SLOTS), under % u64::from(RING_BLOCK_SLOTS));
        let block = usize::try_from(block).ok().and_then(|block| self.blocks.get(block));
        let slot = usize::try_from(slot).ok().and_then(|slot| block?.slots.get(slot));
        slot.copied().unwrap_or(0)
    }
}

/// Slots as owners without a past.
pub(super) fn fresh(owners: &[u16]) -> Vec<u32> {
    owners.iter().map(|owner| ring_slot(*owner, *owner)).collect()
}

/// Whether some slot's previous owner is another.
pub(super) fn is_unsettled(slots: &[u32]) -> bool {
    slots.iter().any(|slot| ring_remembers(*slot))
}

/// Slots as blocks; the rest of the last one is 0.
pub(super) fn blocks(slots: &[u32]) -> Ring {
    let block = |chunk: &[u32]| {
        let mut block = RingBlock::default();
        block.slots.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        block
    };
    slots.chunks(RING_BLOCK_SLOTS as usize).map(block).collect()
}
