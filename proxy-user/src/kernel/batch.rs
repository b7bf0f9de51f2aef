//! Walking a whole map: in batches where the kernel can, else key by key.

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, IterableMap, MapData, MapError};

use super::maps::MapsError;
use super::sys::{Batch, Fetched};

/// Calls `visit` for each entry. Entries that come or go meanwhile may be met or missed, and one may be met twice.
///
/// An LPM trie must not change meanwhile: the kernel reads an entry's value by a look-up, which for a prefix that has
/// just gone gives a shorter one's. The daemon is the only writer, so it never does.
///
/// # Errors
/// The map cannot be read.
pub(super) fn for_each<M, K, V>(
    name: &'static str,
    map: &M,
    mut visit: impl FnMut(&K, &V),
) -> Result<(), MapsError>
where
    M: Walk<K, V>,
    K: Pod,
    V: Pod,
{
    let failed = |error: MapError| MapsError::new(name, "read", || "the entries".to_owned(), &error);
    let data: &MapData = map.map();
    let mut batch = Batch::new(data, BATCH).map_err(failed)?;
    let mut first = true;
    loop {
        match batch.fetch() {
            Ok(fetched) => {
                batch.entries().for_each(|(key, value)| visit(key, value));
                if fetched == Fetched::Last {
                    return Ok(());
                }
                first = false;
            }
            Err(error) => match error.raw_os_error() {
                // A hash bucket holds more than the batch.
                Some(libc::ENOSPC) => batch.grow(),
                Some(libc::EINTR | libc::EAGAIN) => {}
                Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP) if first => {
                    return each_key(map, visit).map_err(failed);
                }
                _ => return Err(failed(error.into())),
            },
        }
    }
}

/// The slow way. When the key that it stands on is removed, the kernel starts again from the front; so that this ends
/// also while the data path adds and removes, it stops after twice the map's capacity.
fn each_key<M, K, V>(map: &M, mut visit: impl FnMut(&K, &V)) -> Result<(), MapError>
where
    M: Walk<K, V>,
    K: Pod,
    V: Pod,
{
    let limit = map.map().info()?.max_entries() as usize * 2;
    for key in map.keys().take(limit) {
        let key = key?;
        match map.get(&key) {
            Ok(value) => visit(&key, &value),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A map that can be walked.
pub(super) trait Walk<K: Pod, V>: IterableMap<K, V> {
    /// Its keys, one system call each.
    fn keys(&self) -> Box<dyn Iterator<Item = Result<K, MapError>> + '_>;
}

impl<V: Pod> Walk<u32, V> for Array<MapData, V> {
    fn keys(&self) -> Box<dyn Iterator<Item = Result<u32, MapError>> + '_> {
        Box::new((0..self.len()).map(Ok))
    }
}

impl<K: Pod, V: Pod> Walk<K, V> for HashMap<MapData, K, V> {
    fn keys(&self) -> Box<dyn Iterator<Item = Result<K, MapError>> + '_> {
        Box::new(Self::keys(self))
    }
}

impl<K: Pod, V: Pod> Walk<Key<K>, V> for LpmTrie<MapData, K, V> {
    fn keys(&self) -> Box<dyn Iterator<Item = Result<Key<K>, MapError>> + '_> {
        Box::new(Self::keys(self))
    }
}

const BATCH: u32 = 4_096;
/// The kernel's own number, which no C library knows.
const ENOTSUPP: i32 = 524;
