//! The base and the API's part become one desired state.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;

use super::check::{check, refusal};
use super::orphans::{taker_of_order, taker_of_vip};
use super::stepped_back::SteppedBack;
use super::{ApiList, ApiService, ApiState, Refusal};
use crate::config::{Limits, Locus, Problem};
use crate::control::types::{L7Holds, Warning};
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
    /// Services whose L7 settings of the API are not in force.
    pub stepped_back: Aside,
    /// Those that the check of the whole state has set aside.
    pub(super) aside: Aside,
    /// Lists of the API whose order a list of the base has now, and that one.
    pub(super) taken_orders: BTreeMap<String, String>,
    /// Services of the API whose VIP a service of the base has now, and that one.
    pub(super) taken_vips: BTreeMap<String, String>,
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
    let stepped = |name: &String| before.as_ref().map(|before| before.get(name).map(|was| was.holds));
    let may = |name: &String, holds: L7Holds| {
        stood(name)
            && subject.is_none_or(|(set, _)| set != name)
            && stepped(name).is_none_or(|was| was.is_some_and(|was| was >= holds))
    };
    join(base, api, old, now, limits, may).map_err(|(errors, _)| refusal(&errors, subject))
}

/// The services whose L7 settings of the API the base does not allow, and why.
fn unfit(base: &Desired, api: &ApiState, now: Timestamp, limits: Limits) -> Aside {
    match join(base, api, api, now, limits, |_, _| true) {
        Ok(merged) => merged.aside,
        Err((_, aside)) => aside,
    }
}

/// Services whose L7 settings are set aside.
type Aside = BTreeMap<String, SteppedBack>;

fn join(
    base: &Desired,
    api: &ApiState,
    old: &ApiState,
    now: Timestamp,
    limits: Limits,
    may_step_back: impl Fn(&String, L7Holds) -> bool,
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
        // What of settings still holds may not fit either; with every look each steps back once at most.
        let mut next = Aside::new();
        for problem in &errors {
            let step = |name: &String| {
                let l7 = api.services.get(name)?.l7.as_ref()?;
                let why = problem.to_string();
                let stepped = match aside.get(name) {
                    None => SteppedBack::of(l7, why),
                    Some(was) if was.holds == L7Holds::Access && was.why == why => SteppedBack::unread(why),
                    Some(was) if was.holds == L7Holds::Access => {
                        SteppedBack::unread(format!("{}; {why}", was.why))
                    }
                    Some(_) => return None,
                };
                may_step_back(name, stepped.holds).then(|| (name.clone(), stepped))
            };
            // Settings that have stepped back have no routes in force that could make room.
            let fresh = |name: &&String| !aside.contains_key(*name);
            let over =
                |name: &String| merged.taken_vips.iter().find(|(_, by)| *by == name).map(|(own, _)| own);
            let named = |at: &Locus| match at {
                Locus::Codec(name) | Locus::Destination(name, _) => step(name),
                // What lies over a service that took a VIP is the other's.
                Locus::AccessList(name, _) => over(name).and_then(step).or_else(|| step(name)),
                Locus::Routes(name) => Some(name).filter(fresh).and_then(step),
                _ => None,
            };
            let routed = |name: &&String| {
                let l7 = api.services.get(*name).and_then(|part| part.l7.as_ref());
                fresh(name)
                    && l7.is_some_and(|l7| !l7.hosts.is_empty())
                    && !merged.orphaned_services.contains(name)
            };
            // The service itself, or the destination that speaks another protocol now. Where all routes are too many, those
            // of any service of the API make room.
            let crowding = || {
                matches!(problem.at, Locus::Routes(_))
                    .then(|| api.services.keys().filter(routed).find_map(step))?
            };
            let found =
                named(&problem.at).or_else(|| problem.other.as_ref().and_then(named)).or_else(crowding);
            if let Some((name, stepped)) = found {
                next.entry(name).or_insert(stepped);
            }
        }
        if next.is_empty() {
            return Err((errors, aside));
        }
        aside.extend(next);
    }
}

