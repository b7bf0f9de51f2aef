//! Actions and balancing in words, as `weir l7 routes` and `weir explain` show them.

use std::time::Duration;

use crate::control::types::L7Action;
use crate::l7::snapshot::{
    Access, Action, Balance, Destination, HashBy, HeaderChange, Location, PathChange, Retry, Route, Service,
    Url,
};

/// What becomes of a route's requests.
#[must_use]
pub(super) fn action(service: &Service, route: &Route) -> L7Action {
    let changes = |changes: &[HeaderChange]| changes.iter().map(change).collect();
    let mut action = match &route.action {
        Action::Forward(to) if to.is_empty() => "forward to the service itself".to_owned(),
        Action::Forward(to) => format!("forward to {}", shares(to)),
        Action::Redirect { status, location: Location::Fixed(location) } => {
            format!("redirect {status} to {location}")
        }
        Action::Redirect { status, location: Location::Url(url) } => {
            format!("redirect {status} to the same URL{}", other_url(url))
        }
        Action::Direct { status, body } => format!("direct {status}, {} bytes", body.len()),
    };
    action.push_str(&other_path(route.rewrite.path.as_ref()));
    action.push_str(&route.rewrite.host.as_ref().map(|host| format!(", host {host}")).unwrap_or_default());
    if let Some(mirror) = &route.mirror {
        action.push_str(&format!(", copies of {}% to {}", mirror.percent, mirror.service));
    }
    if !route.retry.statuses.is_empty() {
        let statuses: Vec<_> = route.retry.statuses.iter().map(u16::to_string).collect();
        action.push_str(&format!(", tried again on {}", statuses.join(", ")));
    }
    L7Action {
        action,
        request_headers: changes(&route.request_headers),
        response_headers: changes(&route.response_headers),
        ..of_service(service, route.timeout, &route.retry)
    }
}

fn other_url(url: &Url) -> String {
    let mut words = String::new();
    words.extend(url.scheme.map(|scheme| format!(", scheme {}", scheme.name())));
    words.extend(url.host.as_ref().map(|host| format!(", host {host}")));
    words.extend(url.port.map(|port| format!(", port {port}")));
    words.push_str(&other_path(url.path.as_ref()));
    words
}

fn other_path(change: Option<&PathChange>) -> String {
    match change {
        None => String::new(),
        Some(PathChange::Whole(path)) => format!(", path {path}"),
        Some(PathChange::Prefix(path)) if path.is_empty() => ", without the path's prefix".to_owned(),
        Some(PathChange::Prefix(path)) => format!(", the path's prefix becomes {path}"),
    }
}

/// The action of a service without routes.
#[must_use]
pub(super) fn to_itself(service: &Service) -> L7Action {
    let action = "forward to the service itself".to_owned();
    L7Action { action, ..of_service(service, None, &Retry::default()) }
}

fn of_service(service: &Service, timeout: Option<Duration>, retry: &Retry) -> L7Action {
    L7Action {
        action: String::new(),
        timeout_ms: timeout.or(service.timeouts.request).map(millis),
        retries: retry.tries,
        retry_budget_percent: retry.budget_percent,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }
}

fn shares(to: &[Destination]) -> String {
    let one = |to: &Destination| format!("{} (weight {})", to.service, to.weight);
    to.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn change(change: &HeaderChange) -> String {
    match change {
        HeaderChange::Set(name, value) => format!("set {name}: {value}"),
        HeaderChange::Add(name, value) => format!("add {name}: {value}"),
        HeaderChange::Remove(name) => format!("remove {name}"),
    }
}

/// A rule of an access list by its place: by its number, or the name of the ACL's list that it is.
#[must_use]
pub(super) fn rule(access: &Access, place: usize) -> String {
    let own = access.rules.len().saturating_sub(access.lists.len());
    match place.checked_sub(own).and_then(|place| access.lists.get(place)) {
        Some(list) => format!("list {list}"),
        None => format!("rule {}", place + 1),
    }
}

/// How an endpoint is chosen.
#[must_use]
pub(super) fn balance(balance: &Balance) -> String {
    match balance {
        Balance::LeastRequest => "least request of two".to_owned(),
        Balance::RoundRobin => "weighted round robin".to_owned(),
        Balance::Maglev(HashBy::Source) => "maglev by the client's address".to_owned(),
        Balance::Maglev(HashBy::Header(name)) => format!("maglev by header {name}"),
    }
}

/// The codec, or those that are detected among.
#[must_use]
pub(super) fn codec(service: &Service) -> String {
    if service.rules.detect.is_empty() {
        return service.codec.clone();
    }
    let fallback = if service.rules.fallback { ", else tcp" } else { "" };
    format!("one of {}{fallback}", service.rules.detect.join(", "))
}

/// Milliseconds, up to the largest number.
#[must_use]
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
