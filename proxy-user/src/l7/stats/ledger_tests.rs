use std::net::SocketAddr;

use super::*;

fn at() -> SocketAddr {
    "10.0.0.11:8080".parse().unwrap()
}

fn report(requests: u64, active: u64) -> Stats {
    let mut web = ServiceStats { requests, requests_active: active, ..ServiceStats::default() };
    web.answers.classes[1] = requests;
    web.answers.durations[3] = requests;
    web.reasons.insert("denied".into(), requests);
    web.routes.insert("shop/split".into(), RouteStats { requests, ..RouteStats::default() });
    web.endpoints
        .insert(at(), EndpointStats { requests, active, ejected: active, ..EndpointStats::default() });
    Stats { active, accepted: requests, strays: 0, log_lost: 0, services: [("web".into(), web)].into() }
}

#[test]
fn a_restart_takes_nothing_back() {
    let mut ledger = Ledger::default();
    ledger.begin(1);
    ledger.begin(2);
    ledger.report(1, report(10, 3));
    ledger.report(1, report(14, 1));
    ledger.report(2, report(5, 2));
    assert_eq!(ledger.sum(), report(19, 3));
    ledger.end(1);
    assert_eq!(ledger.sum(), report(19, 2), "what it had counted stays, what it had now is gone");
    ledger.begin(3);
    ledger.report(3, report(4, 1));
    assert_eq!(ledger.sum(), report(23, 3));
    // The same number for another process.
    ledger.end(3);
    ledger.begin(3);
    ledger.report(3, report(100, 0));
    assert_eq!(ledger.sum(), report(123, 2));
    ledger.report(9, report(7, 7));
    assert_eq!(ledger.sum(), report(123, 2), "nobody knows process 9");
}

#[test]
fn a_counter_that_begins_anew_in_a_living_worker_goes_on() {
    let mut ledger = Ledger::default();
    ledger.begin(1);
    ledger.report(1, report(10, 0));
    ledger.report(1, Stats::default());
    ledger.report(1, report(2, 0));
    assert_eq!(ledger.sum().services["web"].requests, 12);
}

#[test]
fn what_is_no_longer_in_force_is_forgotten() {
    let mut ledger = Ledger::default();
    ledger.begin(1);
    ledger.report(1, report(10, 1));
    ledger.keep(&Snapshot::default());
    assert!(ledger.sum().services.is_empty());
    assert_eq!(ledger.sum().active, 1);
}

#[test]
fn two_of_one_name_in_a_worker_are_one() {
    let (mut one, other) = (report(3, 1), report(4, 2));
    one.services.get_mut("web").unwrap().absorb(&other.services["web"]);
    assert_eq!(one.services["web"], report(7, 3).services["web"]);
}