fn join_without(base: &Desired, api: &ApiState, old: &ApiState, now: Timestamp, aside: &Aside) -> Merged {
    let mut merged = Merged {
        desired: base.clone(),
        orphaned_lists: Vec::new(),
        orphaned_services: Vec::new(),
        warnings: Vec::new(),
        next_expiry: None,
        stepped_back: Aside::new(),
        aside: aside.clone(),
        taken_orders: BTreeMap::new(),
        taken_vips: BTreeMap::new(),
    };
    let over = |entry: &AclEntry| entry.expires_at.is_some_and(|end| end <= now);
    if base.acl.lists.values().any(|list| list.entries.values().any(over)) {
        for list in Arc::make_mut(&mut merged.desired.acl).lists.values_mut() {
            list.entries.retain(|_, entry| !over(entry));
        }
    }
    for (name, part) in &api.lists {
        let stood = old.lists.get(name).is_some_and(|list| list.definition == part.definition);
        match part.definition.filter(|_| stood).and_then(|own| taker_of_order(base, name, &own)) {
            Some(by) => merged.displace_list(name, part, by),
            None => merged.join_list(name, part, now),
        }
    }
    for (name, part) in &api.services {
        let stood = old.services.get(name).is_some_and(|service| service.definition == part.definition);
        match part.definition.filter(|_| stood).and_then(|own| taker_of_vip(base, name, &own)) {
            Some(by) => drop(merged.taken_vips.insert(name.clone(), by.clone())),
            None => merged.join_service(name, part),
        }
    }
    // Over what the API says of those that took the VIPs, too.
    for (name, by) in merged.taken_vips.clone() {
        if let Some(part) = api.services.get(&name) {
            merged.displace_service(&name, part, &by);
        }
    }
    merged.next_expiry = next_expiry(&merged.desired);
    merged
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
        let unfit = self.unfit(name, part);
        if let Some(stepped) =
            unfit.as_ref().filter(|_| part.definition.is_some() && !self.desired.services.contains_key(name))
        {
            let why = stepped.why.clone();
            self.stepped_back.insert(name.to_owned(), SteppedBack::unread(why.clone()));
            self.orphan_service(name, part, &format!("its L7 settings do not fit: {why}"));
            return;
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
            (Entry::Occupied(mut found), Some(own)) => {
                let why = "the configuration has a service of this name with another VIP or mode";
                // The same clients, as far as the VIP is the same.
                if let Some(l7) = part.l7.as_ref().filter(|_| own.vip == found.get().vip) {
                    let mut stepped = unfit.unwrap_or_else(|| SteppedBack::of(l7, why.to_owned()));
                    stepped.lay_over(found.get_mut(), l7);
                    self.warnings.push(stepped.warning(name, false));
                    self.stepped_back.insert(name.to_owned(), stepped);
                }
                return self.orphan_service(name, part, why);
            }
            (Entry::Vacant(_), None) => {
                return self.orphan_service(
                    name,
                    part,
                    "the configuration has no service of this name any more",
                );
            }
        };
        let mode = || "the configuration no longer gives it forward = \"l7\"".to_owned();
        let other_mode = service.forward != Forward::L7;
        let of_mode = |l7: &Arc<L7>| other_mode.then(|| SteppedBack::of(l7, mode()));
        match (&part.l7, unfit.or_else(|| part.l7.as_ref().and_then(of_mode))) {
            (Some(l7), None) => service.l7 = Some(l7.clone()),
            (Some(l7), Some(mut stepped)) => {
                let serves = stepped.lay_over(service, l7);
                self.warnings.push(stepped.warning(name, service.forward == Forward::L7));
                self.stepped_back.insert(name.to_owned(), stepped);
                if !serves {
                    return;
                }
            }
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
