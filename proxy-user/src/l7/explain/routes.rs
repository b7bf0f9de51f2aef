//! What workers route by, as `weir l7 routes` shows it.

use super::words;
use crate::control::types::{L7Route, L7Service, L7VirtualHost};
use crate::l7::route::conditions;
use crate::l7::snapshot::{EndpointState, Service, Snapshot, VirtualHost};

/// All services of a snapshot with their routes, or the one of this name.
#[must_use]
pub fn routes(snapshot: &Snapshot, only: Option<&str>) -> Vec<L7Service> {
    let services = snapshot.services.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    services.map(|(name, service)| describe(snapshot, name, service)).collect()
}

fn describe(snapshot: &Snapshot, name: &str, service: &Service) -> L7Service {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let active = |endpoint: &&crate::l7::snapshot::Endpoint| {
        endpoint.state == EndpointState::Active && endpoint.weight > 0
    };
    let hosts = snapshot.routes.services.get(name).into_iter().flatten();
    L7Service {
        name: name.to_owned(),
        vip: service.vip.to_string(),
        codec: words::codec(service),
        balance: words::balance(&service.rules.balance),
        timeout_ms: service.timeouts.request.map(words::millis),
        endpoints_active: number(service.endpoints.iter().filter(active).count()),
        endpoints: number(service.endpoints.len()),
        virtual_hosts: hosts.map(|host| virtual_host(service, host)).collect(),
    }
}

fn virtual_host(service: &Service, host: &VirtualHost) -> L7VirtualHost {
    let route = |route: &crate::l7::snapshot::Route| L7Route {
        name: route.name.clone(),
        matches: conditions(&route.matches),
        does: words::action(service, route),
    };
    L7VirtualHost {
        name: host.name.clone(),
        hosts: host.hosts.clone(),
        routes: host.routes.iter().map(route).collect(),
    }
}
