//! Requests under way on a shared connection, by ids at the width that the wire has. Ids count up and wrap there, without
//! those in use and some like them: one comes again only after half of all others at least, so that an answer that comes too
//! late names nothing.

/// Values by ids.
#[derive(Debug)]
pub(in crate::l7) struct Ids<T> {
    /// Places of the ids in use, by their lower bits: no two share them. At most half of it is in use, unless it is as wide as
    /// the wire, so that a free one is found in two steps on average.
    ring: Vec<u32>,
    places: Vec<Place<T>>,
    /// Places without a value: the one used last is used first, since it is at hand.
    free: Vec<u32>,
    next: u64,
    /// All bits of an id.
    mask: u64,
}

#[derive(Debug)]
struct Place<T> {
    id: u64,
    value: Option<T>,
}

impl<T> Ids<T> {
    /// Ids of so many bits, 2 to 64.
    pub(in crate::l7) fn new(bits: u32) -> Self {
        Self::from(bits, FIRST)
    }

    /// The same, where this id is the next, as far as it fits.
    pub(super) fn from(bits: u32, next: u64) -> Self {
        let mask = u64::MAX >> (64 - bits.clamp(2, 64));
        Self { ring: Vec::new(), places: Vec::new(), free: Vec::new(), next: next & mask, mask }
    }

    /// A new id.
    ///
    /// # Errors
    /// The value, while all ids are in use.
    pub(in crate::l7) fn insert(&mut self, value: T) -> Result<u64, T> {
        let used = self.len();
        if used * 2 >= self.ring.len() && !self.widen() && used >= self.ring.len() {
            return Err(value);
        }
        let mut id = self.next;
        // One is free, so this ends.
        while self.ring.get(self.slot(id)).is_some_and(|place| *place != NONE) {
            id = id.wrapping_add(1) & self.mask;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let Ok(index) = u32::try_from(self.places.len()) else { return Err(value) };
                self.places.push(Place { id, value: None });
                index
            }
        };
        let slot = self.slot(id);
        let (Some(place), Some(there)) = (self.places.get_mut(index as usize), self.ring.get_mut(slot))
        else {
            return Err(value);
        };
        *there = index;
        place.id = id;
        place.value = Some(value);
        self.next = id.wrapping_add(1) & self.mask;
        Ok(id)
    }

    /// The value of an id, which is free from now on; `None`: the id is nobody's.
    pub(in crate::l7) fn take(&mut self, id: u64) -> Option<T> {
        let slot = self.slot(id);
        let there = self.ring.get_mut(slot)?;
        let index = *there;
        let place = self.places.get_mut(index as usize).filter(|place| place.id == id)?;
        let value = place.value.take()?;
        *there = NONE;
        self.free.push(index);
        Some(value)
    }

    /// The value of an id, if `wanted`.
    pub(in crate::l7) fn take_if(&mut self, id: u64, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        if wanted(self.get_mut(id)?) { self.take(id) } else { None }
    }

    /// The value of an id.
    pub(in crate::l7) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let index = *self.ring.get(self.slot(id))?;
        self.places.get_mut(index as usize).filter(|place| place.id == id)?.value.as_mut()
    }

    /// How many there are.
    pub(in crate::l7) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// All, with their ids.
    pub(in crate::l7) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.places.iter().filter_map(|place| Some((place.id, place.value.as_ref()?)))
    }

    /// All values, as the connection is gone.
    pub(in crate::l7) fn into_values(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|place| place.value)
    }

    /// Doubles the ring; `false`: it is as wide as the wire. Ids that differed in fewer bits differ in more.
    fn widen(&mut self) -> bool {
        let wide = (self.ring.len() * 2).max(FEW);
        if (wide - 1) as u64 > self.mask {
            return false;
        }
        let mut ring = vec![NONE; wide];
        for (index, place) in (0..).zip(&self.places) {
            if place.value.is_some()
                && let Some(there) = ring.get_mut(slot(place.id, wide))
            {
                *there = index;
            }
        }
        self.ring = ring;
        true
    }

    fn slot(&self, id: u64) -> usize {
        slot(id, self.ring.len())
    }
}

/// Where an id is in a ring of so many, a power of two.
fn slot(id: u64, wide: usize) -> usize {
    usize::try_from(id & (wide as u64).wrapping_sub(1)).unwrap_or(usize::MAX)
}

/// In the ring: no place.
const NONE: u32 = u32::MAX;
/// A ring has so many at least, which fit ids of two bits.
const FEW: usize = 4;
/// The first id. In tests, ids wrap soon.
const FIRST: u64 = if cfg!(test) { u64::MAX - 20 } else { 1 };
