//! What to know again after a restart: the sets in use, by registry and query.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::feed::{Entry, Feed, FeedId};
use super::member::State;
use super::service::Service;
use crate::model::BackendAddr;
use crate::registry::source::{Endpoint, Query};

/// Sets in use. Those that have not changed are shared with what was remembered before.
pub type Remembered = BTreeMap<(Arc<str>, Arc<Query>), Arc<RememberedSet>>;

/// What a query gave, with what the guards keep of what it gave before.
#[derive(Clone, Debug, PartialEq)]
pub struct RememberedSet {
    /// When it came.
    pub received: Timestamp,
    /// Position in the registry's own terms.
    pub version: Option<String>,
    /// Its endpoints.
    pub endpoints: Vec<RememberedEndpoint>,
}

/// An endpoint in use.
#[derive(Clone, Debug, PartialEq)]
pub struct RememberedEndpoint {
    /// What the registry said of it last.
    pub endpoint: Endpoint,
    /// Until when it keeps its old flows, where it is on its way out.
    pub leaving: Option<Timestamp>,
}

/// What of each feed is in use, with what its services keep of it.
pub(super) fn remembered(
    feeds: &mut BTreeMap<FeedId, Feed>,
    services: &BTreeMap<String, Service>,
) -> Remembered {
    let mut all = Remembered::new();
    for (id, feed) in feeds {
        let Some((received, version)) = feed.received() else { continue };
        if feed.stale {
            let set = RememberedSet { received, version, endpoints: endpoints(*id, feed, services) };
            if feed.memory.as_deref() != Some(&set) {
                feed.memory = Some(Arc::new(set));
            }
            feed.stale = false;
        }
        let Some(set) = feed.memory.clone() else { continue };
        all.insert((feed.registry.clone(), feed.query.clone()), set);
    }
    all
}

fn endpoints(id: FeedId, feed: &Feed, services: &BTreeMap<String, Service>) -> Vec<RememberedEndpoint> {
    let mut kept: BTreeMap<BackendAddr, RememberedEndpoint> = BTreeMap::new();
    for (addr, entry) in &feed.entries {
        kept.insert(*addr, RememberedEndpoint { endpoint: endpoint(*addr, entry), leaving: None });
    }
    for service in feed.users.iter().filter_map(|name| services.get(name)) {
        for (addr, member) in service.members.all.iter().filter(|(_, member)| member.last.contains(&id)) {
            match member.state {
                State::Held { .. } => {
                    let held = RememberedEndpoint { endpoint: endpoint(*addr, &member.entry), leaving: None };
                    kept.insert(*addr, held);
                }
                State::Leaving { wall, .. } => {
                    let leaving =
                        RememberedEndpoint { endpoint: endpoint(*addr, &member.entry), leaving: Some(wall) };
                    kept.entry(*addr).or_insert(leaving);
                }
                State::In | State::Off => {}
            }
        }
    }
    kept.into_values().collect()
}

fn endpoint(addr: BackendAddr, entry: &Entry) -> Endpoint {
    Endpoint {
        addr,
        weight: entry.weight,
        enabled: entry.enabled,
        zone: entry.zone.clone(),
        labels: (*entry.labels).clone(),
    }
}
