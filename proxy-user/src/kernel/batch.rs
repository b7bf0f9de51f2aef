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
    visit: impl FnMut(&K, &V),
) -> Result<(), MapsError>
where
    M: Walk<K, V>,
    K: Pod,
    V: Pod,
{
    in_batches(map, BATCH, visit)
        .map_err(|error| MapsError::new(name, "read", || "the entries".to_owned(), &error))
}

fn in_batches<M, K, V>(map: &M, room: u32, mut visit: impl FnMut(&K, &V)) -> Result<(), MapError>
where
    M: Walk<K, V>,
    K: Pod,
    V: Pod,
{
    let mut batch = Batch::new(map.map(), room)?;
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
                Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP) if first => return each_key(map, visit),
                _ => return Err(error.into()),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all<M: Walk<K, V>, K: Pod, V: Pod>(map: &M, order: impl Fn(&K) -> u32) -> [BTreeMap<u32, V>; 3] {
        let mut seen = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
        let [small, large, slow] = &mut seen;
        in_batches(map, 1, |key: &K, value: &V| assert!(small.insert(order(key), *value).is_none())).unwrap();
        in_batches(map, 100, |key: &K, value: &V| assert!(large.insert(order(key), *value).is_none()))
            .unwrap();
        each_key(map, |key: &K, value: &V| assert!(slow.insert(order(key), *value).is_none())).unwrap();
        seen
    }

    #[test]
    fn each_way_of_walking_meets_every_entry_once() {
        if !nix::unistd::geteuid().is_root() {
            crate::lab::left_out("needs root to make maps");
            return;
        }
        let expected: BTreeMap<u32, u64> = (0..1_000).map(|i| (i, u64::from(i) * 3)).collect();
        let mut hash = HashMap::<MapData, u32, u64>::create(1_000, 0).unwrap();
        let mut array = Array::<MapData, u64>::create(1_000, 0).unwrap();
        let mut trie = LpmTrie::<MapData, [u8; 4], u64>::create(1_000, 1).unwrap();
        for (key, value) in &expected {
            hash.insert(key, value, 0).unwrap();
            array.set(*key, value, 0).unwrap();
            trie.insert(&Key::new(32, key.to_be_bytes()), value, 0).unwrap();
        }
        for seen in all(&hash, |key| *key).iter().chain(&all(&array, |key| *key)) {
            assert_eq!(seen, &expected);
        }
        for seen in &all(&trie, |key: &Key<[u8; 4]>| u32::from_be_bytes(key.data())) {
            assert_eq!(seen, &expected);
        }
        for empty in all(&HashMap::<MapData, u32, u64>::create(8, 0).unwrap(), |key| *key) {
            assert!(empty.is_empty());
        }
    }

    #[test]
    fn a_wrong_type_is_refused_before_the_kernel_writes() {
        if nix::unistd::geteuid().is_root() {
            let array = Array::<MapData, u64>::create(4, 0).unwrap();
            assert!(Batch::<u32, u32>::new(array.map(), 1).is_err());
            assert!(Batch::<u64, u64>::new(array.map(), 1).is_err());
        }
    }
}
