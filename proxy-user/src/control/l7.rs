//! What the API says of the L7 workers.

use std::collections::BTreeMap;

use super::types::{L7ServiceTotals, L7Status, L7Traffic, L7Worker, L7WorkerState};
use crate::l7::process::observer::Observer;
use crate::l7::process::workers::WorkerView;
use crate::l7::stats::{EndpointStats, ServiceStats, Stats};

/// The workers, those that drain behind those that serve.
#[must_use]
pub fn status(observer: Option<&Observer>) -> L7Status {
    let Some(observer) = observer else {
        return L7Status { generation: None, workers: Vec::new(), connections: 0, services: Vec::new() };
    };
    let (views, mut living, stats) = (observer.views(), observer.living(), observer.stats());
    let generation = observer.with_snapshot(|snapshot| snapshot.generation);
    let mut workers: Vec<_> =
        views.iter().map(|(number, view)| worker(*number, view, generation, &mut living)).collect();
    // Whoever is nobody's any more, and still reports.
    workers.extend(living.into_iter().map(|(pid, stats)| draining(pid, &stats)));
    L7Status {
        generation,
        workers,
        connections: stats.active,
        services: stats.services.iter().map(|(name, stats)| totals(name, stats)).collect(),
    }
}

/// How many workers serve by a generation.
#[must_use]
pub fn acknowledged(views: &BTreeMap<u32, WorkerView>, generation: u64) -> u64 {
    let there = |view: &&WorkerView| view.pid.is_some() && view.generation == Some(generation);
    u64::try_from(views.values().filter(there).count()).unwrap_or(u64::MAX)
}

fn worker(
    number: u32,
    view: &WorkerView,
    wanted: Option<u64>,
    living: &mut BTreeMap<i32, Stats>,
) -> L7Worker {
    let stats = view.pid.and_then(|pid| living.remove(&pid)).unwrap_or_default();
    let refused =
        view.refused.as_ref().map(|(generation, why)| format!("generation {generation} refused: {why}"));
    L7Worker {
        worker: Some(number),
        pid: view.pid,
        state: match view.pid {
            None => L7WorkerState::Down,
            Some(_) if view.generation.is_some() && view.generation == wanted => L7WorkerState::Serving,
            Some(_) => L7WorkerState::Behind,
        },
        generation: view.generation,
        connections: stats.active,
        requests_active: under_way(&stats),
        restarts: view.restarts,
        hangs: view.hangs,
        last_end: view.last_end.clone(),
        adopted: view.adopted,
        trouble: view.trouble.clone().or(refused),
    }
}

fn draining(pid: i32, stats: &Stats) -> L7Worker {
    L7Worker {
        worker: None,
        pid: Some(pid),
        state: L7WorkerState::Draining,
        generation: None,
        connections: stats.active,
        requests_active: under_way(stats),
        restarts: 0,
        hangs: 0,
        last_end: None,
        adopted: false,
        trouble: None,
    }
}

fn under_way(stats: &Stats) -> u64 {
    stats.services.values().map(|service| service.requests_active).fold(0, u64::saturating_add)
}

fn totals(name: &str, stats: &ServiceStats) -> L7ServiceTotals {
    L7ServiceTotals {
        service: name.to_owned(),
        connections: stats.active,
        requests: stats.requests,
        requests_active: stats.requests_active,
        pending: stats.pending,
        classes: stats.answers.classes.to_vec(),
        retries: stats.retries,
        resets: stats.resets,
        reasons: stats.reasons.clone(),
        refused: stats.refused.clone(),
    }
}

/// What workers have counted of a service, as `weir service` shows it.
#[must_use]
pub fn of_service(stats: &ServiceStats) -> L7Traffic {
    L7Traffic {
        connections_active: stats.active,
        connections: stats.accepted,
        connections_failed: stats.failed,
        requests: stats.requests,
        requests_active: stats.requests_active.saturating_add(stats.tunnels),
        requests_pending: stats.pending,
        failures: stats.answers.classes.last().copied().unwrap_or(0),
        ejected: 0,
    }
}

/// The same of one of its backends.
#[must_use]
pub fn of_backend(stats: &EndpointStats) -> L7Traffic {
    L7Traffic {
        connections_active: stats.connections,
        connections: stats.connects,
        connections_failed: stats.connect_failures,
        requests: stats.requests,
        requests_active: stats.active,
        requests_pending: stats.pending,
        failures: stats.failures,
        ejected: stats.ejected,
    }
}
