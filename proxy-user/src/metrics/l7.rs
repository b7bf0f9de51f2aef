//! What the L7 workers count, summed over them. Services, routes and upstreams are those of the configuration and its
//! registries; beyond a bound they have no series of their own, and a gauge says how many those are.

use super::{Buckets, Family, Labels, Value, counter, gauge, histogram};
use crate::l7::codec::{Fault, LocalReason};
use crate::l7::process::observer::Observer;
use crate::l7::process::workers::WorkerView;
use crate::l7::stats::{Answers, EndpointStats, RouteStats, ServiceStats, Stats};

pub(super) fn families(observer: &Observer) -> Vec<Family> {
    let (views, stats) = (observer.views(), observer.stats());
    let worker = |value: fn(&WorkerView) -> u64| {
        views
            .iter()
            .map(move |(number, view)| (vec![("worker", number.to_string())], Value::Whole(value(view))))
    };
    let mut families = vec![
        gauge("weir_l7_worker_up", "Whether the worker is there", worker(|view| view.pid.is_some().into())),
        gauge(
            "weir_l7_worker_generation",
            "Generation that the worker serves by, 0 for none",
            worker(|view| view.generation.unwrap_or(0)),
        ),
        counter(
            "weir_l7_worker_restarts",
            "Times that the worker had to be started again",
            worker(|view| view.restarts),
        ),
        counter(
            "weir_l7_worker_hangs",
            "Times that the worker gave no sign of life and was killed",
            worker(|view| view.hangs),
        ),
        counter(
            "weir_l7_stray_connections",
            "Connections closed at once: no service has the address that they came to",
            [(Vec::new(), Value::Whole(stats.strays))],
        ),
        counter(
            "weir_l7_access_log_lost",
            "Lines of the access log that were dropped: nobody read those before them in time",
            [(Vec::new(), Value::Whole(stats.log_lost))],
        ),
    ];
    families.extend(of_services(&stats));
    families.extend(of_routes(&stats));
    families.extend(of_upstreams(&stats));
    families
}

fn of_services(stats: &Stats) -> Vec<Family> {
    let all = || stats.services.iter().map(|(name, one)| (vec![("service", name.clone())], one));
    let of =
        |value: fn(&ServiceStats) -> u64| all().map(move |(labels, one)| (labels, Value::Whole(value(one))));
    let bytes = all().flat_map(|(labels, one)| {
        [("up", one.bytes_up), ("down", one.bytes_down)]
            .map(|(direction, count)| (with(&labels, "direction", direction), Value::Whole(count)))
    });
    let local = all().flat_map(|(labels, one)| {
        // The closed list, whatever a worker reports.
        let counts = LocalReason::ALL.map(LocalReason::label).map(|reason| (reason, one.reasons.get(reason)));
        counts
            .into_iter()
            .filter_map(move |(reason, count)| Some((with(&labels, "reason", reason), Value::Whole(*count?))))
    });
    let refused = all().flat_map(|(labels, one)| {
        let counts = Fault::ALL.map(Fault::label).map(|kind| (kind, one.refused.get(kind)));
        counts
            .into_iter()
            .filter_map(move |(kind, count)| Some((with(&labels, "kind", kind), Value::Whole(*count?))))
    });
    vec![
        gauge("weir_l7_connections_active", "Clients' connections now", of(|one| one.active)),
        counter("weir_l7_connections", "Clients' connections accepted", of(|one| one.accepted)),
        counter(
            "weir_l7_connections_failed",
            "Clients' connections for which no upstream was reached",
            of(|one| one.failed),
        ),
        counter("weir_l7_bytes", "Bytes from clients (up) and to them (down)", bytes),
        counter("weir_l7_requests", "Requests", of(|one| one.requests)),
        gauge("weir_l7_requests_active", "Requests under way", of(|one| one.requests_active)),
        gauge("weir_l7_requests_pending", "Requests that wait for a connection", of(|one| one.pending)),
        gauge(
            "weir_l7_tunnels_active",
            "Clients' connections from which bytes go both ways without messages",
            of(|one| one.tunnels),
        ),
        counter(
            "weir_l7_responses",
            "Answers by class of their HTTP status, whoever gave them",
            all().flat_map(|(labels, one)| classes(&labels, &one.answers)),
        ),
        counter("weir_l7_local_responses", "Answers that weir gave itself, by reason", local),
        counter(
            "weir_l7_refused",
            "Requests that were not taken, by what is wrong with their bytes",
            refused,
        ),
        histogram(
            "weir_l7_request_duration_seconds",
            "Time from a request's head to its answer's end",
            all().map(|(labels, one)| (labels, buckets(&one.answers))),
        ),
        counter(
            "weir_l7_resets",
            "Connections of upstreams that ended while a request was under way",
            of(|one| one.resets),
        ),
        counter("weir_l7_retries", "Requests tried again", of(|one| one.retries)),
        counter("weir_l7_pool_hits", "Requests for which a connection was there", of(|one| one.pool_hits)),
        counter("weir_l7_panics", "Faults of weir that ended one connection each", of(|one| one.panics)),
        counter("weir_l7_mirrored", "Copies of requests sent to another service", of(|one| one.mirrored)),
        counter("weir_l7_mirrors_lost", "Copies that were given up", of(|one| one.mirrors_lost)),
    ]
}

