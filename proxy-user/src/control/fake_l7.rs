//! L7 workers for tests: one serves `shop`, one has ended, one drains.

use std::collections::BTreeMap;

use crate::l7::process::observer::Observer;
use crate::l7::process::workers::WorkerView;
use crate::l7::snapshot::{
    Action, ClientAddress, Destination, Endpoint, EndpointState, HeaderChange, HeaderMatch, Limits, Matches,
    Route, Routes, Rules, Service, Snapshot, TextMatch, Timeouts, VERSION, VirtualHost,
};
use crate::l7::stats::{Answers, EndpointStats, Ledger, RouteStats, ServiceStats, Stats};

/// What is seen of them.
pub(crate) fn observer() -> Observer {
    let last_end = Some("signal: 9".into());
    let serving =
        WorkerView { pid: Some(100), restarts: 1, last_end, generation: Some(1), ..WorkerView::default() };
    let trouble = Some("worker 1 has ended (signal: 9)".into());
    let ended = WorkerView { restarts: 2, hangs: 1, trouble, ..WorkerView::default() };
    let mut ledger = Ledger::default();
    for (pid, stats) in [(100, stats(38, 3, 1)), (102, stats(2, 2, 0))] {
        ledger.begin(pid);
        ledger.report(pid, stats);
    }
    Observer::fixed(BTreeMap::from([(0, serving), (1, ended)]), snapshot(), ledger)
}

fn stats(requests: u64, active: u64, under_way: u64) -> Stats {
    let odd = u64::from(requests > 10);
    let good = requests - 4 * odd;
    let mut answers = Answers { classes: [0, good - odd + 2 * odd, 0, 2 * odd, odd], ..Answers::default() };
    answers.durations[2] = requests - odd;
    answers.duration_sum_us = 300 * requests;
    let at = "10.0.0.21:8080".parse().unwrap();
    let endpoint =
        EndpointStats { requests, answers: answers.clone(), active: under_way, ..EndpointStats::default() };
    let shop = ServiceStats {
        active,
        accepted: active,
        requests,
        requests_active: under_way,
        answers: answers.clone(),
        reasons: [("denied".into(), odd), ("bad_request".into(), odd)]
            .into_iter()
            .filter(|(_, times)| *times > 0)
            .collect(),
        refused: [("host".into(), odd)].into_iter().filter(|(_, times)| *times > 0).collect(),
        resets: odd,
        retries: 3 * odd,
        routes: [("front/lane".into(), RouteStats { requests, answers })].into(),
        endpoints: [(at, endpoint)].into(),
        ..ServiceStats::default()
    };
    Stats { active, accepted: active, strays: 0, log_lost: 0, services: [("shop".into(), shop)].into() }
}

fn snapshot() -> Snapshot {
    let endpoint = |addr: &str, weight| Endpoint {
        addr: addr.parse().unwrap(),
        weight,
        zone: None,
        labels: BTreeMap::new(),
        state: EndpointState::Active,
    };
    let shop = Service {
        vip: "198.51.100.20:80".parse().unwrap(),
        codec: "http1".into(),
        endpoints: vec![endpoint("10.0.0.21:8080", 100), endpoint("10.0.0.22:8080", 0)],
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        client_address: ClientAddress::default(),
        rules: Rules::default(),
    };
    let to = |name: &str, weight| Destination { service: name.into(), weight };
    let lane = Route {
        name: "lane".into(),
        matches: Matches {
            headers: vec![HeaderMatch { name: "x-lane".into(), value: TextMatch::Exact("b".into()) }],
            ..Matches::default()
        },
        action: Action::Forward(vec![to("shop", 3), to("next", 1)]),
        timeout: Some(std::time::Duration::from_millis(500)),
        request_headers: vec![HeaderChange::Set("x-new".into(), "1".into())],
        ..Route::default()
    };
    let old = Route {
        name: "old".into(),
        matches: Matches {
            methods: vec!["GET".into(), "HEAD".into()],
            path: Some(TextMatch::Prefix("/old".into())),
            ..Matches::default()
        },
        action: Action::Redirect { status: 301, location: "/new".into() },
        ..Route::default()
    };
    let front = VirtualHost {
        name: "front".into(),
        hosts: vec!["shop.example".into(), "*.shop.example".into()],
        routes: vec![lane, old],
    };
    Snapshot {
        version: VERSION,
        generation: 1,
        services: [("shop".into(), shop)].into(),
        routes: Routes { services: [("shop".into(), vec![front])].into() },
    }
}
