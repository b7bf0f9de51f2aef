//! Executing a plan, step by step. Each step is one write that leaves the data path consistent; what it must zero first,
//! it zeroes first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aya::Pod;
use aya::maps::lpm_trie::Key;
use aya::maps::{MapError, PerCpuArray, PerCpuValues};
use ipnet::IpNet;
use proxy_common::{BackendState, BackendValue, BudgetValue, ListName, ServiceKey, ServiceValue};
use thiserror::Error;

use super::batch;
use super::bulk;
use super::grace;
use super::maps::{Maps, MapsError, found};
use super::schema;
use crate::plan::Step;

/// A step that failed. The ones before it are in force, and so the maps must be read again before the next plan.
#[derive(Debug, Error)]
#[error("step {} of the plan: {source}", index + 1)]
pub struct ApplyError {
    /// Number of the step, from 0.
    pub index: usize,
    /// Why.
    pub source: MapsError,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Steps.
    pub steps: usize,
    /// Time spent in grace periods among them.
    pub waited: Duration,
}

/// Executes steps in their order.
///
/// # Errors
/// The first step that fails; nothing after it is done.
pub fn apply(maps: &mut Maps, steps: &[Step]) -> Result<Written, ApplyError> {
    let mut ids = None;
    let mut done = Written::default();
    while let Some(rest @ [step, ..]) = steps.get(done.steps..) {
        if let Step::Grace = step {
            let begun = Instant::now();
            grace::wait();
            done.waited += begun.elapsed();
        } else {
            let run = bulk::run(maps, rest);
            if run > 0 {
                done.steps += run;
                continue;
            }
            execute(maps, &mut ids, step).map_err(|source| ApplyError { index: done.steps, source })?;
        }
        done.steps += 1;
    }
    Ok(done)
}

/// How many services have each id, once it is asked for.
type ServiceIds = Option<BTreeMap<u16, usize>>;

fn execute(maps: &mut Maps, ids: &mut ServiceIds, step: &Step) -> Result<(), MapsError> {
    match step {
        Step::NameList { slot, name } => name_list(maps, *slot, name),
        Step::SetClass { class, value } => {
            written(schema::CLASSES, || format!("class {class}"), maps.classes.set(*class, value, 0))
        }
        Step::SetPrefix { table, prefix, class } => set_prefix(maps, *table, prefix, *class),
        Step::DeletePrefix { table, prefix } => delete_prefix(maps, *table, prefix),
        Step::SetSnat { index, value } => {
            written(schema::SNAT, || format!("entry {index}"), maps.snat.set(u32::from(*index), value, 0))
        }
        Step::SetBackend { slot, value } => set_backend(maps, *slot, value),
        Step::SetRing { first, blocks } => bulk::ring(maps, *first, blocks),
        Step::SetFilter { word, value } => {
            written(schema::FILTER, || format!("word {word}"), maps.filter.set(*word, value, 0))
        }
        Step::SetDestination { addr, value } => written(
            schema::DESTINATIONS,
            || format!("address {addr:?}"),
            maps.destinations.insert(addr, value, 0),
        ),
        Step::DeleteDestination { addr } => {
            deleted(schema::DESTINATIONS, || format!("address {addr:?}"), maps.destinations.remove(addr))
        }
        Step::SetService { key, value } => set_service(maps, ids, key, value),
        Step::DeleteService { key } => delete_service(maps, ids, key),
        Step::SetConfig { value } => {
            written(schema::CONFIG, || "the settings".to_owned(), maps.config.set(0, value, 0))
        }
        // `apply` waits itself.
        Step::Grace => Ok(()),
    }
}

fn name_list(maps: &mut Maps, slot: u16, name: &str) -> Result<(), MapsError> {
    zero(schema::STATS_LISTS, &mut maps.list_counts, u32::from(slot))?;
    let mut value = ListName { bytes: [0; 64] };
    // The last byte stays zero, for readers that print C strings.
    for (place, byte) in value.bytes.iter_mut().take(63).zip(name.bytes()) {
        *place = byte;
    }
    written(schema::LISTS, || format!("list slot {slot}"), maps.lists.set(u32::from(slot), value, 0))
}

fn set_prefix(maps: &mut Maps, table: usize, prefix: &IpNet, class: u32) -> Result<(), MapsError> {
    let (name, result) = match prefix.trunc() {
        IpNet::V4(net) => {
            let key = Key::new(u32::from(net.prefix_len()), net.network().octets());
            let map = maps.acl_v4.get_mut(table).ok_or_else(|| no_table(table))?;
            (schema::ACL_V4.get(table), map.insert(&key, class, 0))
        }
        IpNet::V6(net) => {
            let key = Key::new(u32::from(net.prefix_len()), net.network().octets());
            let map = maps.acl_v6.get_mut(table).ok_or_else(|| no_table(table))?;
            (schema::ACL_V6.get(table), map.insert(&key, class, 0))
        }
    };
    written(name.copied().unwrap_or_default(), || format!("prefix {prefix}"), result)
}

