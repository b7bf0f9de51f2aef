//! Desired state as the content that the maps shall have. Numbers that are installed stay; next hops, rings and the
//! source-NAT pool are put in; what does not fit yet is left for a later round.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use proxy_common::{Addr, BackendValue, ConfigValue, DestinationValue, ServiceKey, ServiceValue, SnatValue};

use super::access::Access;
use super::backends::Ways;
use super::blocks::FreeBlocks;
use super::convert::{map_addr, service_key, ticks};
use super::destinations;
use super::ids::{BackendSlots, ServiceIds};
use super::problem::{PlanError, Warning, What};
use super::services::{Compiler, Wanted};
use super::settings::settings;
use super::snat::SnatPlan;
use super::{Input, Installed, Names, Ring};
use crate::model::Forward;

/// What the maps shall hold.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// The ACL; `None` leaves it alone.
    pub access: Option<Access>,
    /// Settings.
    pub config: ConfigValue,
    /// Words of the destination filter.
    pub filter: BTreeMap<u32, u64>,
    /// Addresses of ours.
    pub destinations: BTreeMap<Addr, DestinationValue>,
    /// Services.
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    /// Rings by their first block.
    pub rings: BTreeMap<u32, Ring>,
    /// Backend slots in use.
    pub backends: BTreeMap<u16, BackendValue>,
    /// Source-NAT pool.
    pub snat: BTreeMap<u16, SnatValue>,
    /// Numbers by name.
    pub names: Names,
    /// Backends that can't be used as wanted.
    pub warnings: Vec<Warning>,
    /// Time until the first ring has settled.
    pub settles_in: Option<Duration>,
    /// What does not fit beside what is installed.
    pub shortage: Option<Shortage>,
}

/// Services that have to wait until others have left room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    /// How many.
    pub services: usize,
    /// What the first of them lacks.
    pub error: PlanError,
}

/// The target for the given input beside what is installed.
pub(super) fn target(input: &Input<'_>, installed: &Installed) -> Result<Target, PlanError> {
    let Input { desired, limits, .. } = input;
    let access = match input.keep_acl {
        true => None,
        false => Some(Access::build(&desired.acl, installed, limits)?),
    };
    let wanted = wanted(input, installed)?;
    let snat = snat(input, installed, &wanted)?;
    let mut compiler = Compiler {
        next_hops: input.next_hops,
        snat: &snat,
        seed: desired.seed,
        // Another seed moves every flow to another slot: the previous owners mean nothing then.
        keep_history: installed.config.seed == desired.seed,
        clock: input.clock,
        settle_ticks: ticks(desired.timeouts.settle, input.clock.hz),
        installed,
        known: input.known,
        slots: BackendSlots::new(installed, limits.backends),
        blocks: FreeBlocks::new(installed, limits.ring_blocks),
        blocks_wanted: 0,
        target: Target { snat: snat.entries.clone(), ..Target::default() },
    };
    wanted.iter().for_each(|service| compiler.add(service));
    let Compiler { blocks_wanted, mut target, .. } = compiler;
    if blocks_wanted > limits.ring_blocks as usize {
        let (wanted, limit) = (blocks_wanted, limits.ring_blocks as usize);
        let cure = ": services with fewer backends have shorter rings";
        return Err(PlanError::TooMany { what: What::RingBlocks, wanted, limit, cure });
    }
    if target.shortage.is_some() {
        // Backends of services that wait may use what the pool holds now.
        for (index, value) in &installed.snat {
            target.snat.entry(*index).or_insert(*value);
        }
    }
    target.destinations = destinations::destinations(desired, &target, installed, limits)?;
    target.filter = destinations::filter(&target);
    target.config = settings(input, access.as_ref(), installed);
    let lists = access.as_ref().map_or(&installed.lists, |access| &access.lists);
    target.names.lists =
        lists.iter().filter(|(slot, _)| **slot > 1).map(|(slot, name)| (name.clone(), *slot)).collect();
    target.access = access;
    Ok(target)
}

/// The services with their keys and ids. A service for which no id is free now has none.
fn wanted<'a>(input: &Input<'a>, installed: &Installed) -> Result<Vec<Wanted<'a>>, PlanError> {
    let Input { desired, limits, .. } = input;
    let usable = |limit: u32| (limit as usize).saturating_sub(1);
    let too_many = |what, wanted, limit| PlanError::TooMany { what, wanted, limit, cure: "" };
    let services = desired.services.len();
    if services > usable(limits.services) {
        return Err(too_many(What::Services, services, usable(limits.services)));
    }
    let forwarded = desired.services.values().filter(|service| service.is_forwarded());
    let backends = forwarded.map(|service| service.backends.len()).sum();
    if backends > usable(limits.backends) {
        return Err(too_many(What::Backends, backends, usable(limits.backends)));
    }
    let mut ids = ServiceIds::new(installed, limits.services);
    let mut keys: BTreeMap<ServiceKey, &String> = BTreeMap::new();
    let mut wanted = Vec::with_capacity(services);
    for (name, service) in &desired.services {
        let key = service_key(&service.vip);
        if let Some(first) = keys.insert(key, name) {
            let (first, second) = (first.clone(), name.clone());
            return Err(PlanError::SharedVip { vip: service.vip, first, second });
        }
        let id = ids.known(&key).or_else(|| ids.fresh());
        wanted.push(Wanted { name, service, key, id });
    }
    Ok(wanted)
}

/// The pool for the backends of all `nat` services.
fn snat(input: &Input<'_>, installed: &Installed, wanted: &[Wanted<'_>]) -> Result<SnatPlan, PlanError> {
    let slots = BackendSlots::new(installed, input.limits.backends);
    let (mut backends, mut sources) = (BTreeSet::<IpAddr>::new(), BTreeSet::new());
    for wanted in wanted.iter().filter(|wanted| wanted.service.forward == Forward::Nat) {
        for backend in wanted.service.backends.keys() {
            let known = wanted.id.and_then(|id| {
                slots.known(id, map_addr(backend.addr), proxy_common::Port::new(backend.port))
            });
            let ways = Ways { next_hops: input.next_hops, installed };
            backends.insert(backend.addr);
            sources.extend(ways.source(backend.addr, known.map(|(_, value)| value)));
        }
    }
    SnatPlan::build(&input.desired.snat, &backends, &sources, installed, input.limits.snat)
}
