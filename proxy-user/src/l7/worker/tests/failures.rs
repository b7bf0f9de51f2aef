use std::io::{Read as _, Write as _};

use super::http1::{GET, answer, ask, serve};
use super::*;

#[test]
fn what_fails_upstream_is_told_by_its_status() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).timeouts.request = Some(Duration::from_millis(300));
    });
    let mut client = rig.connect();
    let mut get = |path: &str| ask(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).0;
    assert_eq!(get("/500"), 500);
    assert_eq!(get("/slow"), 504);
    assert_eq!(get("/a"), 200, "a late answer goes nowhere");
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!(stats.reasons.get("timeout"), Some(&1));
    assert_eq!((stats.answers.classes[4], stats.requests_active), (2, 0));

    let rig = Rig::new("http1", &[nobody()], |_| {});
    assert_eq!(ask(&mut rig.connect(), GET).0, 502);
    let rig = Rig::new("http1", &[], |_| {});
    assert_eq!(ask(&mut rig.connect(), GET).0, 503);
}

#[test]
fn an_answer_that_breaks_off_ends_the_clients_connection() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut all = Vec::new();
    let _ = client.read_to_end(&mut all);
    assert!(all.ends_with(b"\r\n\r\nhalf"));
    assert_eq!(ask(&mut rig.connect(), GET).0, 200);
}

#[test]
fn a_request_on_a_connection_that_its_endpoint_has_closed_is_tried_again() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    for _ in 0..20 {
        assert_eq!(ask(&mut client, GET).0, 200);
        backend.cut();
    }
}

#[test]
fn a_full_queue_is_said_and_a_waiting_request_gets_its_turn() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).rules.pool.connections = 1;
        web(snapshot).limits.pending = Some(1);
    });
    let slow = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut clients: Vec<_> = (0..3).map(|_| rig.connect()).collect();
    for client in &mut clients {
        client.write_all(slow.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let statuses: Vec<u16> = clients.iter_mut().map(|client| answer(client).0).collect();
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(backend.connections(), 1);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.reasons.get("overloaded"), stats.pending), (Some(&1), 0));
}

#[test]
fn limits_on_connections_requests_and_bodies_hold() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).limits =
            Limits { connections: Some(2), requests: Some(1), body_bytes: Some(10), pending: None };
    });
    let (mut first, mut second) = (rig.connect(), rig.connect());
    first.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ask(&mut second, GET).0, 503, "one request at a time");
    let mut third = rig.connect();
    assert_eq!(third.read(&mut [0; 8]).unwrap_or(0), 0, "two connections");
    assert_eq!(answer(&mut first).0, 200);
    let long = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n";
    assert_eq!(ask(&mut first, long).0, 413);
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n";
    assert_eq!(ask(&mut second, chunked).0, 413);
}

#[test]
fn a_client_that_leaves_takes_its_request_along() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let mut client = rig.connect();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(client);
    rig.until(|rig| rig.stats.accepted == 1 && rig.stats.active == 0);
    assert_eq!(rig.fresh_stats().services["web"].requests_active, 0);
    assert_eq!(ask(&mut rig.connect(), GET).0, 200, "on another connection than the half request's");
    assert_eq!(backend.connections(), 2);
}

#[test]
fn an_endpoint_that_fails_is_left_out_but_never_the_last() {
    let (good, bad) = (
        Backend::new(serve),
        Backend::new(|mut stream| {
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
        }),
    );
    let mut rig = Rig::new("http1", &[good.at, bad.at], |snapshot| {
        web(snapshot).rules.outlier =
            Some(crate::l7::snapshot::Outlier { failures: 3, ..Default::default() });
    });
    let mut client = rig.connect();
    let statuses: Vec<u16> = (0..100).map(|_| ask(&mut client, GET).0).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3);
    let stats = rig.fresh_stats().services["web"].clone();
    let ejected = |at| stats.endpoints.get(&at).map_or(0, |endpoint| endpoint.ejected);
    assert_eq!((ejected(bad.at), ejected(good.at)), (1, 0));
}
