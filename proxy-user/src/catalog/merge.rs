//! The base and the API's part become one desired state.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;

use super::check::{check, refusal};
use super::{ApiList, ApiService, ApiState, Refusal};
use crate::config::{Limits, Locus, Problem};
use crate::control::types::{Code, Warning};
use crate::model::{AclEntry, AclList, Backend, Desired, Forward, L7, Origin, Service};

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
    /// Services whose L7 settings of the API are not in force, and why.
    aside: Aside,
}

/// Merges what the API has set into the base, without what has ended by `now`, and checks the result.
///
/// # Errors
/// What [`crate::config::semantic_check_within`] finds wrong, such as two lists of one order.
pub fn merge(base: &Desired, api: &ApiState, now: Timestamp, limits: Limits) -> Result<Merged, Refusal> {
    merge_after(base, api, api, None, now, limits)
}

/// Merges a change of the API's state; `subject` are L7 settings that it sets. What claims an order or a VIP of the base,
/// and L7 settings that the base does not allow, are set aside if they stood in `old` already, so that an edit of the file
/// never refuses a start; a change that brings it about is refused.
pub(super) fn merge_after(
    base: &Desired,
    api: &ApiState,
    old: &ApiState,
    subject: Option<(&str, &L7)>,
    now: Timestamp,
    limits: Limits,
) -> Result<Merged, Refusal> {
    let stood = |name: &String| {
        let settings = |state: &ApiState| state.services.get(name).and_then(|part| part.l7.clone());
        settings(old) == settings(api)
    };
    // What was in force may not be set aside by a change.
    let before =
        if std::ptr::eq(api, old) { None } else { Some(LazyCell::new(|| unfit(base, old, now, limits))) };
    let may = |name: &String| stood(name) && before.as_ref().is_none_or(|before| before.contains_key(name));
    join(base, api, old, now, limits, may).map_err(|(errors, _)| refusal(&errors, subject))
}

/// The services whose L7 settings of the API the base does not allow, and why.
fn unfit(base: &Desired, api: &ApiState, now: Timestamp, limits: Limits) -> Aside {
    match join(base, api, api, now, limits, |_| true) {
        Ok(merged) => merged.aside,
        Err((_, aside)) => aside,
    }
}

/// Services whose L7 settings are set aside, and why.
type Aside = BTreeMap<String, String>;

fn join(
    base: &Desired,
    api: &ApiState,
    old: &ApiState,
    now: Timestamp,
    limits: Limits,
    may_step_back: impl Fn(&String) -> bool,
) -> Result<Merged, (Vec<Problem>, Aside)> {
    let mut aside = Aside::new();
    loop {
        let mut merged = join_without(base, api, old, now, &aside);
        let errors = match check(&merged.desired, limits) {
            Ok(warnings) => {
                merged.warnings.extend(warnings);
                return Ok(merged);
            }
            Err(errors) => errors,
        };
        let before = aside.len();
        for problem in &errors {
            // The service itself, or the destination that speaks another protocol now.
            let service = |at: &Locus| match at {
                Locus::Codec(name) | Locus::Destination(name, _) | Locus::AccessList(name, _) => {
                    let part = api.services.get(name)?;
                    (part.l7.is_some() && !aside.contains_key(name) && may_step_back(name))
                        .then(|| name.clone())
                }
                _ => None,
            };
            let found = service(&problem.at).or_else(|| problem.other.as_ref().and_then(service));
            if let Some(name) = found {
                aside.insert(name, problem.to_string());
            }
        }
        if aside.len() == before {
            return Err((errors, aside));
        }
    }
}

fn join_without(base: &Desired, api: &ApiState, old: &ApiState, now: Timestamp, aside: &Aside) -> Merged {
    let mut merged = Merged {
        desired: base.clone(),
        orphaned_lists: Vec::new(),
        orphaned_services: Vec::new(),
        warnings: Vec::new(),
        next_expiry: None,
        aside: aside.clone(),
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
    merged
}

impl Merged {
    /// Why this state of an edited base may not follow `before`: L7 settings of the API that were in force would step back.
    ///
    /// # Errors
    /// Names the first such service.
    pub fn keeps_l7_of(&self, before: &Self) -> Result<(), Refusal> {
        let Some((name, why)) = self.aside.iter().find(|(name, _)| !before.aside.contains_key(*name)) else {
            return Ok(());
        };
        let message = format!(
            "the L7 settings that the API set for service {name} do not fit the configuration: {why}"
        );
        let hint = format!(
            "correct the file, set others with `weir l7 set {name}`, or drop them with `weir l7 unset {name}`"
        );
        Err(Refusal::new(Code::InvalidConfig, message).hint(hint))
    }

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
        let unfit = part.l7.as_ref().and_then(|_| part.l7_fault.as_ref().or(self.aside.get(name)).cloned());
        if let Some(why) = unfit.as_ref().filter(|_| part.definition.is_some()) {
            return self.orphan_service(name, &format!("its L7 settings do not fit: {why}"));
        }
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
        let forward = service.forward;
        let why = unfit.or_else(|| {
            (forward != Forward::L7)
                .then(|| "the configuration no longer gives it forward = \"l7\"".to_owned())
        });
        match (&part.l7, &why) {
            (Some(l7), None) => service.l7 = Some(l7.clone()),
            (Some(_), Some(why)) => self.warnings.push(Warning {
                code: "orphaned_l7".into(),
                detail: format!(
                    "the L7 settings that the API laid over service {name} are kept but not in force, those of the \
                     configuration are: {why}; correct the configuration, or drop them with `weir l7 unset {name}`"
                ),
            }),
            (None, _) => {}
        }
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
