//! Room in the ring arena.

use proxy_common::ServiceValue;
use proxy_common::limits::RING_BLOCK_SLOTS;

use super::Installed;

/// Blocks that no installed ring covers and no planned one has taken.
#[derive(Debug)]
pub(super) struct FreeBlocks {
    /// First block and number of blocks, ascending, apart from each other.
    ranges: Vec<(u32, u32)>,
}

impl FreeBlocks {
    /// The free part of an arena of `blocks` blocks.
    pub(super) fn new(installed: &Installed, blocks: u32) -> Self {
        let mut used: Vec<(u32, u32)> = installed.services.values().filter_map(covered).collect();
        used.sort_unstable();
        let mut ranges = Vec::new();
        let mut from = 0;
        for (first, count) in used {
            if first > from {
                ranges.push((from, first - from));
            }
            from = from.max(first.saturating_add(count));
        }
        if blocks > from {
            ranges.push((from, blocks - from));
        }
        Self { ranges }
    }

    /// Takes the first run of `count` blocks.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let place = self.ranges.iter().position(|(_, free)| *free >= count)?;
        let (first, free) = self.ranges.get_mut(place)?;
        let taken = *first;
        *first += count;
        *free -= count;
        if *free == 0 {
            self.ranges.remove(place);
        }
        Some(taken)
    }

    /// Number of free blocks.
    pub(super) fn free(&self) -> usize {
        self.ranges.iter().map(|(_, free)| *free as usize).sum()
    }
}

/// First block and number of blocks of a service's ring.
#[must_use]
pub fn covered(service: &ServiceValue) -> Option<(u32, u32)> {
    let (first, length) = ring_parts(service.ring)?;
    Some((first, block_count(length)))
}

/// First block and length in slots of a ring word.
pub(super) fn ring_parts(word: u64) -> Option<(u32, u32)> {
    let first = u32::try_from(word >> 32).ok()?;
    let length = u32::try_from(word & u64::from(u32::MAX)).ok()?;
    (length > 0).then_some((first, length))
}

/// Number of blocks that a ring of this length takes.
pub(super) fn block_count(length: u32) -> u32 {
    length.div_ceil(RING_BLOCK_SLOTS)
}

#[cfg(test)]
mod tests {
    use proxy_common::{ServiceKey, ring_word};

    use super::*;

    #[test]
    fn first_fit_goes_around_rings_in_force() {
        let mut installed = Installed::default();
        for (id, first, length) in [(1, 10, 2_039), (2, 200, 33)] {
            let value = ServiceValue { ring: ring_word(first, length), id, ..Default::default() };
            installed.services.insert(ServiceKey { proto: 6, reserved: 0, ..key(id) }, value);
        }
        let mut free = FreeBlocks::new(&installed, 300);
        assert_eq!(free.ranges, [(0, 10), (138, 62), (203, 97)]);
        assert_eq!(
            [free.take(11), free.take(10), free.take(51), free.take(97)],
            [Some(138), Some(0), Some(149), Some(203)]
        );
        assert_eq!((free.take(1), free.free()), (None, 0));
    }

    fn key(id: u16) -> ServiceKey {
        ServiceKey { port: proxy_common::Port::new(id), ..Default::default() }
    }
}
