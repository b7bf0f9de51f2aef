//! Requests under way on a shared connection, by ids at the width that the wire has. The lower half of an id is a place,
//! the upper half counts how often the place was used: an answer that comes too late names nothing.

/// Values by ids.
#[derive(Debug)]
pub(in crate::l7) struct Ids<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    /// Bits of an id, 2 to 64.
    bits: u32,
    first_turn: u64,
}

#[derive(Debug)]
struct Place<T> {
    turn: u64,
    value: Option<T>,
}

impl<T> Ids<T> {
    /// Ids of so many bits.
    pub(in crate::l7) fn new(bits: u32) -> Self {
        Self { places: Vec::new(), free: Vec::new(), bits: bits.clamp(2, 64), first_turn: FIRST_TURN }
    }

    /// The same, where each place has been used so often.
    #[cfg(test)]
    pub(super) fn after(bits: u32, turns: u64) -> Self {
        Self { first_turn: turns, ..Self::new(bits) }
    }

    /// A new id; `None` while all are taken.
    pub(in crate::l7) fn insert(&mut self, value: T) -> Option<u64> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() as u64 > self.place_mask() => return None,
            None => {
                let index = u32::try_from(self.places.len()).ok()?;
                self.places.push(Place { turn: self.first_turn & self.turn_mask(), value: None });
                index
            }
        };
        let place = self.places.get_mut(index as usize)?;
        place.value = Some(value);
        Some(place.turn << self.place_bits() | u64::from(index))
    }

    /// The value of an id, which is free from now on; `None`: the id is nobody's.
    pub(in crate::l7) fn take(&mut self, id: u64) -> Option<T> {
        let (turn_mask, place_bits) = (self.turn_mask(), self.place_bits());
        let index = u32::try_from(id & self.place_mask()).ok()?;
        let place = self.places.get_mut(index as usize)?;
        if place.turn != id >> place_bits {
            return None;
        }
        let value = place.value.take()?;
        place.turn = place.turn.wrapping_add(1) & turn_mask;
        self.free.push(index);
        Some(value)
    }

    /// The value of an id, if `wanted`.
    pub(in crate::l7) fn take_if(&mut self, id: u64, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        if wanted(self.get_mut(id)?) { self.take(id) } else { None }
    }

    /// The value of an id.
    pub(in crate::l7) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let index = u32::try_from(id & self.place_mask()).ok()?;
        let turn = id >> self.place_bits();
        self.places.get_mut(index as usize).filter(|place| place.turn == turn)?.value.as_mut()
    }

    /// How many there are.
    pub(in crate::l7) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// All, with their ids.
    pub(in crate::l7) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (0_u64..).zip(&self.places).filter_map(|(index, place)| {
            Some((place.turn << self.place_bits() | index, place.value.as_ref()?))
        })
    }

    /// All values, as the connection is gone.
    pub(in crate::l7) fn into_values(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|place| place.value)
    }

    fn place_bits(&self) -> u32 {
        self.bits / 2
    }

    fn place_mask(&self) -> u64 {
        (1 << self.place_bits()) - 1
    }

    fn turn_mask(&self) -> u64 {
        u64::MAX >> (64 - (self.bits - self.place_bits()))
    }
}

/// A place that is used for the first time has been used so often. In tests, ids wrap soon.
const FIRST_TURN: u64 = if cfg!(test) { u64::MAX - 20 } else { 0 };
