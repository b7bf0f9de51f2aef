//! Which endpoints take requests, and why the others do not.

use crate::control::types::L7ExplainEndpoint;
use crate::l7::snapshot::{Endpoint, EndpointState, Service};
use crate::l7::stats::{EndpointStats, ServiceStats};

/// The endpoints of a service in the order of their addresses.
pub(super) fn of(service: &Service, stats: Option<&ServiceStats>, workers: u64) -> Vec<L7ExplainEndpoint> {
    let mut endpoints: Vec<_> = service.endpoints.iter().collect();
    endpoints.sort_by_key(|endpoint| endpoint.addr);
    let known = |endpoint: &Endpoint| stats.and_then(|stats| stats.endpoints.get(&endpoint.addr));
    let panics = panics(service, |endpoint| known(endpoint).is_some_and(|known| known.ejected >= workers));
    endpoints
        .into_iter()
        .map(|endpoint| {
            let (takes, why) = judge(endpoint, known(endpoint), workers, panics);
            L7ExplainEndpoint { address: endpoint.addr.to_string(), weight: endpoint.weight, takes, why }
        })
        .collect()
}

/// Whether so few are left that all are used, as a worker decides it.
fn panics(service: &Service, ejected: impl Fn(&Endpoint) -> bool) -> bool {
    let all: Vec<_> = service.endpoints.iter().filter(|endpoint| in_service(endpoint)).collect();
    let healthy = all.iter().filter(|endpoint| !ejected(endpoint)).count();
    healthy * 100 < all.len() * usize::from(service.rules.panic_percent)
}

fn in_service(endpoint: &Endpoint) -> bool {
    endpoint.state == EndpointState::Active && endpoint.weight > 0
}

fn judge(
    endpoint: &Endpoint,
    known: Option<&EndpointStats>,
    workers: u64,
    panics: bool,
) -> (bool, Option<String>) {
    let no = |why: &str| (false, Some(why.to_owned()));
    match endpoint.state {
        EndpointState::Down => return no("down: its checks fail, or its registry says so"),
        EndpointState::Draining => {
            return no("no new requests: drained, or its checks fail (`weir service show` says which)");
        }
        EndpointState::Active if endpoint.weight == 0 => return no("weight 0"),
        EndpointState::Active => {}
    }
    let left_out = known.map_or(0, |known| known.ejected);
    if left_out == 0 {
        return (true, None);
    }
    if panics {
        return (true, Some("it fails, but so do so many that all are used".to_owned()));
    }
    let why = format!("left out for its failures by {left_out} of {workers} workers");
    (left_out < workers, Some(why))
}
