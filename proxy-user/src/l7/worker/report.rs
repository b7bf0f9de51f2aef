//! What a worker counts, as it leaves it.

use super::engine::Engine;
use super::services::Service;
use crate::l7::pool::Endpoint;
use crate::l7::route::VirtualHosts;
use crate::l7::stats::{EndpointStats, RouteStats, ServiceStats, Stats};

impl Engine {
    /// Counters of all services. Routes and endpoints that nothing has come to are left out, and those beyond a bound: making
    /// the report must not hold up requests.
    pub(super) fn stats(&mut self) -> Stats {
        self.stats.services.clear();
        let (mut routes, mut endpoints) = (MOST_ROUTES, MOST_ENDPOINTS);
        for (_, service) in self.directory.all.iter() {
            let stats = self.of_service(service, &mut routes, &mut endpoints);
            // One that is gone, with connections that are left, may have a successor of its name.
            match self.stats.services.get_mut(&*service.name) {
                Some(there) => there.absorb(&stats),
                None => drop(self.stats.services.insert(service.name.to_string(), stats)),
            }
        }
        self.stats.active = self.clients.len() as u64;
        self.stats.log_lost = self.journal.lost();
        self.stats.clone()
    }

    fn of_service(&self, service: &Service, routes: &mut usize, endpoints: &mut usize) -> ServiceStats {
        let mut stats = service.counters.stats();
        for route in service.hosts.iter().flat_map(VirtualHosts::all) {
            let requests = route.counters.requests.get();
            if requests > 0 && stats.routes.len() < *routes {
                let answers = route.counters.answers.answers();
                stats.routes.insert(route.name.clone(), RouteStats { requests, answers });
            }
        }
        for endpoint in service.chooser.members().iter().filter_map(|key| self.endpoints.get(*key)) {
            let found = of_endpoint(endpoint, self.now);
            if stats.endpoints.len() < *endpoints && found != EndpointStats::default() {
                stats.endpoints.insert(endpoint.addr, found);
            }
        }
        *routes = routes.saturating_sub(stats.routes.len());
        *endpoints = endpoints.saturating_sub(stats.endpoints.len());
        stats
    }
}

fn of_endpoint(endpoint: &Endpoint, now: u64) -> EndpointStats {
    let counters = endpoint.counters;
    EndpointStats {
        requests: counters.requests,
        answers: endpoint.answers.answers(),
        failures: counters.failures,
        active: u64::from(endpoint.active),
        pending: endpoint.pending.len() as u64,
        connections: u64::from(endpoint.connections),
        connects: counters.connects,
        connect_failures: counters.connect_failures,
        reused: counters.reused,
        resets: counters.resets,
        retries: counters.retries,
        ejections: counters.ejections,
        ejected: endpoint.is_ejected(now).into(),
    }
}

/// Endpoints of all services that are reported.
const MOST_ENDPOINTS: usize = 4_096;
/// Routes of all services that are reported.
const MOST_ROUTES: usize = 4_096;
