//! Runs of like steps in one system call each: five hundred new rings are sixty thousand blocks.
//!
//! A run that the kernel does not take whole is left to be written step by step, which says what is wrong with which; a
//! step that was written already is written again, with no effect.

use std::collections::BTreeSet;

use aya::maps::{IterableMap as _, MapError};
use proxy_common::{BackendState, BackendValue, RingBlock, TrafficCount};

use super::batch;
use super::maps::Maps;
use super::{schema, sys};
use crate::plan::Step;

/// Writes the run that `steps` begin with. Returns its length; 0 if it is too short, or was not taken.
pub(super) fn run(maps: &Maps, steps: &[Step]) -> usize {
    match steps {
        [Step::SetRing { .. }, ..] => rings(maps, steps),
        [Step::SetBackend { .. }, ..] => backends(maps, steps),
        _ => None,
    }
    .unwrap_or(0)
}

fn rings(maps: &Maps, steps: &[Step]) -> Option<usize> {
    let blocks = steps.iter().map_while(|step| match step {
        Step::SetRing { block, value } => Some((*block, *value)),
        _ => None,
    });
    let (keys, values): (Vec<u32>, Vec<RingBlock>) = blocks.take(LONGEST).unzip();
    (keys.len() >= SHORTEST).then_some(())?;
    sys::update(maps.rings.map(), &keys, &values, 1).ok()?;
    Some(keys.len())
}

/// Backends, after the counters of slots that come into use have been zeroed.
fn backends(maps: &Maps, steps: &[Step]) -> Option<usize> {
    let backends = steps.iter().map_while(|step| match step {
        Step::SetBackend { slot, value } => Some((u32::from(*slot), *value)),
        _ => None,
    });
    let (keys, values): (Vec<u32>, Vec<BackendValue>) = backends.take(LONGEST).unzip();
    (keys.len() >= SHORTEST).then_some(())?;
    let mut used = BTreeSet::new();
    batch::for_each(schema::BACKENDS, &maps.backends, |slot: &u32, value: &BackendValue| {
        if !is_free(value) {
            used.insert(*slot);
        }
    })
    .ok()?;
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
/// Keeps the buffers within some megabytes.
const LONGEST: usize = 16_384;
