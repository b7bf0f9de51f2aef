//! Requests that are tried again for what they were answered.

use std::io::{BufReader, Write as _};

use super::http1::{ask, request, serve};
use super::*;
use crate::l7::snapshot::{Retry, Route, VirtualHost};

fn retrying(snapshot: &mut Snapshot, retry: Retry) {
    let route = Route { name: "r".into(), retry, ..Route::default() };
    let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes: vec![route] };
    snapshot.routes.services.insert("web".into(), vec![host]);
}

/// A server that is always busy, and says so with a body; how many requests it had.
fn busy(status: u16) -> (Backend, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let backend = Backend::new(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while request(&mut reader).is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\nbusy");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (backend, asked)
}

const STATUSES: [u16; 2] = [502, 503];

#[test]
fn a_busy_endpoints_answer_is_another_endpoints_request() {
    let (bad, asked) = busy(503);
    let good = Backend::new(serve);
    let mut rig = Rig::new("http1", &[bad.at, good.at], |snapshot| {
        retrying(snapshot, Retry { tries: 2, budget_percent: 100, statuses: STATUSES.to_vec() });
    });
    let mut client = rig.connect();
    for n in 0..40 {
        let (status, _, body) = ask(&mut client, &format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(status, 200);
        assert!(body.starts_with(format!("GET /{n} ").as_bytes()), "its own answer");
    }
    let asked = asked.load(Ordering::SeqCst);
    let stats = rig.fresh_stats().services["web"].clone();
    assert!(asked > 0);
    assert_eq!((stats.retries, stats.answers.classes[1], stats.answers.classes[4]), (asked, 40, 0));
    assert_eq!(stats.endpoints[&bad.at].failures, asked);
    assert_eq!((stats.endpoints[&bad.at].active, stats.endpoints[&bad.at].connections), (0, 0));
    assert_eq!((stats.endpoints[&good.at].retries, stats.endpoints[&bad.at].retries), (asked, 0));

    // One that may not be sent twice is not.
    let statuses: Vec<u16> = (0..40)
        .map(|_| ask(&mut client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab").0)
        .collect();
    assert!(statuses.contains(&503) && statuses.contains(&200), "{statuses:?}");
}

#[test]
fn the_last_answer_is_passed_on_and_the_budget_holds() {
    let (bad, asked) = busy(503);
    let rig = Rig::new("http1", &[bad.at], |snapshot| {
        retrying(snapshot, Retry { tries: 2, budget_percent: 0, statuses: STATUSES.to_vec() });
    });
    let mut client = rig.connect();
    let get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let (status, _, body) = ask(&mut client, get);
    assert_eq!((status, body.as_slice()), (503, &b"busy"[..]), "the endpoint's own words");
    assert_eq!(asked.load(Ordering::SeqCst), 3, "once, and two tries");
    for _ in 0..20 {
        assert_eq!(ask(&mut client, get).0, 503);
    }
    // Ten tries are free; the percentage gives none.
    assert_eq!(asked.load(Ordering::SeqCst), 21 + 10);
}

#[test]
fn other_statuses_are_answers() {
    let (bad, asked) = busy(500);
    let rig = Rig::new("http1", &[bad.at], |snapshot| {
        retrying(snapshot, Retry { statuses: STATUSES.to_vec(), ..Retry::default() });
    });
    assert_eq!(ask(&mut rig.connect(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n").0, 500);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_request_that_was_lost_takes_the_place_of_an_idle_connection() {
    // One connection at most, which is in the pool when the request wants a fresh one.
    let (bad, _) = busy(503);
    let good = Backend::new(serve);
    let rig = Rig::new("http1", &[bad.at, good.at], |snapshot| {
        web(snapshot).rules.pool.connections = 1;
        web(snapshot).timeouts.request = Some(Duration::from_secs(5));
        retrying(snapshot, Retry { tries: 3, budget_percent: 100, statuses: STATUSES.to_vec() });
    });
    let mut client = rig.connect();
    for _ in 0..20 {
        assert_eq!(ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").0, 200);
    }
}
