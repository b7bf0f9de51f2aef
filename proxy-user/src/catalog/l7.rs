//! L7 settings that the API set: what differs between two of them, and where in them a fault of the whole state lies.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ApiState, Merged};
use crate::config::Locus;
use crate::control::types::{Item, Operation, Outcome, Warning};
use crate::l7::snapshot::Route;
use crate::model::{Desired, L7, Service};

/// What becomes of codec, settings and routes, one item for each that changes, and how many stay.
pub(super) fn differences(old: &L7, new: &L7) -> (Vec<Item>, u64) {
    let mut found = Found::default();
    let said = |l7: &L7| l7.written.get("codec").map(Value::to_string).unwrap_or_default();
    let codecs = |l7: &L7| l7.codecs().map(str::to_owned).collect::<Vec<_>>();
    let note = || Some(format!("{} becomes {}", said(old), said(new)));
    found.compare("codec".into(), Some(codecs(old)), Some(codecs(new)), note);
    let settings = |l7: &L7| -> BTreeMap<String, Value> {
        let all = l7.written.get("l7").and_then(Value::as_object);
        all.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    // Settings that do the same are the same, however they are spelled.
    let (was, is) = (settings(old), if old.does_as(new) { settings(old) } else { settings(new) });
    for key in union(&was, &is) {
        found.compare(format!("l7.{key}"), was.get(key), is.get(key), || None);
    }
    let (was, is) = (hosts(old), hosts(new));
    for key in union(&was, &is) {
        found.compare(format!("host {key}"), was.get(key), is.get(key), || None);
    }
    let (was, is) = (routes(old), routes(new));
    for key in union(&was, &is) {
        found.compare(format!("route {key}"), was.get(key), is.get(key), || None);
    }
    let order = |l7: &L7, other: &BTreeMap<String, &Route>| -> Vec<String> {
        names(l7).map(|(name, _)| name).filter(|name| other.contains_key(name)).collect()
    };
    if order(old, &is) != order(new, &was) {
        found.items.push(item("order of routes".into(), Outcome::Updated, None));
    }
    (found.items, found.same)
}

/// What the file says of services at L7 and what lies over it, where that differs: a reload changes nothing of these.
pub fn covered_l7(base: &Desired, merged: &Merged, api: &ApiState) -> Vec<Warning> {
    let default = L7::default();
    let covered = |(name, service): (&String, &Service)| {
        let laid = api.services.get(name)?.l7.as_deref()?;
        let said = service.l7.as_deref().unwrap_or(&default);
        let in_force = merged.desired.services.get(name)?.l7.as_deref() == Some(laid);
        (in_force && !laid.does_as(said)).then(|| Warning {
            code: "covered_l7".into(),
            detail: format!(
                "what the configuration says of service {name} at L7 is not in force: the API has set other settings over it; \
                 `weir l7 unset {name}` drops these"
            ),
        })
    };
    base.services.iter().filter_map(covered).collect()
}

#[derive(Default)]
struct Found {
    items: Vec<Item>,
    same: u64,
}

impl Found {
    fn compare<T: PartialEq>(
        &mut self,
        what: String,
        old: Option<T>,
        new: Option<T>,
        note: impl FnOnce() -> Option<String>,
    ) {
        let outcome = match (old, new) {
            (Some(old), Some(new)) if old == new => return self.same += 1,
            (Some(_), Some(_)) => Outcome::Updated,
            (None, Some(_)) => Outcome::Added,
            (Some(_), None) => Outcome::Removed,
            (None, None) => return,
        };
        self.items.push(item(what, outcome, note()));
    }
}

fn item(item: String, outcome: Outcome, note: Option<String>) -> Item {
    let operation = if outcome == Outcome::Removed { Operation::Remove } else { Operation::Add };
    Item { item, operation, outcome, code: None, note }
}

fn union<'a, T>(one: &'a BTreeMap<String, T>, other: &'a BTreeMap<String, T>) -> Vec<&'a String> {
    let new = other.keys().filter(|key| !one.contains_key(*key));
    one.keys().chain(new).collect()
}

fn hosts(l7: &L7) -> BTreeMap<String, &Vec<String>> {
    l7.hosts.iter().map(|host| (host.name.clone(), &host.hosts)).collect()
}

fn routes(l7: &L7) -> BTreeMap<String, &Route> {
    names(l7).collect()
}

/// Routes by the names that metrics have for them, in order.
fn names(l7: &L7) -> impl Iterator<Item = (String, &Route)> {
    l7.hosts
        .iter()
        .flat_map(|host| host.routes.iter().map(|route| (format!("{}/{}", host.name, route.name), route)))
}

/// The JSON pointer of what a fault is about in a service's settings; none where it lies elsewhere.
pub(super) fn pointer(service: &str, l7: &L7, at: &Locus) -> Option<String> {
    match at {
        Locus::Codec(name) if name == service => Some("/codec".into()),
        Locus::Routes(name) if name == service => {
            Some(if l7.written.contains_key("host") { "/host".into() } else { "/route".into() })
        }
        Locus::AccessList(name, list) if name == service => {
            let lists = l7.written.get("l7")?.get("access")?.get("lists")?.as_array()?;
            let place = lists.iter().position(|one| one.as_str() == Some(list))?;
            Some(format!("/l7/access/lists/{place}"))
        }
        Locus::Destination(name, to) if name == service => destination(l7, to),
        _ => None,
    }
}

fn destination(l7: &L7, to: &str) -> Option<String> {
    let list = |value: Option<&Value>, path: &str| -> Option<String> {
        let mut routes = value?.as_array()?.iter().enumerate();
        routes.find_map(|(number, route)| in_route(route, to, &format!("{path}/{number}")))
    };
    let hosts = l7.written.get("host").and_then(Value::as_array);
    let mut of_hosts = hosts.into_iter().flatten().enumerate();
    list(l7.written.get("route"), "/route").or_else(|| {
        of_hosts.find_map(|(number, host)| list(host.get("route"), &format!("/host/{number}/route")))
    })
}

fn in_route(route: &Value, to: &str, path: &str) -> Option<String> {
    let is = |value: Option<&Value>| value.and_then(Value::as_str) == Some(to);
    if is(route.get("to")) {
        return Some(format!("{path}/to"));
    }
    let list = route.get("to").and_then(Value::as_array).into_iter().flatten();
    let place = list.enumerate().find(|(_, one)| is(one.get("service"))).map(|(place, _)| place);
    if let Some(place) = place {
        return Some(format!("{path}/to/{place}/service"));
    }
    is(route.get("mirror").and_then(|mirror| mirror.get("to"))).then(|| format!("{path}/mirror/to"))
}
