//! The base and the API's part become one desired state.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;

use super::check::check;
use super::{ApiList, ApiService, ApiState, Refusal};
use crate::config::Limits;
use crate::control::types::Warning;
use crate::model::{AclEntry, AclList, Backend, Desired, Origin, Service};

/// The merged state, and what the merge has to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What is wanted now.
    pub desired: Desired,
    /// Lists of the API that are not in force.
    pub orphaned_lists: Vec<String>,
    /// Services of the API that are not in force.
    pub orphaned_services: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
    /// When the next entry ends: merge again then.
    pub next_expiry: Option<Timestamp>,
}

/// Merges what the API has set into the base, without what has ended by `now`, and checks the result.
///
/// # Errors
/// What [`crate::config::semantic_check_within`] finds wrong, such as two lists of one order.
pub fn merge(base: &Desired, api: &ApiState, now: Timestamp, limits: Limits) -> Result<Merged, Refusal> {
    merge_after(base, api, api, now, limits)
}

/// Merges a change of the API's state. What claims an order or a VIP of the base is set aside if it stood in `old` already,
/// so that an edit of the file never refuses a start; a change that claims one is refused.
pub(super) fn merge_after(
    base: &Desired,
    api: &ApiState,
    old: &ApiState,
    now: Timestamp,
    limits: Limits,
) -> Result<Merged, Refusal> {
    let mut merged = Merged {
        desired: base.clone(),
        orphaned_lists: Vec::new(),
        orphaned_services: Vec::new(),
        warnings: Vec::new(),
        next_expiry: None,
    };
    let over = |entry: &AclEntry| entry.expires_at.is_some_and(|end| end <= now);
    if base.acl.lists.values().any(|list| list.entries.values().any(over)) {
        for list in Arc::make_mut(&mut merged.desired.acl).lists.values_mut() {
            list.entries.retain(|_, entry| !over(entry));
        }
    }
    for (name, part) in &api.lists {
        let stood = old.lists.get(name).and_then(|list| list.definition);
        match part.definition {
            Some(own)
                if stood == part.definition
                    && base
                        .acl
                        .lists
                        .iter()
                        .any(|(other, list)| other != name && list.order == own.order) =>
            {
                merged.orphan_list(name, part, "the configuration has a list of the same order now");
            }
            _ => merged.join_list(name, part, now),
        }
    }
    for (name, part) in &api.services {
        let stood = old.services.get(name).and_then(|service| service.definition);
        match part.definition {
            Some(own)
                if stood == part.definition
                    && base
                        .services
                        .iter()
                        .any(|(other, service)| other != name && service.vip == own.vip) =>
            {
                merged.orphan_service(name, "the configuration has a service of the same VIP now");
            }
            _ => merged.join_service(name, part),
        }
    }
    merged.next_expiry = next_expiry(&merged.desired);
    merged.warnings.extend(check(&merged.desired, limits)?);
    Ok(merged)
}

impl Merged {
    fn join_list(&mut self, name: &str, part: &ApiList, now: Timestamp) {
        let list = match (Arc::make_mut(&mut self.desired.acl).lists.entry(name.to_owned()), part.definition)
        {
            (Entry::Occupied(found), None) => found.into_mut(),
            (Entry::Occupied(found), Some(own))
                if (own.action, own.scope) == (found.get().action, found.get().scope) =>
            {
                found.into_mut()
            }
            (Entry::Vacant(free), Some(own)) => free.insert(AclList {
                order: own.order,
                action: own.action,
                scope: own.scope,
                origin: Origin::Api,
                entries: Default::default(),
            }),
            (Entry::Occupied(_), Some(_)) => {
                let why = "the configuration has a list of this name with another action or scope";
                return self.orphan_list(name, part, why);
            }
            (Entry::Vacant(_), None) => {
                return self.orphan_list(name, part, "the configuration has no list of this name any more");
            }
        };
        for (prefix, entry) in part.entries.iter().filter(|(_, entry)| entry.holds(now)) {
            list.entries.entry(*prefix).or_insert_with(|| AclEntry {
                origin: Origin::Api,
                expires_at: entry.expires_at,
                reason: entry.reason.clone(),
            });
        }
    }

    fn join_service(&mut self, name: &str, part: &ApiService) {
        let service = match (self.desired.services.entry(name.to_owned()), part.definition) {
            (Entry::Occupied(found), None) => found.into_mut(),
            (Entry::Occupied(found), Some(own))
                if (own.vip, own.forward) == (found.get().vip, found.get().forward) =>
            {
                found.into_mut()
            }
            (Entry::Vacant(free), Some(own)) => free.insert(Service {
                vip: own.vip,
                forward: own.forward,
                announce: own.announce,
                unknown_port: own.unknown_port,
                syn_budget: own.syn_budget,
                origin: Origin::Api,
                backends: Default::default(),
                discovery: None,
                health: None,
                publish: Vec::new(),
                l7: None,
            }),
            (Entry::Occupied(_), Some(_)) => {
                let why = "the configuration has a service of this name with another VIP or mode";
                return self.orphan_service(name, why);
            }
            (Entry::Vacant(_), None) => {
                return self.orphan_service(name, "the configuration has no service of this name any more");
            }
        };
        for (addr, over) in &part.overrides {
            if let Some(backend) = service.backends.get_mut(addr) {
                backend.weight = over.weight.unwrap_or(backend.weight);
                backend.state = over.state.unwrap_or(backend.state);
            }
        }
        for (addr, new) in &part.backends {
            service.backends.entry(*addr).or_insert(Backend {
                weight: new.weight,
                state: new.state,
                origin: Origin::Api,
            });
        }
    }

    fn orphan_list(&mut self, name: &str, part: &ApiList, why: &str) {
        self.orphaned_lists.push(name.to_owned());
        self.warnings.push(Warning {
            code: "orphaned_entries".into(),
            detail: format!(
                "{} entries that the API added to list {name} are kept but not in force: {why}; give the list back, or \
                 drop them with DELETE /v1/acl/lists/{name}",
                part.entries.len()
            ),
        });
    }

    fn orphan_service(&mut self, name: &str, why: &str) {
        self.orphaned_services.push(name.to_owned());
        self.warnings.push(Warning {
            code: "orphaned_service".into(),
            detail: format!(
                "what the API set for service {name} is kept but not in force: {why}; give the service back, or drop it \
                 with DELETE /v1/services/{name}"
            ),
        });
    }
}

fn next_expiry(desired: &Desired) -> Option<Timestamp> {
    desired
        .acl
        .lists
        .values()
        .flat_map(|list| list.entries.values())
        .filter_map(|entry| entry.expires_at)
        .min()
}
