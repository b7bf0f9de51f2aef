//! The maps that the daemon writes, decoded into the planner's starting point.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use aya::maps::lpm_trie::Key;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proxy_common::{BackendState, BackendValue, ConfigValue, ListName, ServiceValue, SnatValue, limits};

use super::batch;
use super::maps::{Maps, MapsError};
use super::schema;
use crate::plan::{Installed, Ring, covered};

/// Reads everything that is installed.
///
/// # Errors
/// A map cannot be read.
pub fn installed(maps: &Maps) -> Result<Installed, MapsError> {
    let mut installed = Installed {
        config: config(maps)?,
        filter: nonzero(schema::FILTER, &maps.filter, |word| *word == 0)?,
        lists: lists(maps)?,
        classes: nonzero(schema::CLASSES, &maps.classes, |class| *class == Default::default())?,
        ..Installed::default()
    };
    batch::for_each(schema::DESTINATIONS, &maps.destinations, |addr, value| {
        installed.destinations.insert(*addr, *value);
    })?;
    batch::for_each(schema::SERVICES, &maps.services, |key, value| {
        installed.services.insert(*key, *value);
    })?;
    for value in installed.services.values() {
        installed.rings.extend(ring(maps, value)?);
    }
    snat(maps, &mut installed.snat)?;
    backends(maps, &mut installed)?;
    for (table, prefixes) in installed.acl.iter_mut().enumerate() {
        acl(maps, table, prefixes)?;
    }
    Ok(installed)
}

/// The settings in force.
///
/// # Errors
/// The map cannot be read.
pub fn config(maps: &Maps) -> Result<ConfigValue, MapsError> {
    let failed = |error| MapsError::new(schema::CONFIG, "read", || "the settings".to_owned(), &error);
    maps.config.get(&0, 0).map_err(failed)
}

/// Names of the lists by their slot.
///
/// # Errors
/// The map cannot be read.
pub fn lists(maps: &Maps) -> Result<BTreeMap<u16, String>, MapsError> {
    let mut names = BTreeMap::new();
    batch::for_each(schema::LISTS, &maps.lists, |slot: &u32, name: &ListName| {
        let end = name.bytes.iter().position(|byte| *byte == 0).unwrap_or(name.bytes.len());
        let text = name.bytes.get(..end).unwrap_or_default();
        if let (false, Ok(slot)) = (text.is_empty(), u16::try_from(*slot)) {
            names.insert(slot, String::from_utf8_lossy(text).into_owned());
        }
    })?;
    Ok(names)
}

fn nonzero<M, V>(
    name: &'static str,
    map: &M,
    is_zero: impl Fn(&V) -> bool,
) -> Result<BTreeMap<u32, V>, MapsError>
where
    M: batch::Walk<u32, V>,
    V: aya::Pod,
{
    let mut entries = BTreeMap::new();
    batch::for_each(name, map, |index: &u32, value: &V| {
        if !is_zero(value) {
            entries.insert(*index, *value);
        }
    })?;
    Ok(entries)
}

/// The ring that the service's word covers and its first block: the arena is large and mostly unused. A word that points
/// beyond the arena is what the planner must see as it is, without those blocks.
fn ring(maps: &Maps, service: &ServiceValue) -> Result<Option<(u32, Ring)>, MapsError> {
    let Some((first, count)) = covered(service) else { return Ok(None) };
    let read = |block: u32| {
        let failed = |error| MapsError::new(schema::RINGS, "read", || format!("block {block}"), &error);
        maps.rings.get(&block, 0).map_err(failed)
    };
    let blocks = (first..first.saturating_add(count).min(limits::RING_BLOCKS)).map(read);
    Ok(Some((first, blocks.collect::<Result<_, _>>()?)))
}

fn snat(maps: &Maps, pool: &mut BTreeMap<u16, SnatValue>) -> Result<(), MapsError> {
    batch::for_each(schema::SNAT, &maps.snat, |index: &u32, value: &SnatValue| {
        if let (true, Ok(index)) = (*value != SnatValue::default(), u16::try_from(*index)) {
            pool.insert(index, *value);
        }
    })
}

fn backends(maps: &Maps, installed: &mut Installed) -> Result<(), MapsError> {
    batch::for_each(schema::BACKENDS, &maps.backends, |slot: &u32, value: &BackendValue| {
        let Ok(slot) = u16::try_from(*slot) else { return };
        if BackendState::from_byte(value.state) != BackendState::Free {
            installed.backends.insert(slot, *value);
        } else if value.generation != 0 {
            installed.retired.insert(slot, value.generation);
        }
    })
}

fn acl(maps: &Maps, table: usize, prefixes: &mut BTreeMap<IpNet, u32>) -> Result<(), MapsError> {
    if let (Some(map), Some(name)) = (maps.acl_v4.get(table), schema::ACL_V4.get(table)) {
        batch::for_each(name, map, |key: &Key<[u8; 4]>, class: &u32| {
            if let Some(net) = prefix_length(key).and_then(|length| v4_net(key.data(), length)) {
                prefixes.insert(net, *class);
            }
        })?;
    }
    if let (Some(map), Some(name)) = (maps.acl_v6.get(table), schema::ACL_V6.get(table)) {
        batch::for_each(name, map, |key: &Key<[u8; 16]>, class: &u32| {
            if let Some(net) = prefix_length(key).and_then(|length| v6_net(key.data(), length)) {
                prefixes.insert(net, *class);
            }
        })?;
    }
    Ok(())
}

fn prefix_length<D>(key: &Key<D>) -> Option<u8>
where
    D: aya::Pod,
{
    u8::try_from(key.prefix_len()).ok()
}

fn v4_net(octets: [u8; 4], length: u8) -> Option<IpNet> {
    Ipv4Net::new(Ipv4Addr::from(octets), length).ok().map(IpNet::V4)
}

fn v6_net(octets: [u8; 16], length: u8) -> Option<IpNet> {
    Ipv6Net::new(Ipv6Addr::from(octets), length).ok().map(IpNet::V6)
}
