//! Many entries in one system call: five hundred new rings are sixty thousand blocks.
//!
//! A run that the kernel does not take whole is left to be written step by step, which says what is wrong with which; a
//! step that was written already is written again, with no effect.

use std::collections::BTreeSet;

use aya::maps::{IterableMap as _, MapError};
use proxy_common::{BackendState, BackendValue, RingBlock, TrafficCount};

use super::batch;
use super::maps::{Maps, MapsError};
use super::{schema, sys};
use crate::plan::Step;

/// Writes the run that `steps` begin with. Returns its length; 0 if it is too short, or was not taken.
pub(super) fn run(maps: &Maps, steps: &[Step]) -> usize {
    match steps {
        [Step::SetBackend { .. }, ..] => backends(maps, steps),
        _ => None,
    }
    .unwrap_or(0)
}

/// Writes the blocks of a ring.
pub(super) fn ring(maps: &mut Maps, first: u32, blocks: &[RingBlock]) -> Result<(), MapsError> {
    let keys: Vec<u32> = (0..).zip(blocks).map(|(number, _)| first.saturating_add(number)).collect();
    if sys::update(maps.rings.map(), &keys, blocks, 1).is_ok() {
        return Ok(());
    }
    // One by one, to say which.
    for (block, value) in keys.into_iter().zip(blocks) {
        let failed = |error| MapsError::new(schema::RINGS, "write", || format!("block {block}"), &error);
        maps.rings.set(block, value, 0).map_err(failed)?;
    }
    Ok(())
}

/// Backends, after the counters of slots that come into use have been zeroed.
fn backends(maps: &Maps, steps: &[Step]) -> Option<usize> {
    let backends = steps.iter().map_while(|step| match step {
        Step::SetBackend { slot, value } => Some((u32::from(*slot), *value)),
        _ => None,
    });
    let (keys, values): (Vec<u32>, Vec<BackendValue>) = backends.take(LONGEST).unzip();
    (keys.len() >= SHORTEST).then_some(())?;
    let used = used(maps, &keys).ok()?;
    let fresh: Vec<u32> = keys
        .iter()
        .zip(&values)
        .filter(|(slot, value)| !is_free(value) && !used.contains(slot))
        .map(|(slot, _)| *slot)
        .collect();
    zero(maps, &fresh).ok()?;
    sys::update(maps.backends.map(), &keys, &values, 1).ok()?;
    Some(keys.len())
}

/// Those of the slots that are in use: asked for one by one, or, where they are many, found among all.
fn used(maps: &Maps, slots: &[u32]) -> Result<BTreeSet<u32>, MapsError> {
    let mut used = BTreeSet::new();
    let mut note = |slot: &u32, value: &BackendValue| {
        if !is_free(value) {
            used.insert(*slot);
        }
    };
    if slots.len() > MOST_SINGLE {
        batch::for_each(schema::BACKENDS, &maps.backends, note)?;
        return Ok(used);
    }
    for slot in slots {
        let failed = |error| MapsError::new(schema::BACKENDS, "read", || format!("slot {slot}"), &error);
        note(slot, &maps.backends.get(slot, 0).map_err(failed)?);
    }
    Ok(used)
}

fn zero(maps: &Maps, slots: &[u32]) -> Result<(), MapError> {
    if slots.is_empty() {
        return Ok(());
    }
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let zeros = vec![TrafficCount::default(); slots.len() * cpus];
    Ok(sys::update(maps.backend_counts.map(), slots, &zeros, cpus)?)
}

fn is_free(value: &BackendValue) -> bool {
    BackendState::from_byte(value.state) == BackendState::Free
}

/// Fewer are not worth the set-up.
const SHORTEST: usize = 16;
/// Slots that are looked up one by one: a fraction of all, which a batch has to copy whole.
const MOST_SINGLE: usize = 4_096;
/// Keeps the buffers within some megabytes.
const LONGEST: usize = 16_384;
