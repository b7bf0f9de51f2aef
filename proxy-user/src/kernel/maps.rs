//! The pinned maps, opened once.

use std::path::PathBuf;

use aya::Pod;
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use proxy_common::{
    AclClass, Addr, BackendValue, BudgetValue, ConfigValue, Count, DestinationValue, FlowKey, FlowValue,
    ListName, RingBlock, ServiceKey, ServiceValue, SnatValue, TrafficCount,
};
use thiserror::Error;

use super::bpffs::PinDir;
use super::errno::{errno_of, words};
use super::schema::{self, SchemaError};

/// Why an operation on a map failed.
#[derive(Debug, Error)]
pub enum MapsError {
    /// It cannot be opened.
    #[error(
        "cannot open the pinned map {path}: {reason}; if weir was never started with this --bpffs there is none, and `weir detach` clears a broken set"
    )]
    Open {
        /// The pin.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The set of maps is another version's, or there is none.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It is full.
    #[error(
        "map {map} is full: {what} does not fit; raise its size in [limits] of the configuration (`weir detach` and a start make the map anew), or remove entries"
    )]
    Full {
        /// The map.
        map: &'static str,
        /// The entry.
        what: String,
    },
    /// The kernel has no memory for the entry.
    #[error(
        "the kernel has no memory for {what} in map {map}: free memory or raise the memory limit of the service's cgroup"
    )]
    NoMemory {
        /// The map.
        map: &'static str,
        /// The entry.
        what: String,
    },
    /// Any other failure.
    #[error("cannot {operation} {what} in map {map}: {reason}")]
    Failed {
        /// The map.
        map: &'static str,
        /// Read, write or delete.
        operation: &'static str,
        /// The entry.
        what: String,
        /// Why.
        reason: String,
    },
    /// The entry is out of the map's range: a fault of weir's planner.
    #[error("{what} is out of the range of map {map}: {reason}; this is a fault in weir, please report it")]
    OutOfRange {
        /// The map.
        map: &'static str,
        /// The entry.
        what: String,
        /// Why.
        reason: String,
    },
}

impl MapsError {
    pub(super) fn new(
        map: &'static str,
        operation: &'static str,
        what: impl FnOnce() -> String,
        error: &MapError,
    ) -> Self {
        let what = what();
        if let MapError::OutOfBounds { .. } = error {
            return Self::OutOfRange { map, what, reason: error.to_string() };
        }
        match errno_of(error) {
            // A hash map says E2BIG, an LPM trie ENOSPC.
            Some(libc::E2BIG | libc::ENOSPC) => Self::Full { map, what },
            Some(libc::ENOMEM) => Self::NoMemory { map, what },
            Some(code) => Self::Failed { map, operation, what, reason: words(Some(code)) },
            None => Self::Failed { map, operation, what, reason: error.to_string() },
        }
    }
}

/// Handles of the pinned maps.
pub struct Maps {
    pub(super) config: Array<MapData, ConfigValue>,
    pub(super) filter: Array<MapData, u64>,
    pub(super) destinations: HashMap<MapData, Addr, DestinationValue>,
    pub(super) services: HashMap<MapData, ServiceKey, ServiceValue>,
    pub(super) rings: Array<MapData, RingBlock>,
    pub(super) backends: Array<MapData, BackendValue>,
    pub(super) snat: Array<MapData, SnatValue>,
    pub(super) acl_v4: [LpmTrie<MapData, [u8; 4], u32>; 2],
    pub(super) acl_v6: [LpmTrie<MapData, [u8; 16], u32>; 2],
    pub(super) classes: Array<MapData, AclClass>,
    pub(super) lists: Array<MapData, ListName>,
    pub(super) flows: HashMap<MapData, FlowKey, FlowValue>,
    pub(super) budget: Array<MapData, BudgetValue>,
    pub(super) reason_counts: PerCpuArray<MapData, Count>,
    pub(super) list_counts: PerCpuArray<MapData, Count>,
    pub(super) service_counts: PerCpuArray<MapData, TrafficCount>,
    pub(super) backend_counts: PerCpuArray<MapData, TrafficCount>,
}

impl Maps {
    /// Opens the maps, with or without a daemon. Handles are cheap: a sweep of the flows may have its own.
    ///
    /// # Errors
    /// The maps are another version's, a pin is missing or not the map that its name says.
    pub fn open(pins: &PinDir) -> Result<Self, MapsError> {
        schema::check_version(pins)?;
        let [v4_a, v4_b] = schema::ACL_V4;
        let [v6_a, v6_b] = schema::ACL_V6;
        Ok(Self {
            config: open(pins, schema::CONFIG)?,
            filter: open(pins, schema::FILTER)?,
            destinations: open(pins, schema::DESTINATIONS)?,
            services: open(pins, schema::SERVICES)?,
            rings: open(pins, schema::RINGS)?,
            backends: open(pins, schema::BACKENDS)?,
            snat: open(pins, schema::SNAT)?,
            acl_v4: [open(pins, v4_a)?, open(pins, v4_b)?],
            acl_v6: [open(pins, v6_a)?, open(pins, v6_b)?],
            classes: open(pins, schema::CLASSES)?,
            lists: open(pins, schema::LISTS)?,
            flows: open(pins, schema::FLOWS)?,
            budget: open(pins, schema::BUDGET)?,
            reason_counts: open(pins, schema::STATS_REASONS)?,
            list_counts: open(pins, schema::STATS_LISTS)?,
            service_counts: open(pins, schema::STATS_SERVICES)?,
            backend_counts: open(pins, schema::STATS_BACKENDS)?,
        })
    }

    /// The flow entry of a packet, if there is one.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn flow(&self, key: &FlowKey) -> Result<Option<FlowValue>, MapsError> {
        found(schema::FLOWS, || format!("{key:?}"), self.flows.get(key, 0))
    }
}

/// A look-up whose key may be absent.
pub(super) fn found<V: Pod>(
    map: &'static str,
    what: impl FnOnce() -> String,
    value: Result<V, MapError>,
) -> Result<Option<V>, MapsError> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(MapsError::new(map, "read", what, &error)),
    }
}

pub(super) fn open<M: TryFrom<Map, Error = MapError>>(pins: &PinDir, name: &str) -> Result<M, MapsError> {
    MapData::from_pin(pins.pin(name)).and_then(Map::from_map_data).and_then(M::try_from).map_err(|error| {
        let reason = errno_of(&error).map_or_else(|| error.to_string(), |code| words(Some(code)));
        MapsError::Open { path: pins.pin(name), reason }
    })
}
