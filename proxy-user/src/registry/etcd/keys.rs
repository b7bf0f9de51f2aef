//! The keys of one query as weir has them, and what a batch of changes makes of their endpoints. No input or output here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::generated::Event as Changed;
use super::generated::KeyValue;
use super::generated::event::EventType;
use super::layout::Layout;
use crate::model::BackendAddr;
use crate::registry::collect::{Collector, TooMany};
use crate::registry::source::{Endpoint, Event, MAX_ENDPOINTS, Query, Set};

/// Keys below a prefix, each with its endpoint or why it has none.
#[derive(Debug)]
pub(super) struct Keys {
    layout: Arc<Layout>,
    endpoints: BTreeMap<Arc<[u8]>, Endpoint>,
    /// Keys that are no endpoint, and why.
    refused: BTreeMap<Arc<[u8]>, String>,
    /// Keys by address: several may name the same, and the first in order counts.
    by_addr: HashMap<BackendAddr, BTreeSet<Arc<[u8]>>>,
}

impl Keys {
    /// None yet.
    pub(super) fn new(layout: Arc<Layout>) -> Self {
        Self { layout, endpoints: BTreeMap::new(), refused: BTreeMap::new(), by_addr: HashMap::new() }
    }

    /// Sets a key as it was listed.
    pub(super) fn put(&mut self, kv: &KeyValue) -> Result<(), TooMany> {
        self.take(&kv.key, self.layout.endpoint(&kv.key, &kv.value))
    }

