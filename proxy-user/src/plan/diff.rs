//! Differences of ordered maps.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Entries to write: those that are new or differ.
pub(super) fn to_set<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let mut old = old.iter().peekable();
    new.iter().filter(move |(key, value)| {
        while old.next_if(|(other, _)| other < key).is_some() {}
        old.next_if(|(other, _)| other == key).is_none_or(|(_, other)| other != *value)
    })
}

/// Entries to take out: those that are no longer there.
pub(super) fn to_remove<'a, K: Ord, V, W>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, W>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let mut new = new.keys().peekable();
    old.iter().filter(move |(key, _)| {
        while new.next_if(|other| (*other).cmp(*key) == Ordering::Less).is_some() {}
        new.next_if(|other| other == key).is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_removals() {
        let old = BTreeMap::from([(1, 'a'), (2, 'b'), (4, 'd'), (9, 'z')]);
        let new = BTreeMap::from([(0, 'n'), (2, 'b'), (4, 'x'), (5, 'n')]);
        assert_eq!(to_set(&old, &new).collect::<Vec<_>>(), [(&0, &'n'), (&4, &'x'), (&5, &'n')]);
        assert_eq!(to_remove(&old, &new).collect::<Vec<_>>(), [(&1, &'a'), (&9, &'z')]);
    }
}
