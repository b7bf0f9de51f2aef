//! What the pinned maps must be. aya 0.14 uses a pin again without a look at it, so weir looks first: type, sizes,
//! capacity and flags of each map, and the version that wrote them.

use std::fmt;
use std::path::PathBuf;

use aya::maps::{Array, Map, MapData, MapError, MapInfo, MapType};
use proxy_common::{
    AclClass, Addr, BackendValue, BudgetValue, CacheLine, ConfigValue, Count, DestinationValue, FlowKey,
    FlowValue, ListName, RingBlock, SCHEMA_MAGIC, SCHEMA_VERSION, SchemaValue, ServiceKey, ServiceValue,
    SnatValue, TrafficCount, limits,
};
use thiserror::Error;

use super::bpffs::{BpffsError, PinDir};
use super::errno::{errno_of, words};
use super::links;

/// Capacities that are set when the maps are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Flattened IPv4 prefixes in each of the two ACL tables.
    pub acl_v4: u32,
    /// Flattened IPv6 prefixes in each of the two ACL tables.
    pub acl_v6: u32,
    /// Flow entries; a NAT flow takes two.
    pub flows: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { acl_v4: limits::ACL_V4_PREFIXES, acl_v6: limits::ACL_V6_PREFIXES, flows: limits::FLOWS }
    }
}

/// Why the pinned maps are not used.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// A map is not what this weir needs.
    #[error(
        "the pinned map {map} has {property} {pinned}, but this weir and its configuration need {wanted}: run `weir \
         detach` (traffic then passes unfiltered) and start again, or put the old {property} back (pins in {dir})"
    )]
    Differs {
        /// The map.
        map: &'static str,
        /// What differs.
        property: &'static str,
        /// As pinned.
        pinned: String,
        /// As needed.
        wanted: String,
        /// Directory of the pins.
        dir: PathBuf,
    },
    /// A map of the set is missing.
    #[error(
        "the pins in {dir} are incomplete, {map} is missing: run `weir detach` (traffic then passes unfiltered) and start again"
    )]
    Missing {
        /// The map.
        map: &'static str,
        /// Directory of the pins.
        dir: PathBuf,
    },
    /// Another version wrote the maps.
    #[error(
        "the pinned maps in {dir} have layout {pinned}, this weir writes layout {wanted}: go back to the weir that \
         made them, or run `weir detach` (traffic then passes unfiltered) and start again"
    )]
    Version {
        /// As pinned.
        pinned: String,
        /// As written by this weir.
        wanted: String,
        /// Directory of the pins.
        dir: PathBuf,
    },
    /// A pin cannot be read.
    #[error("cannot read the pinned map {path}: {reason}; a pin that is no map is removed by `weir detach`")]
    Unreadable {
        /// The pin.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The directory of pins cannot be used.
    #[error(transparent)]
    Directory(#[from] BpffsError),
}

/// What is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// No usable set of maps: none, or one whose making was cut short.
    Nothing,
    /// A whole set that fits.
    Whole,
}

/// Compares the pinned maps with what this weir needs.
///
/// # Errors
/// A set of maps is there that does not fit.
pub fn check(pins: &PinDir, capacity: &Capacity) -> Result<Pinned, SchemaError> {
    match version(pins)? {
        // The version is written last: without it the maps were never used, unless something is attached.
        None | Some(SchemaValue { magic: 0, .. }) if links::names(pins)?.is_empty() => {
            return Ok(Pinned::Nothing);
        }
        Some(CURRENT) => {}
        other => return Err(other_version(pins, other)),
    }
    for spec in specs(capacity) {
        match info(pins, spec.name)? {
            Some(info) => spec.compare(&info, pins)?,
            // Came after version 1 of the layout: a set without it is whole, and it is made at load.
            None if spec.name == LISTENERS => {}
            None => return Err(SchemaError::Missing { map: spec.name, dir: pins.path().to_owned() }),
        }
    }
    Ok(Pinned::Whole)
}

