//! Services with their backends and rings.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proxy_common::{BackendState, BackendValue, ServiceKey, ServiceValue, ring_word};

use super::backends::{Ways, compile};
use super::blocks::{FreeBlocks, block_count, covered, ring_parts};
use super::convert::mode;
use super::desired::{Shortage, Target};
use super::ids::BackendSlots;
use super::maglev::Maglev;
use super::problem::{PlanError, Warning, What};
use super::ring::{self, RingInForce};
use super::snat::SnatPlan;
use super::{Clock, Installed, Names, Ring, ServiceNumbers};
use crate::model::{BackendAddr, Forward, NextHop, Service};

/// A service to be.
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub service: &'a Service,
    pub key: ServiceKey,
    /// `None` if every id is in use now.
    pub id: Option<u16>,
}

/// Adds services to a target.
pub(super) struct Compiler<'a> {
    pub next_hops: &'a BTreeMap<IpAddr, NextHop>,
    pub snat: &'a SnatPlan,
    pub seed: u64,
    pub keep_history: bool,
    pub clock: Clock,
    pub settle_ticks: u32,
    pub installed: &'a Installed,
    /// Of an earlier plan.
    pub known: &'a Names,
    pub slots: BackendSlots<'a>,
    pub blocks: FreeBlocks,
    pub blocks_wanted: usize,
    pub target: Target,
}

/// A backend and its slot.
struct Placed {
    addr: BackendAddr,
    slot: u16,
    value: BackendValue,
    weight: u16,
}

/// A ring, placed in the arena.
struct PlacedRing {
    word: u64,
    blocks: Ring,
    maglev: Option<Arc<Maglev>>,
    unsettled: bool,
    changed_at: u32,
}

