//! Stable numbers: service ids and backend slots keep what they have; new ones get what nobody has.

use std::collections::{BTreeMap, BTreeSet};

use proxy_common::{Addr, BackendValue, Port, ServiceKey};

use super::Installed;

/// Service ids.
#[derive(Debug)]
pub(super) struct ServiceIds {
    known: BTreeMap<ServiceKey, u16>,
    used: BTreeSet<u16>,
    next: u16,
    limit: u32,
}

impl ServiceIds {
    /// Ids below `limit` are given out; 0 never is.
    pub(super) fn new(installed: &Installed, limit: u32) -> Self {
        let limit = limit.min(u32::from(u16::MAX));
        let mut taken = BTreeSet::new();
        let known = installed
            .services
            .iter()
            .filter(|(_, value)| value.id != 0 && u32::from(value.id) < limit && taken.insert(value.id))
            .map(|(key, value)| (*key, value.id))
            .collect();
        // Backends whose service is gone: their id may still be in packets' hands.
        let used = installed.backends.values().map(|backend| backend.service).chain(taken).collect();
        Self { known, used, next: 1, limit }
    }

    /// The id that the service has.
    pub(super) fn known(&self, key: &ServiceKey) -> Option<u16> {
        self.known.get(key).copied()
    }

    /// The lowest id that no service has or had until now.
    pub(super) fn fresh(&mut self) -> Option<u16> {
        while u32::from(self.next) < self.limit {
            let id = self.next;
            self.next += 1;
            if !self.used.contains(&id) {
                return Some(id);
            }
        }
        None
    }
}

/// Backend slots.
#[derive(Debug)]
pub(super) struct BackendSlots<'a> {
    installed: &'a Installed,
    known: BTreeMap<(u16, Addr, Port), u16>,
    limit: u32,
    next: u16,
    retired: Vec<(u32, u16)>,
    free: usize,
}

impl<'a> BackendSlots<'a> {
    /// Slots below `limit` are given out; 0 never is.
    pub(super) fn new(installed: &'a Installed, limit: u32) -> Self {
        let limit = limit.min(u32::from(u16::MAX));
        let known = installed
            .backends
            .iter()
            .rev()
            .map(|(slot, value)| ((value.service, value.addr, value.port), *slot))
            .collect();
        let usable =
            |slot: u16| slot != 0 && u32::from(slot) < limit && !installed.backends.contains_key(&slot);
        // Last used last: popped from the end.
        let mut retired: Vec<(u32, u16)> = installed
            .retired
            .iter()
            .filter(|(slot, _)| usable(**slot))
            .map(|(slot, generation)| (*generation, *slot))
            .collect();
        retired.sort_unstable_by(|one, other| other.cmp(one));
        let used = installed.backends.keys().filter(|slot| u32::from(**slot) < limit && **slot != 0).count();
        let free = (limit as usize).saturating_sub(1).saturating_sub(used);
        Self { installed, known, limit, next: 1, retired, free }
    }

    /// The slot that a backend of a service has.
    pub(super) fn known(&self, service: u16, addr: Addr, port: Port) -> Option<(u16, &'a BackendValue)> {
        let slot = *self.known.get(&(service, addr, port))?;
        Some((slot, self.installed.backends.get(&slot)?))
    }

    /// Number of free slots left.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// A free slot and the generation for its next use. Slots never used come first; then those with the lowest
    /// generation, which spreads reuse evenly, as nobody knows when a slot was freed.
    pub(super) fn fresh(&mut self) -> Option<(u16, u32)> {
        while u32::from(self.next) < self.limit {
            let slot = self.next;
            self.next += 1;
            if !self.installed.backends.contains_key(&slot) && !self.installed.retired.contains_key(&slot) {
                self.free = self.free.saturating_sub(1);
                return Some((slot, 1));
            }
        }
        let (generation, slot) = self.retired.pop()?;
        self.free = self.free.saturating_sub(1);
        Some((slot, generation.checked_add(1).unwrap_or(1)))
    }
}