/// Compares the version of the pinned maps only: for readers that do not know the capacities.
///
/// # Errors
/// There are no maps, or another version wrote them.
pub fn check_version(pins: &PinDir) -> Result<(), SchemaError> {
    match version(pins)? {
        Some(CURRENT) => Ok(()),
        None => Err(SchemaError::Missing { map: SCHEMA, dir: pins.path().to_owned() }),
        other => Err(other_version(pins, other)),
    }
}

/// Removes every pinned map.
///
/// # Errors
/// A pin cannot be removed.
pub fn clear(pins: &PinDir) -> Result<(), BpffsError> {
    // The version goes first: from then on the rest is an unfinished set.
    pins.remove(SCHEMA)?;
    specs(&Capacity::default()).iter().try_for_each(|spec| pins.remove(spec.name))
}

/// Says that the set of maps is whole.
///
/// # Errors
/// The map cannot be written.
pub(super) fn stamp(pins: &PinDir) -> Result<(), MapError> {
    let map = Map::from_map_data(MapData::from_pin(pins.pin(SCHEMA))?)?;
    Array::<_, SchemaValue>::try_from(map)?.set(0, CURRENT, 0)
}

/// The maps of the data path.
#[must_use]
pub fn specs(capacity: &Capacity) -> [MapSpec; 23] {
    use MapType::{Array, Hash, LpmTrie, PerCpuArray, SockMap};
    let reasons = limits::INTERFACES * limits::REASON_SLOTS;
    [
        spec::<u32, ConfigValue>(CONFIG, Array, 1),
        spec::<u32, SchemaValue>(SCHEMA, Array, 1),
        spec::<u32, u64>(FILTER, Array, limits::FILTER_WORDS),
        spec::<Addr, DestinationValue>(DESTINATIONS, Hash, limits::DESTINATIONS),
        spec::<ServiceKey, ServiceValue>(SERVICES, Hash, limits::SERVICES),
        spec::<u32, RingBlock>(RINGS, Array, limits::RING_BLOCKS),
        spec::<u32, BackendValue>(BACKENDS, Array, limits::BACKENDS),
        spec::<u32, SnatValue>(SNAT, Array, limits::SNAT_ADDRESSES),
        spec::<[u8; 8], u32>(ACL_V4[0], LpmTrie, capacity.acl_v4),
        spec::<[u8; 8], u32>(ACL_V4[1], LpmTrie, capacity.acl_v4),
        spec::<[u8; 20], u32>(ACL_V6[0], LpmTrie, capacity.acl_v6),
        spec::<[u8; 20], u32>(ACL_V6[1], LpmTrie, capacity.acl_v6),
        spec::<u32, AclClass>(CLASSES, Array, limits::ACL_CLASSES),
        spec::<u32, ListName>(LISTS, Array, limits::LISTS),
        spec::<FlowKey, FlowValue>(FLOWS, Hash, capacity.flows),
        spec::<u32, CacheLine>(CACHE, Array, limits::CACHE_LINES),
        spec::<u32, BudgetValue>(BUDGET, Array, limits::SERVICES),
        spec::<u32, BudgetValue>(SPENT, PerCpuArray, 1),
        spec::<u32, u32>(LISTENERS, SockMap, 2 * limits::LISTENERS),
        spec::<u32, Count>(STATS_REASONS, PerCpuArray, reasons),
        spec::<u32, Count>(STATS_LISTS, PerCpuArray, limits::LISTS),
        spec::<u32, TrafficCount>(STATS_SERVICES, PerCpuArray, limits::SERVICES),
        spec::<u32, TrafficCount>(STATS_BACKENDS, PerCpuArray, limits::BACKENDS),
    ]
}

/// What one map must be.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec {
    /// Name, also of its pin.
    pub name: &'static str,
    /// Type.
    pub kind: MapType,
    /// Size of a key, bytes.
    pub key: u32,
    /// Size of a value, bytes.
    pub value: u32,
    /// Capacity.
    pub entries: u32,
    /// Creation flags of the kernel.
    pub flags: u32,
}