fn of_routes(stats: &Stats) -> Vec<Family> {
    let count = stats.services.values().map(|one| one.routes.len()).sum::<usize>();
    let shown = count <= MAX_ROUTES;
    let all = || {
        stats.services.iter().filter(move |_| shown).flat_map(|(service, one)| {
            one.routes
                .iter()
                .map(move |(route, one)| (vec![("service", service.clone()), ("route", route.clone())], one))
        })
    };
    let of =
        |value: fn(&RouteStats) -> u64| all().map(move |(labels, one)| (labels, Value::Whole(value(one))));
    vec![
        counter("weir_l7_route_requests", "Requests that took the route", of(|one| one.requests)),
        counter(
            "weir_l7_route_responses",
            "Answers to them by class of their HTTP status",
            all().flat_map(|(labels, one)| classes(&labels, &one.answers)),
        ),
        histogram(
            "weir_l7_route_request_duration_seconds",
            "Time from a request's head to its answer's end",
            all().map(|(labels, one)| (labels, buckets(&one.answers))),
        ),
        left_out(
            "weir_l7_routes_without_series",
            "Routes that have no series of their own, because there are more than 500",
            count,
            shown,
        ),
    ]
}

fn of_upstreams(stats: &Stats) -> Vec<Family> {
    let count = stats.services.values().map(|one| one.endpoints.len()).sum::<usize>();
    let shown = count <= MAX_UPSTREAMS;
    let all = || {
        stats.services.iter().filter(move |_| shown).flat_map(|(service, one)| {
            one.endpoints.iter().map(move |(addr, one)| {
                (vec![("service", service.clone()), ("upstream", addr.to_string())], one)
            })
        })
    };
    let of =
        |value: fn(&EndpointStats) -> u64| all().map(move |(labels, one)| (labels, Value::Whole(value(one))));
    vec![
        counter(
            "weir_l7_upstream_requests",
            "Requests sent to it, repeated ones too",
            of(|one| one.requests),
        ),
        counter(
            "weir_l7_upstream_responses",
            "Answers to its requests by class of their HTTP status",
            all().flat_map(|(labels, one)| classes(&labels, &one.answers)),
        ),
        histogram(
            "weir_l7_upstream_request_duration_seconds",
            "Time from a request's head to its answer's end",
            all().map(|(labels, one)| (labels, buckets(&one.answers))),
        ),
        counter(
            "weir_l7_upstream_failures",
            "Requests that it failed: 5xx, reset, timed out",
            of(|one| one.failures),
        ),
        gauge("weir_l7_upstream_requests_active", "Requests under way", of(|one| one.active)),
        gauge(
            "weir_l7_upstream_requests_pending",
            "Requests that wait for a connection",
            of(|one| one.pending),
        ),
        gauge("weir_l7_upstream_connections_active", "Connections now", of(|one| one.connections)),
        counter("weir_l7_upstream_connects", "Connections begun", of(|one| one.connects)),
        counter(
            "weir_l7_upstream_connect_failures",
            "Connections that could not be made",
            of(|one| one.connect_failures),
        ),
        counter(
            "weir_l7_upstream_pool_hits",
            "Requests for which a connection was there",
            of(|one| one.reused),
        ),
        counter(
            "weir_l7_upstream_resets",
            "Connections that ended while a request was under way",
            of(|one| one.resets),
        ),
        counter(
            "weir_l7_upstream_retries",
            "Requests that came to it after another upstream had failed",
            of(|one| one.retries),
        ),
        counter(
            "weir_l7_upstream_ejections",
            "Times that a worker left it out for its failures",
            of(|one| one.ejections),
        ),
        gauge("weir_l7_upstream_ejected", "Workers that leave it out now", of(|one| one.ejected)),
        left_out(
            "weir_l7_upstreams_without_series",
            "Upstreams that have no series of their own, because there are more than 500",
            count,
            shown,
        ),
    ]
}

fn left_out(name: &'static str, help: &'static str, count: usize, shown: bool) -> Family {
    let count = if shown { 0 } else { u64::try_from(count).unwrap_or(u64::MAX) };
    gauge(name, help, [(Vec::new(), Value::Whole(count))])
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    [labels.clone(), vec![(name, value.to_owned())]].concat()
}

/// No answer has an interim status for its last.
fn classes(labels: &Labels, answers: &Answers) -> Vec<(Labels, Value)> {
    let classes = ["2xx", "3xx", "4xx", "5xx"].into_iter().zip(answers.classes.iter().skip(1));
    classes.map(|(class, count)| (with(labels, "class", class), Value::Whole(*count))).collect()
}

fn buckets(answers: &Answers) -> Buckets {
    let bounds = crate::l7::stats::DURATION_BOUNDS.iter().map(|micros| seconds_of(*micros));
    Buckets {
        sum: seconds_of(answers.duration_sum_us),
        counts: bounds.chain([f64::INFINITY]).zip(answers.durations).collect(),
    }
}

fn seconds_of(micros: u64) -> f64 {
    super::float(micros) / 1e6
}

/// Twenty-four series each.
const MAX_ROUTES: usize = 500;
/// Thirty-five series each.
const MAX_UPSTREAMS: usize = 500;