fn delete_prefix(maps: &mut Maps, table: usize, prefix: &IpNet) -> Result<(), MapsError> {
    let (name, result) = match prefix.trunc() {
        IpNet::V4(net) => {
            let key = Key::new(u32::from(net.prefix_len()), net.network().octets());
            let map = maps.acl_v4.get_mut(table).ok_or_else(|| no_table(table))?;
            (schema::ACL_V4.get(table), map.remove(&key))
        }
        IpNet::V6(net) => {
            let key = Key::new(u32::from(net.prefix_len()), net.network().octets());
            let map = maps.acl_v6.get_mut(table).ok_or_else(|| no_table(table))?;
            (schema::ACL_V6.get(table), map.remove(&key))
        }
    };
    deleted(name.copied().unwrap_or_default(), || format!("prefix {prefix}"), result)
}

fn no_table(table: usize) -> MapsError {
    MapsError::OutOfRange {
        map: "weir_acl*",
        what: format!("table {table}"),
        reason: "there are tables 0 and 1".to_owned(),
    }
}

fn set_backend(maps: &mut Maps, slot: u16, value: &BackendValue) -> Result<(), MapsError> {
    let what = || format!("backend slot {slot}");
    let index = u32::from(slot);
    let old = maps
        .backends
        .get(&index, 0)
        .map_err(|error| MapsError::new(schema::BACKENDS, "read", what, &error))?;
    let free = |value: &BackendValue| BackendState::from_byte(value.state) == BackendState::Free;
    if free(&old) && !free(value) {
        zero(schema::STATS_BACKENDS, &mut maps.backend_counts, index)?;
    }
    written(schema::BACKENDS, what, maps.backends.set(index, value, 0))
}

fn set_service(
    maps: &mut Maps,
    ids: &mut ServiceIds,
    key: &ServiceKey,
    value: &ServiceValue,
) -> Result<(), MapsError> {
    let what = || format!("service {key:?}");
    let old = found(schema::SERVICES, what, maps.services.get(key, 0))?;
    let ids = service_ids(maps, ids)?;
    if ids.get(&value.id).is_none_or(|users| *users == 0) {
        let index = u32::from(value.id);
        zero(schema::STATS_SERVICES, &mut maps.service_counts, index)?;
        let budget = maps.budget.set(index, BudgetValue::default(), 0);
        written(schema::BUDGET, || format!("service id {index}"), budget)?;
    }
    written(schema::SERVICES, what, maps.services.insert(key, value, 0))?;
    if let Some(old) = old {
        release(ids, old.id);
    }
    *ids.entry(value.id).or_default() += 1;
    Ok(())
}

fn delete_service(maps: &mut Maps, ids: &mut ServiceIds, key: &ServiceKey) -> Result<(), MapsError> {
    let what = || format!("service {key:?}");
    let old = found(schema::SERVICES, what, maps.services.get(key, 0))?;
    let ids = service_ids(maps, ids)?;
    deleted(schema::SERVICES, what, maps.services.remove(key))?;
    if let Some(old) = old {
        release(ids, old.id);
    }
    Ok(())
}

fn service_ids<'ids>(
    maps: &Maps,
    ids: &'ids mut ServiceIds,
) -> Result<&'ids mut BTreeMap<u16, usize>, MapsError> {
    if ids.is_none() {
        let mut users = BTreeMap::new();
        batch::for_each(schema::SERVICES, &maps.services, |_: &ServiceKey, value: &ServiceValue| {
            *users.entry(value.id).or_default() += 1;
        })?;
        *ids = Some(users);
    }
    Ok(ids.get_or_insert_default())
}

fn release(ids: &mut BTreeMap<u16, usize>, id: u16) {
    if let Some(users) = ids.get_mut(&id) {
        *users = users.saturating_sub(1);
    }
}

/// Zeroes a counter on all CPUs.
pub(super) fn zero<V: Pod + Default>(
    name: &'static str,
    map: &mut PerCpuArray<aya::maps::MapData, V>,
    index: u32,
) -> Result<(), MapsError> {
    let mut zeroed = || {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let zeros = PerCpuValues::try_from(vec![V::default(); cpus])?;
        map.set(index, zeros, 0)
    };
    written(name, || format!("counter {index}"), zeroed())
}

fn written(
    map: &'static str,
    what: impl FnOnce() -> String,
    result: Result<(), MapError>,
) -> Result<(), MapsError> {
    result.map_err(|error| MapsError::new(map, "write", what, &error))
}

/// What is gone already need not go.
fn deleted(
    map: &'static str,
    what: impl FnOnce() -> String,
    result: Result<(), MapError>,
) -> Result<(), MapsError> {
    match result {
        Err(error) if super::errno::errno_of(&error) == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(MapsError::new(map, "delete", what, &error)),
        Ok(()) => Ok(()),
    }
}