impl MapSpec {
    fn compare(&self, info: &MapInfo, pins: &PinDir) -> Result<(), SchemaError> {
        let differs = |property, pinned: &dyn fmt::Display, wanted: &dyn fmt::Display| {
            Err(SchemaError::Differs {
                map: self.name,
                property,
                pinned: pinned.to_string(),
                wanted: wanted.to_string(),
                dir: pins.path().to_owned(),
            })
        };
        let kind = info.map_type().ok();
        if kind != Some(self.kind) {
            let pinned = kind.map_or_else(|| "unknown".to_owned(), |kind| format!("{kind:?}"));
            return differs("type", &pinned, &format!("{:?}", self.kind));
        }
        for (property, pinned, wanted) in [
            ("key size", info.key_size(), self.key),
            ("value size", info.value_size(), self.value),
            ("capacity", info.max_entries(), self.entries),
            ("flags", info.map_flags(), self.flags),
        ] {
            if pinned != wanted {
                return differs(property, &pinned, &wanted);
            }
        }
        Ok(())
    }
}

fn spec<K, V>(name: &'static str, kind: MapType, entries: u32) -> MapSpec {
    let flags = if matches!(kind, MapType::Hash | MapType::LpmTrie) { NO_PREALLOC } else { 0 };
    MapSpec { name, kind, key: size::<K>(), value: size::<V>(), entries, flags }
}

fn size<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

fn info(pins: &PinDir, name: &str) -> Result<Option<MapInfo>, SchemaError> {
    readable(pins, name, MapInfo::from_pin(pins.pin(name)))
}

fn version(pins: &PinDir) -> Result<Option<SchemaValue>, SchemaError> {
    let read = || {
        let map = Map::from_map_data(MapData::from_pin(pins.pin(SCHEMA))?)?;
        Array::<_, SchemaValue>::try_from(map)?.get(&0, 0)
    };
    readable(pins, SCHEMA, read())
}

fn other_version(pins: &PinDir, pinned: Option<SchemaValue>) -> SchemaError {
    SchemaError::Version {
        pinned: pinned.map_or_else(
            || "of an unfinished start".to_owned(),
            |value| format!("{} (magic {:#x})", value.version, value.magic),
        ),
        wanted: format!("{SCHEMA_VERSION} (magic {SCHEMA_MAGIC:#x})"),
        dir: pins.path().to_owned(),
    }
}

/// A missing pin is `None`.
fn readable<T>(pins: &PinDir, name: &str, read: Result<T, MapError>) -> Result<Option<T>, SchemaError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) => match errno_of(&error) {
            Some(libc::ENOENT) => Ok(None),
            Some(code) => Err(SchemaError::Unreadable { path: pins.pin(name), reason: words(Some(code)) }),
            None => Err(SchemaError::Unreadable { path: pins.pin(name), reason: error.to_string() }),
        },
    }
}

const CURRENT: SchemaValue = SchemaValue { magic: SCHEMA_MAGIC, version: SCHEMA_VERSION };
/// `BPF_F_NO_PREALLOC`: LPM tries must have it, and hash maps then take memory only for what is in them.
const NO_PREALLOC: u32 = 1;

pub(super) const CONFIG: &str = "weir_config";
pub(super) const SCHEMA: &str = "weir_schema";
pub(super) const FILTER: &str = "weir_filter";
pub(super) const DESTINATIONS: &str = "weir_dests";
pub(super) const SERVICES: &str = "weir_services";
pub(super) const RINGS: &str = "weir_rings";
pub(super) const BACKENDS: &str = "weir_backends";
pub(super) const SNAT: &str = "weir_snat";
pub(super) const ACL_V4: [&str; 2] = ["weir_acl4_a", "weir_acl4_b"];
pub(super) const ACL_V6: [&str; 2] = ["weir_acl6_a", "weir_acl6_b"];
pub(super) const CLASSES: &str = "weir_classes";
pub(super) const LISTS: &str = "weir_lists";
pub(super) const FLOWS: &str = "weir_flows";
pub(super) const CACHE: &str = "weir_cache";
pub(super) const BUDGET: &str = "weir_budget";
pub(super) const SPENT: &str = "weir_spent";
pub(super) const LISTENERS: &str = "weir_listeners";
pub(super) const STATS_REASONS: &str = "stats_reasons";
pub(super) const STATS_LISTS: &str = "stats_lists";
pub(super) const STATS_SERVICES: &str = "stats_services";
pub(super) const STATS_BACKENDS: &str = "stats_backends";
