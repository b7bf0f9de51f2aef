//! Flattens the ACL: an ordered list of lists, first match wins, becomes one map in which a single longest-prefix
//! look-up gives the same verdict. The value stored at a prefix is the winner among all lists that contain the prefix
//! or a shorter one covering it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use proxy_common::{AclAction, AclClass, MANAGEMENT_LIST};

use crate::model::{AclPolicy, Action, Scope};

/// The flattened policy. `slots` gives each list's slot; a list without one is left out. Entries that say the same as
/// the nearest stored prefix around them are left out too. Expired entries must have been removed already.
#[must_use]
pub fn flatten(policy: &AclPolicy, slots: &BTreeMap<String, u16>) -> BTreeMap<IpNet, AclClass> {
    let lists = ranked(policy, slots);
    let mut entries = entries(policy, &lists);
    entries.sort();
    let mut flat = Vec::with_capacity(entries.len());
    let mut around: Vec<Covering> = Vec::new();
    for run in entries.chunk_by(|one, next| one.0 == next.0) {
        let Some((prefix, _)) = run.first() else { continue };
        while around.pop_if(|covering| !covering.prefix.contains(prefix)).is_some() {}
        let outer = around.last();
        let mut inner = Covering {
            prefix: *prefix,
            service: outer.map_or(NO_RANK, |outer| outer.service),
            traffic: outer.map_or(NO_RANK, |outer| outer.traffic),
            stored: outer.map_or(AclClass::default(), |outer| outer.stored),
        };
        for (_, rank) in run {
            inner.service = inner.service.min(*rank);
            if lists.get(*rank).is_some_and(|list| list.scope == Scope::All) {
                inner.traffic = inner.traffic.min(*rank);
            }
        }
        let class = class(lists.get(inner.service), lists.get(inner.traffic));
        if class != inner.stored {
            inner.stored = class;
            flat.push((*prefix, class));
        }
        around.push(inner);
    }
    flat.into_iter().collect()
}

/// A prefix around the one being looked at: which lists win there, and what a look-up finds.
struct Covering {
    prefix: IpNet,
    service: usize,
    traffic: usize,
    stored: AclClass,
}

/// A list at its place in the evaluation order.
struct Ranked<'a> {
    name: Option<&'a str>,
    slot: u16,
    action: AclAction,
    scope: Scope,
}

/// The lists in evaluation order; the management prefixes come first.
fn ranked<'a>(policy: &'a AclPolicy, slots: &BTreeMap<String, u16>) -> Vec<Ranked<'a>> {
    let mut lists: Vec<_> = policy.lists.iter().collect();
    lists.sort_by_key(|(name, list)| (list.order, *name));
    let named = lists.into_iter().filter_map(|(name, list)| {
        let action = match list.action {
            Action::Pass => AclAction::Pass,
            Action::Drop => AclAction::Drop,
        };
        Some(Ranked { name: Some(name.as_str()), slot: *slots.get(name)?, action, scope: list.scope })
    });
    let management = Ranked { name: None, slot: MANAGEMENT_LIST, action: AclAction::Pass, scope: Scope::All };
    std::iter::once(management).chain(named).collect()
}

/// Every prefix with the rank of its list.
fn entries(policy: &AclPolicy, lists: &[Ranked<'_>]) -> Vec<(IpNet, usize)> {
    let mut entries = Vec::with_capacity(policy.lists.values().map(|list| list.entries.len()).sum());
    for (rank, list) in lists.iter().enumerate() {
        match list.name.and_then(|name| policy.lists.get(name)) {
            Some(list) => entries.extend(list.entries.keys().map(|prefix| (prefix.trunc(), rank))),
            None => entries.extend(policy.management.iter().map(|prefix| (prefix.trunc(), rank))),
        }
    }
    entries
}

fn class(service: Option<&Ranked<'_>>, traffic: Option<&Ranked<'_>>) -> AclClass {
    let (service_action, service_list) = outcome(service);
    let (traffic_action, traffic_list) = outcome(traffic);
    AclClass { service_action, traffic_action, reserved: 0, service_list, traffic_list }
}

fn outcome(list: Option<&Ranked<'_>>) -> (u8, u16) {
    list.map_or((AclAction::None as u8, 0), |list| (list.action as u8, list.slot))
}

/// Rank of no list: after all others.
const NO_RANK: usize = usize::MAX;
