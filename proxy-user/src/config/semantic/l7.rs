//! What services of the L7 path must be to each other: destinations of routes, and lists of the ACL.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, View};
use crate::config::bounds;
use crate::config::problem::{Code, Locus};
use crate::config::shape::suggestion;
use crate::l7::codec::{self, PoolMode};
use crate::l7::snapshot::{Route, TextMatch, VirtualHost};
use crate::model::{Forward, L7, Service};

pub(super) fn check(view: &View<'_>, found: &mut Found) {
    bounded(view, found);
    for (name, service) in view.services {
        let Some(l7) = service.l7.as_deref().filter(|_| service.forward == Forward::L7) else { continue };
        let mut destinations: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (host, route) in
            l7.hosts.iter().flat_map(|host| host.routes.iter().map(move |route| (host, route)))
        {
            let sent = taken(l7, host, route);
            for to in route.destinations() {
                destinations.entry(to).or_default().extend(&sent);
            }
        }
        for (destination, sent) in destinations {
            check_destination(view, name, &sent, destination, found);
        }
        access(view, name, l7, found);
        let judged =
            !l7.hosts.is_empty() || l7.rules.access.as_ref().is_some_and(|list| list.header.is_some());
        if l7.rules.fallback && judged {
            let message = "what no codec has would go on as `tcp`, unread, around the routes and the header that `access` is by";
            let hint = "leave `tcp` out of the list";
            found.error(Code::BadValue, Locus::Codec(name.clone()), message.to_owned(), hint);
        }
    }
}

/// What each worker is told with each state has a bound over all services.
fn bounded(view: &View<'_>, found: &mut Found) {
    let most = bounds::L7_ALL_ROUTES;
    let (mut routes, mut names) = (0, 0);
    let of_l7 = view.services.iter().filter(|(_, service)| service.forward == Forward::L7);
    for (name, l7) in of_l7.filter_map(|(name, service)| Some((name, service.l7.as_deref()?))) {
        routes += l7.hosts.iter().map(|host| host.routes.len()).sum::<usize>();
        names += l7.hosts.iter().map(|host| host.hosts.len()).sum::<usize>();
        let (what, count) = match (routes > most, names > most) {
            (true, _) => ("routes", routes),
            (_, true) => ("names of hosts", names),
            _ => continue,
        };
        let message = format!("up to service `{name}`, by name, services have {count} {what}");
        let hint = format!(
            "all services together have {most} at most, and each worker has all of them: have fewer that take more"
        );
        return found.error(Code::TooMany, Locus::Routes(name.clone()), message, hint);
    }
}

/// The codecs whose requests a route may have; all, where what it names is no codec's, which is a fault of its own.
fn taken<'a>(l7: &'a L7, host: &VirtualHost, route: &Route) -> Vec<&'a str> {
    let matches = &route.matches;
    let there = |wanted: &Option<TextMatch>| wanted.as_ref().is_some_and(|text| *text != TextMatch::Absent);
    // What no codec but HTTP has, and what HTTP does not have. Methods are of both.
    let asked = matches.query.iter().any(|wanted| wanted.value != TextMatch::Absent);
    let http = there(&matches.path) || asked || !host.hosts.iter().any(|name| name == "*");
    let rpc = there(&matches.service);
    let of = |name: &&str| codec::by_name(name).filter(|codec| codec.pool() != PoolMode::OneToOne);
    let all: Vec<_> = l7.codecs().filter(|name| of(name).is_some()).collect();
    let able = |name: &&str| {
        of(name).map(|codec| codec.abilities()).is_some_and(|has| (has.http || !http) && (has.rpc || !rpc))
    };
    match all.iter().copied().filter(able).collect::<Vec<_>>() {
        none if none.is_empty() => all,
        some => some,
    }
}

fn check_destination(
    view: &View<'_>,
    name: &str,
    sent: &BTreeSet<&str>,
    destination: &str,
    found: &mut Found,
) {
    let at = Locus::Destination(name.to_owned(), destination.to_owned());
    let Some(to) = view.services.get(destination) else {
        let all = view.services.iter().filter(|(_, service)| service.forward == Forward::L7);
        let all: Vec<_> = all.map(|(name, _)| name.as_str()).collect();
        let message = format!("there is no service `{destination}` to send requests to");
        return found.error(Code::Destination, at, message, suggestion(destination, &all));
    };
    let other = Locus::Service(destination.to_owned());
    if to.forward != Forward::L7 {
        let message =
            format!("requests cannot go to service `{destination}`, which the L7 path does not serve");
        let hint = format!("give `{destination}` forward = \"l7\"");
        return found.conflict(Code::Destination, at, other, message, hint);
    }
    let spoken = codecs(to);
    let missing: Vec<_> =
        sent.iter().copied().filter(|codec| spoken.iter().all(|other| other != codec)).collect();
    if !missing.is_empty() {
        let (missing, theirs) = (missing.join(", "), spoken.join(", "));
        let message = format!(
            "routes of `{name}` send requests of {missing} to `{destination}`, which speaks {theirs}"
        );
        let hint = format!(
            "give `{destination}` {missing} too, or have the route take others only: `path` and `hosts` are HTTP's, `service` Bolt's"
        );
        let other = Locus::Codec(destination.to_owned());
        found.conflict(Code::Destination, at, other, message, hint);
    }
}

fn codecs(service: &Service) -> Vec<String> {
    let default = L7::default();
    service.l7.as_deref().unwrap_or(&default).codecs().map(str::to_owned).collect()
}

fn access(view: &View<'_>, name: &str, l7: &L7, found: &mut Found) {
    let rules = l7.rules.access.iter().flat_map(|access| &access.rules);
    let mut prefixes: usize = rules.map(|rule| rule.sources.len()).sum();
    for list in &l7.access_lists {
        let at = Locus::AccessList(name.to_owned(), list.clone());
        let Some(known) = view.acl.lists.get(list) else {
            let all: Vec<_> = view.acl.lists.keys().map(String::as_str).collect();
            let message = format!("there is no list `{list}` in the source ACL");
            let hint = match all.is_empty() {
                true => "add `[[acl.list]]` of this name".to_owned(),
                false => suggestion(list, &all),
            };
            found.error(Code::UnknownList, at, message, hint);
            continue;
        };
        let most = bounds::L7_ACCESS_PREFIXES;
        let before = prefixes;
        prefixes = prefixes.saturating_add(known.entries.len());
        if prefixes > most && before <= most {
            let message = format!(
                "list `{list}` makes {prefixes} prefixes that every request to `{name}` would be held against"
            );
            let hint = format!("{most} is the most at L7; XDP itself takes more");
            found.conflict(Code::TooMany, at, Locus::List(list.clone()), message, hint);
        }
    }
}
