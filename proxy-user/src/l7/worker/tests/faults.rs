//! Faults of weir's own, and what goes wrong at the worst moment.

use std::cell::Cell;
use std::io::Write as _;

use super::bolt::{frame_with, read_response};
use super::http1::{GET, ask, serve};
use super::*;
use crate::l7::snapshot::{Matches, Mirror, Route, TextMatch, VirtualHost};

thread_local! {
    static SHORT: Cell<bool> = const { Cell::new(false) };
}

/// What a request asks for: that the worker pauses, or that descriptors run out.
pub(super) fn is_asked(asking: &crate::l7::route::Asking<'_>) {
    let has = |name: &[u8]| asking.codec.header(asking.message, asking.head, name).is_some();
    if has(b"x-pause") {
        std::thread::sleep(Duration::from_millis(500));
    }
    SHORT.set(SHORT.get() || has(b"x-short"));
}

/// Whether the next connection to an endpoint fails for want of descriptors.
pub(in crate::l7::worker) fn is_short() -> bool {
    SHORT.take()
}

#[test]
fn a_fault_ends_its_own_connection_and_no_other() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |_| {});
    let (mut other, mut slow) = (rig.connect(), rig.connect());
    assert_eq!(ask(&mut other, GET).0, 200);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    for _ in 0..3 {
        let mut faulty = rig.connect();
        assert_eq!(ask(&mut faulty, GET).0, 200);
        faulty.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Fault: 1\r\n\r\n").unwrap();
        assert_eq!(faulty.read(&mut [0; 8]).unwrap_or(0), 0, "it is closed");
        assert_eq!(ask(&mut other, GET).0, 200);
    }
    assert_eq!(http1::answer(&mut slow).0, 200, "what was under way goes on");
    assert_eq!(ask(&mut rig.connect(), GET).0, 200);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.panics, stats.active, stats.requests_active), (3, 2, 0));
}

#[test]
fn a_fault_on_a_shared_connection_harms_no_other_client() {
    let backend = Backend::new(bolt::serve);
    let mut rig = Rig::new("bolt", &[backend.at], |_| {});
    let (mut other, mut faulty) = (rig.connect(), rig.connect());
    other.write_all(&bolt::frame(1, "a", b"one")).unwrap();
    assert_eq!(read_response(&mut other), (1, 0, b"one".to_vec()));
    faulty.write_all(&frame_with(1, &[("service", "a"), ("x-fault", "1")], b"")).unwrap();
    assert_eq!(faulty.read(&mut [0; 8]).unwrap_or(0), 0);
    other.write_all(&bolt::frame(2, "a", b"two")).unwrap();
    assert_eq!(read_response(&mut other), (2, 0, b"two".to_vec()));
    assert_eq!(backend.connections(), 1, "the shared connection went on");
    assert_eq!(rig.fresh_stats().services["web"].panics, 1);
}

#[test]
fn what_nobody_has_asked_for_is_nobodys_answer() {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = Mutex::new(told);
    let backend = Backend::new(move |mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if told.lock().unwrap().recv().is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
        let _ = stream.read(&mut [0; 100]);
    });
    let rig = Rig::new("http1", &[backend.at], |_| {});
    let (mut client, mut other) = (rig.connect(), rig.connect());
    assert_eq!(ask(&mut client, GET).0, 200);
    // The request, and what comes unasked behind it, are in one batch of events.
    other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Pause: 1\r\nX-Fault: 1\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(150));
    client.write_all(GET.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    tell.send(()).unwrap();
    let (status, _, content) = http1::answer(&mut client);
    assert_eq!((status, &*content), (200, &b"ok"[..]));
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_want_of_descriptors_does_not_close_who_asks() {
    let (backend, copies) = (Backend::new(serve), Backend::new(serve));
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        let at = "127.9.9.9:1".parse().unwrap();
        snapshot.services.insert("copies".into(), service(at, "http1", &[copies.at]));
        let mirror = Some(Mirror { service: "copies".into(), percent: 100 });
        let matches = Matches { path: Some(TextMatch::Exact("/m".into())), ..Matches::default() };
        let copied = Route { name: "r".into(), mirror, matches, ..Route::default() };
        let routes = vec![copied, Route { name: "all".into(), ..Route::default() }];
        let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes };
        snapshot.routes.services.insert("web".into(), vec![host]);
    });
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, GET).0, 200);
    assert_eq!(ask(&mut client, "GET /m HTTP/1.1\r\nHost: x\r\nX-Short: 1\r\n\r\n").0, 200);
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!((stats.active, stats.requests, stats.requests_active), (1, 2, 0));
    assert_eq!(stats.endpoints[&backend.at].active, 0);
}
