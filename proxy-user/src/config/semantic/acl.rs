//! Lists among each other, and backends on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Found, View};
use crate::config::bounds;
use crate::config::parse;
use crate::config::problem::{Code, Locus};
use crate::model::{AclList, AclPolicy, Action, Scope};

pub(super) fn check(view: &View<'_>, found: &mut Found) {
    let mut by_order: BTreeMap<u32, &String> = BTreeMap::new();
    for (name, list) in &view.acl.lists {
        if let Err(error) = parse::name(name) {
            let (what, how) = error.what_and_how();
            found.error(Code::BadValue, Locus::List(name.clone()), what, how);
        }
        if let Some(first) = by_order.insert(list.order, name) {
            let message = format!("lists `{first}` and `{name}` both have order {}", list.order);
            let (at, other) = (Locus::ListOrder(name.clone()), Locus::ListOrder(first.clone()));
            found.conflict(
                Code::OrderTie,
                at,
                other,
                message,
                "give one of them another order; lower goes first",
            );
        }
    }
    capacity(view, found);
    denied_backends(view, found);
}

fn capacity(view: &View<'_>, found: &mut Found) {
    let Some((last, _)) = view.acl.lists.iter().max_by_key(|(_, list)| list.entries.len()) else { return };
    let mut too_many = |what: &str, count: usize, max: u32, cure: &str| {
        if !u32::try_from(count).is_ok_and(|count| count <= max) {
            let message = format!("{count} {what} are more than weir holds");
            let hint = format!("{max} is the most; {cure}");
            found.error(Code::TooMany, Locus::List(last.clone()), message, hint);
        }
    };
    too_many("lists", view.acl.lists.len(), bounds::LISTS, "join some");
    let (v4, v6) = count(view.acl);
    let cure = |key| format!("aggregate prefixes or raise limits.{key}, if it is not at its own limit");
    let limits = view.limits;
    too_many("IPv4 prefixes", v4, limits.acl_ipv4_prefixes, &cure("acl_ipv4_prefixes"));
    too_many("IPv6 prefixes", v6, limits.acl_ipv6_prefixes, &cure("acl_ipv6_prefixes"));
}

/// Distinct prefixes of either family: what the flattened tables need at most.
fn count(acl: &AclPolicy) -> (usize, usize) {
    let all = || acl.lists.values().flat_map(|list| list.entries.keys()).chain(&acl.management);
    let is_v4 = |net: &&IpNet| matches!(net, IpNet::V4(_));
    let sole = acl.lists.len() == 1 && acl.management.is_empty();
    if sole {
        let v4 = all().filter(is_v4).count();
        return (v4, all().count() - v4);
    }
    let distinct: BTreeSet<_> = all().collect();
    let v4 = distinct.iter().copied().filter(is_v4).count();
    (v4, distinct.len() - v4)
}

fn denied_backends(view: &View<'_>, found: &mut Found) {
    let mut lists: Vec<_> = view.acl.lists.iter().filter(|(_, list)| list.scope == Scope::All).collect();
    lists.sort_by_key(|(_, list)| list.order);
    let indexed: Vec<_> = lists.into_iter().map(|(name, list)| (name, list, lengths(list))).collect();
    for (service, value) in view.services {
        for backend in value.backends.keys() {
            if view.acl.management.iter().any(|net| net.contains(&backend.addr)) {
                continue;
            }
            let hit = indexed.iter().find_map(|(name, list, lengths)| {
                let net = covering(list, lengths, backend.addr)?;
                Some((name, list.action, net))
            });
            if let Some((list, Action::Drop, net)) = hit {
                let message = format!("backend {backend} of service `{service}` is on list `{list}` ({net})");
                let hint =
                    "answers of its flows are not dropped, but what it begins itself is; check the list";
                let at = Locus::Backend(service.clone(), *backend);
                found.warning(Code::BackendDenied, at, message, hint);
            }
        }
    }
}

/// Prefix lengths that a list has, so that a look-up tries no others.
fn lengths(list: &AclList) -> BTreeSet<(bool, u8)> {
    list.entries.keys().map(|net| (matches!(net, IpNet::V4(_)), net.prefix_len())).collect()
}

fn covering(list: &AclList, lengths: &BTreeSet<(bool, u8)>, addr: IpAddr) -> Option<IpNet> {
    let of_family = lengths.iter().filter(|(v4, _)| *v4 == addr.is_ipv4());
    let nets = of_family.filter_map(|(_, length)| Some(IpNet::new(addr, *length).ok()?.trunc()));
    nets.into_iter().find(|net| list.entries.contains_key(net))
}