    /// Carries out a batch, of which nothing is seen before all of it is done, and says what it means in as few words as
    /// possible: what is only new, what is only gone, or else the whole set.
    pub(super) fn apply(
        &mut self,
        query: &Arc<Query>,
        changes: &[Changed],
        version: i64,
        received: Instant,
    ) -> Result<Option<Event>, TooMany> {
        let was_useless = self.useless();
        let mut before: BTreeMap<BackendAddr, Option<Endpoint>> = BTreeMap::new();
        let mut refused = false;
        for change in changes {
            let Some(kv) = &change.kv else { continue };
            if let Some(endpoint) = self.endpoints.get(kv.key.as_slice()) {
                self.note(endpoint.addr, &mut before);
            }
            refused |= self.refused.contains_key(kv.key.as_slice());
            if change.r#type() == EventType::Delete {
                self.remove(&kv.key);
                continue;
            }
            let found = self.layout.endpoint(&kv.key, &kv.value);
            match &found {
                // Other keys may have its address, too.
                Ok(endpoint) => self.note(endpoint.addr, &mut before),
                Err(_) => refused = true,
            }
            self.take(&kv.key, found)?;
        }
        let mut added = Vec::new();
        let mut removed = Vec::new();
        for (addr, old) in before {
            match self.at(addr) {
                None if old.is_some() => removed.push(addr),
                Some(new) if old.as_ref() != Some(new) => added.push(new.clone()),
                _ => {}
            }
        }
        if was_useless != self.useless() {
            return self.reset(query, version, received).map(Some);
        }
        Ok(match (added.is_empty(), removed.is_empty()) {
            (true, true) if !refused => None,
            (true, false) if !refused => {
                let version = Some(version.to_string());
                Some(Event::Remove { query: Arc::clone(query), addrs: removed, version, received })
            }
            // The entries that are refused now go along: how many there are is news as well.
            (_, true) => {
                Some(Event::Add { query: Arc::clone(query), set: self.set(version, received, added)? })
            }
            // Some came and some went: two words would show a set that never was.
            _ => Some(self.reset(query, version, received)?),
        })
    }

    /// The whole set.
    pub(super) fn reset(
        &self,
        query: &Arc<Query>,
        version: i64,
        received: Instant,
    ) -> Result<Event, TooMany> {
        let set = self.set(version, received, self.endpoints.values().cloned())?;
        Ok(Event::Reset { query: Arc::clone(query), set })
    }

    fn set(
        &self,
        version: i64,
        received: Instant,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Result<Set, TooMany> {
        let mut collector = Collector::new(received);
        endpoints.into_iter().for_each(|endpoint| collector.add(endpoint));
        for (key, why) in &self.refused {
            collector.reject(&String::from_utf8_lossy(key), why);
        }
        collector.finish(Some(version.to_string()))
    }

    /// Whether nothing of it can be used. That is for others to judge, and they judge whole sets: to one, and from one, leads
    /// no change.
    fn useless(&self) -> bool {
        self.endpoints.is_empty() && !self.refused.is_empty()
    }

    /// The endpoint that counts at an address.
    fn at(&self, addr: BackendAddr) -> Option<&Endpoint> {
        let first = self.by_addr.get(&addr)?.first()?;
        self.endpoints.get(first)
    }

    /// Remembers what counts at an address, unless that is remembered already.
    fn note(&self, addr: BackendAddr, before: &mut BTreeMap<BackendAddr, Option<Endpoint>>) {
        before.entry(addr).or_insert_with(|| self.at(addr).cloned());
    }

    fn take(&mut self, key: &[u8], found: Result<Endpoint, String>) -> Result<(), TooMany> {
        self.remove(key);
        if self.endpoints.len() + self.refused.len() >= MAX_ENDPOINTS {
            return Err(TooMany);
        }
        let key: Arc<[u8]> = Arc::from(key);
        match found {
            Ok(endpoint) => {
                self.by_addr.entry(endpoint.addr).or_default().insert(Arc::clone(&key));
                self.endpoints.insert(key, endpoint);
            }
            Err(why) => {
                self.refused.insert(key, why);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) {
        self.refused.remove(key);
        let Some(endpoint) = self.endpoints.remove(key) else { return };
        if let Some(keys) = self.by_addr.get_mut(&endpoint.addr) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_addr.remove(&endpoint.addr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query() -> Arc<Query> {
        Arc::new(Query { service: "s".to_owned(), options: BTreeMap::new() })
    }

    fn keys() -> Keys {
        Keys::new(Arc::new(Layout::of(&query()).unwrap()))
    }

    fn put(key: &str, value: &str) -> Changed {
        let kv = KeyValue { key: format!("s/{key}").into(), value: value.into(), mod_revision: 0 };
        Changed { r#type: EventType::Put.into(), kv: Some(kv) }
    }

    fn delete(key: &str) -> Changed {
        Changed { r#type: EventType::Delete.into(), ..put(key, "") }
    }

    fn apply(keys: &mut Keys, changes: &[Changed]) -> Option<Event> {
        keys.apply(&query(), changes, 7, Instant::now()).unwrap()
    }

    /// A word for the event, and its addresses' last bytes or ports.
    fn said(event: Option<Event>) -> (&'static str, Vec<u16>, u64) {
        match event {
            None => ("", Vec::new(), 0),
            Some(Event::Reset { set, .. }) => (
                "reset",
                set.endpoints.iter().map(|endpoint| endpoint.addr.port).collect(),
                set.rejected_count,
            ),
            Some(Event::Add { set, .. }) => {
                ("add", set.endpoints.iter().map(|endpoint| endpoint.addr.port).collect(), set.rejected_count)
            }
            Some(Event::Remove { addrs, version, .. }) => {
                assert_eq!(version.as_deref(), Some("7"));
                ("remove", addrs.iter().map(|addr| addr.port).collect(), 0)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_is_one_word() {
        let mut keys = keys();
        assert_eq!(
            said(apply(&mut keys, &[put("a", "10.0.0.1:1"), put("b", "10.0.0.1:2")])),
            ("add", vec![1, 2], 0)
        );
        assert_eq!(said(apply(&mut keys, &[put("a", "10.0.0.1:1")])), ("", vec![], 0));
        assert_eq!(said(apply(&mut keys, &[put("a", "10.0.0.1:1?weight=5")])), ("add", vec![1], 0));
        assert_eq!(said(apply(&mut keys, &[put("b", "10.0.0.1:3")])), ("reset", vec![1, 3], 0));
        assert_eq!(said(apply(&mut keys, &[put("c", "x"), delete("nothing")])), ("add", vec![], 1));
        assert_eq!(said(apply(&mut keys, &[put("a", "x")])), ("reset", vec![3], 2));
        assert_eq!(said(apply(&mut keys, &[delete("a"), delete("c")])), ("add", vec![], 0));
        assert_eq!(said(apply(&mut keys, &[delete("b")])), ("remove", vec![3], 0));
        assert_eq!(said(apply(&mut keys, &[put("a", "10.0.0.1:1"), delete("a")])), ("", vec![], 0));
    }

    #[test]
    fn an_address_of_two_keys_stays_until_both_are_gone() {
        let mut keys = keys();
        apply(&mut keys, &[put("a", "10.0.0.1:1?weight=1"), put("b", "10.0.0.1:1?weight=2")]);
        assert_eq!(said(apply(&mut keys, &[put("b", "10.0.0.1:1?weight=3")])), ("", vec![], 0));
        assert_eq!(said(apply(&mut keys, &[delete("a")])), ("add", vec![1], 0));
        assert_eq!(said(apply(&mut keys, &[delete("b")])), ("remove", vec![1], 0));
    }

    #[test]
    fn to_garbage_and_back_leads_a_whole_set() {
        let mut keys = keys();
        assert_eq!(said(apply(&mut keys, &[put("a", "x")])), ("reset", vec![], 1));
        assert_eq!(said(apply(&mut keys, &[put("b", "x")])), ("add", vec![], 2));
        assert_eq!(said(apply(&mut keys, &[put("a", "10.0.0.1:1")])), ("reset", vec![1], 1));
        assert_eq!(said(apply(&mut keys, &[put("c", "10.0.0.1:2")])), ("add", vec![2], 1));
        assert_eq!(said(apply(&mut keys, &[delete("a"), delete("c")])), ("reset", vec![], 1));
        assert_eq!(said(apply(&mut keys, &[delete("b")])), ("reset", vec![], 0));
    }

    proptest! {
        /// Whoever follows the events has the set that a list would give.
        #[test]
        fn events_lead_to_the_whole_set(batches in proptest::collection::vec(
            proptest::collection::vec((0..6_u8, 0..9_u16), 1..5), 1..20)) {
            let mut keys = keys();
            let mut seen: BTreeMap<BackendAddr, Endpoint> = BTreeMap::new();
            let mut refused = 0;
            for batch in batches {
                let change = |(key, value): &(u8, u16)| match value {
                    0 | 1 => delete(&key.to_string()),
                    2 => put(&key.to_string(), "garbage"),
                    port => put(&key.to_string(), &format!("10.0.0.1:{}?weight={key}", port / 2)),
                };
                let batch: Vec<Changed> = batch.iter().map(change).collect();
                match apply(&mut keys, &batch) {
                    Some(Event::Reset { set, .. }) => {
                        seen = set.endpoints.into_iter().map(|endpoint| (endpoint.addr, endpoint)).collect();
                        refused = set.rejected_count;
                    }
                    Some(Event::Add { set, .. }) => {
                        seen.extend(set.endpoints.into_iter().map(|endpoint| (endpoint.addr, endpoint)));
                        refused = set.rejected_count;
                    }
                    Some(Event::Remove { addrs, .. }) => addrs.iter().for_each(|addr| {
                        seen.remove(addr);
                    }),
                    _ => {}
                }
                let Event::Reset { set, .. } = keys.reset(&query(), 0, Instant::now()).unwrap() else { unreachable!() };
                let whole: BTreeMap<_, _> = set.endpoints.into_iter().map(|endpoint| (endpoint.addr, endpoint)).collect();
                prop_assert_eq!(&seen, &whole);
                prop_assert_eq!(refused, set.rejected_count);
            }
        }
    }
}