impl Compiler<'_> {
    /// Adds a service, or leaves it as it is if there is no room for it now.
    pub(super) fn add(&mut self, wanted: &Wanted<'_>) {
        if let Err(error) = self.compile(wanted) {
            let shortage = self.target.shortage.get_or_insert(Shortage { services: 0, error });
            shortage.services += 1;
            self.leave(&wanted.key);
        }
    }

    fn compile(&mut self, wanted: &Wanted<'_>) -> Result<(), PlanError> {
        let Wanted { name, service, key, id } = *wanted;
        let id = id.ok_or(PlanError::NoRoomBeside { what: What::Services, wanted: 1, free: 0 })?;
        let warnings = self.target.warnings.len();
        // The L7 path finds its backends by the host's routes: they need no slot, and the service no ring.
        let backends =
            if service.is_forwarded() { self.place_backends(name, service, id)? } else { Vec::new() };
        let ring = self.place_ring(wanted, &backends).inspect_err(|_| {
            self.target.warnings.truncate(warnings);
        })?;
        let value = ServiceValue {
            ring: ring.word,
            id,
            mode: mode(service.forward) as u8,
            reserved: 0,
            syn_budget: service.syn_budget,
            changed_at: ring.changed_at,
            reserved2: 0,
        };
        self.note_settling(&ring);
        self.target.services.insert(key, value);
        if let Some((first, _)) = ring_parts(ring.word) {
            self.target.rings.insert(first, ring.blocks);
        }
        self.target.backends.extend(backends.iter().map(|backend| (backend.slot, backend.value)));
        let backends = backends.iter().map(|backend| (backend.addr, backend.slot)).collect();
        let numbers = ServiceNumbers { key, id, ring: ring.maglev, backends };
        self.target.names.services.insert(name.to_owned(), numbers);
        Ok(())
    }

    fn place_backends(&mut self, name: &str, service: &Service, id: u16) -> Result<Vec<Placed>, PlanError> {
        let ways = Ways { next_hops: self.next_hops, installed: self.installed };
        let mut placed = Vec::with_capacity(service.backends.len());
        let mut unplaced = Vec::new();
        for entry in &service.backends {
            let addr = *entry.0;
            let known =
                self.slots.known(id, super::convert::map_addr(addr.addr), proxy_common::Port::new(addr.port));
            let mut compiled =
                compile(entry, service.forward, id, known.map(|(_, value)| value), &ways, self.snat);
            if let Some(trouble) = compiled.trouble {
                self.target.warnings.push(Warning { service: name.to_owned(), backend: addr, trouble });
            }
            match known {
                Some((slot, value)) => {
                    compiled.value.generation = value.generation;
                    placed.push(Placed { addr, slot, value: compiled.value, weight: compiled.weight });
                }
                None => unplaced.push((addr, compiled)),
            }
        }
        let (wanted, free) = (unplaced.len(), self.slots.free());
        let room = PlanError::NoRoomBeside { what: What::Backends, wanted, free };
        if wanted > free {
            return Err(room);
        }
        for (addr, mut compiled) in unplaced {
            let (slot, generation) = self.slots.fresh().ok_or_else(|| room.clone())?;
            compiled.value.generation = generation;
            placed.push(Placed { addr, slot, value: compiled.value, weight: compiled.weight });
        }
        Ok(placed)
    }

    fn place_ring(&mut self, wanted: &Wanted<'_>, backends: &[Placed]) -> Result<PlacedRing, PlanError> {
        let forward = wanted.service.forward;
        let installed = self.installed.services.get(&wanted.key);
        let now = self.clock.now;
        let weights = backends.iter().map(|backend| (backend.addr, backend.weight)).collect();
        let in_force =
            installed.and_then(|service| RingInForce::read(self.installed, service, now, self.settle_ticks));
        let maglev = self.maglev(wanted.name, &weights);
        // Backends that all drain keep their flows in a ring without owners, as long as flows are remembered.
        let remembering =
            forward == Forward::DsrL2 && self.keep_history && !taking_packets(backends).is_empty();
        let Some(maglev) =
            maglev.or_else(|| Some(Arc::new(in_force.as_ref().filter(|_| remembering)?.ownerless())))
        else {
            let changed_at =
                installed.filter(|service| service.ring == 0).map_or(now, |service| service.changed_at);
            let blocks = Arc::default();
            return Ok(PlacedRing { word: 0, blocks, maglev: None, unsettled: false, changed_at });
        };
        let slot_of: BTreeMap<_, _> = backends.iter().map(|backend| (backend.addr, backend.slot)).collect();
        let members: Vec<u16> = maglev.members.iter().filter_map(|addr| slot_of.get(addr).copied()).collect();
        let owners: Vec<u16> = maglev
            .owners
            .iter()
            .map(|owner| members.get(usize::from(*owner)).copied().unwrap_or(0))
            .collect();
        let slots = match (&in_force, forward) {
            (Some(in_force), Forward::DsrL2) if self.keep_history => {
                let taking: Vec<u16> = taking_packets(backends);
                in_force.follow(&owners, |slot| taking.binary_search(&slot).is_ok())
            }
            _ => ring::fresh(&owners),
        };
        let length = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let count = block_count(length);
        self.blocks_wanted += count as usize;
        let same_owners = in_force.as_ref().is_some_and(|ring| ring.owned_by(&owners));
        let changed_at = installed.filter(|_| same_owners).map_or(now, |service| service.changed_at);
        let blocks = ring::blocks(&slots);
        let (word, blocks) = match installed.zip(in_force.and_then(|ring| ring.same(&blocks))) {
            Some((service, same)) => (service.ring, same),
            None => {
                let wanted = count as usize;
                let room =
                    PlanError::NoRoomBeside { what: What::RingBlocks, wanted, free: self.blocks.free() };
                (ring_word(self.blocks.take(count).ok_or(room)?, length), blocks)
            }
        };
        let unsettled = ring::is_unsettled(&slots);
        Ok(PlacedRing { word, blocks, maglev: Some(maglev), unsettled, changed_at })
    }

    /// The ring of these weights: an earlier plan's, if it was made of the same.
    fn maglev(&self, service: &str, weights: &BTreeMap<BackendAddr, u16>) -> Option<Arc<Maglev>> {
        let known = self.known.services.get(service).and_then(|numbers| numbers.ring.as_ref());
        match known.filter(|ring| ring.is_of(self.seed, weights)) {
            Some(known) => Some(known.clone()),
            None => Maglev::build(self.seed, weights).map(Arc::new),
        }
    }

    fn note_settling(&mut self, ring: &PlacedRing) {
        if !ring.unsettled {
            return;
        }
        let passed = self.clock.now.wrapping_sub(ring.changed_at);
        let ticks = u64::from(self.settle_ticks.saturating_sub(passed));
        let left = Duration::from_millis((ticks * 1000).div_ceil(u64::from(self.clock.hz.max(1))));
        self.target.settles_in = Some(self.target.settles_in.map_or(left, |first| first.min(left)));
    }

    /// Keeps a service as it is installed, with its ring and backends.
    fn leave(&mut self, key: &ServiceKey) {
        let Some(value) = self.installed.services.get(key) else { return };
        self.target.services.insert(*key, *value);
        if let Some((first, _)) = covered(value)
            && let Some(blocks) = self.installed.rings.get(&first)
        {
            self.target.rings.insert(first, blocks.clone());
        }
        let backends = self.installed.backends.iter().filter(|(_, backend)| backend.service == value.id);
        self.target.backends.extend(backends.map(|(slot, backend)| (*slot, *backend)));
    }
}

/// Slots of the backends that take packets of old flows, ascending.
fn taking_packets(backends: &[Placed]) -> Vec<u16> {
    let taking = |backend: &&Placed| {
        matches!(BackendState::from_byte(backend.value.state), BackendState::Active | BackendState::Draining)
    };
    let mut slots: Vec<u16> = backends.iter().filter(taking).map(|backend| backend.slot).collect();
    slots.sort_unstable();
    slots
}
