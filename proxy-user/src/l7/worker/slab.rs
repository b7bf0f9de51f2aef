//! Values by keys that never name another value: a slot that is used again has another generation.

/// Name of a value in a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::l7) struct Key {
    index: u32,
    /// 31 bits.
    generation: u32,
}

impl Key {
    /// 63 bits: see [`Key::from_bits`].
    pub(in crate::l7) fn bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key of these bits.
    pub(in crate::l7) fn from_bits(bits: u64) -> Self {
        let part = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        Self { index: part(bits), generation: part(bits >> 32) & GENERATIONS }
    }
}

/// Values by keys.
#[derive(Debug)]
pub(in crate::l7) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// The key that the next value gets.
    pub(in crate::l7) fn next_key(&self) -> Key {
        match self.free.last() {
            Some(index) => {
                let generation = self.slots.get(*index as usize).map_or(0, |slot| slot.generation);
                Key { index: *index, generation }
            }
            None => Key { index: u32::try_from(self.slots.len()).unwrap_or(u32::MAX), generation: 0 },
        }
    }

    pub(in crate::l7) fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        if self.free.pop().is_some() {
            if let Some(slot) = self.slots.get_mut(key.index as usize) {
                slot.value = Some(value);
            }
        } else {
            self.slots.push(Slot { generation: 0, value: Some(value) });
        }
        key
    }

    #[inline]
    pub(in crate::l7) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    #[inline]
    pub(in crate::l7) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    pub(in crate::l7) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1) & GENERATIONS;
        self.free.push(key.index);
        Some(value)
    }

    pub(in crate::l7) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(in crate::l7) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::l7) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            Some((Key { index, generation: slot.generation }, slot.value.as_ref()?))
        })
    }

    pub(in crate::l7) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

const GENERATIONS: u32 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_value() {
        let mut slab = Slab::default();
        let first = slab.insert('a');
        let second = slab.insert('b');
        assert_eq!((slab.get(first), slab.get(second), slab.len()), (Some(&'a'), Some(&'b'), 2));
        assert_eq!(slab.remove(first), Some('a'));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.next_key(), slab.insert('c'));
        assert_eq!(slab.get(first), None, "the slot is used again, the key is not");
        assert_eq!(slab.keys().len(), 2);
        for key in slab.keys() {
            assert_eq!(Key::from_bits(key.bits()), key);
        }
    }
}
