//! All queries, each asked once however many services use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::feed::{Feed, FeedId};
use super::remember::Remembered;
use super::service::Service;
use super::setup::Now;
use crate::registry::source::{MAX_ENDPOINTS, Query};

/// The feeds of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Feeds {
    pub all: BTreeMap<FeedId, Feed>,
    by_name: BTreeMap<(Arc<str>, Arc<Query>), FeedId>,
    next_id: FeedId,
}

impl Feeds {
    /// The feed of a query, made where there is none.
    pub(super) fn of(
        &mut self,
        registry: &str,
        query: &Arc<Query>,
        remembered: &Remembered,
        now: Now,
    ) -> FeedId {
        let key = (Arc::from(registry), query.clone());
        if let Some(id) = self.by_name.get(&key) {
            return *id;
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let remembered = remembered.get(&key).map(Arc::as_ref);
        self.all.insert(id, Feed::new(key.0.clone(), key.1.clone(), remembered, now));
        self.by_name.insert(key, id);
        id
    }

    pub(super) fn find(&mut self, registry: &Arc<str>, query: Arc<Query>) -> Option<&mut Feed> {
        let id = self.by_name.get(&(registry.clone(), query))?;
        self.all.get_mut(id)
    }

    pub(super) fn of_registry(&mut self, registry: &str) -> impl Iterator<Item = &mut Feed> {
        self.all.values_mut().filter(move |feed| feed.registry.as_ref() == registry)
    }

    /// Ties feeds to the services that use them, and drops those that none uses.
    pub(super) fn tie(&mut self, services: &BTreeMap<String, Service>, now: Now) {
        let mut caps: BTreeMap<FeedId, usize> = BTreeMap::new();
        for feed in self.all.values_mut() {
            feed.users.clear();
            feed.left.clear();
        }
        for (name, service) in services {
            let discovery = service.spec.discovery.as_ref();
            let cap = discovery.map_or(0, |discovery| discovery.guard.max_endpoints);
            let cap = usize::try_from(cap).unwrap_or(usize::MAX).min(MAX_ENDPOINTS);
            for (id, _) in &service.sources {
                if let Some(feed) = self.all.get_mut(id) {
                    if feed.users.last() != Some(name) {
                        feed.users.push(name.clone());
                    }
                    let largest = caps.entry(*id).or_default();
                    *largest = cap.max(*largest);
                }
            }
        }
        self.all.retain(|_, feed| !feed.users.is_empty());
        for (id, cap) in caps {
            self.all.entry(id).and_modify(|feed| feed.limit(cap, now));
        }
        let all = &self.all;
        self.by_name.retain(|_, id| all.contains_key(id));
    }
}
