//! The access log: a line for each request, connection and tunnel, however it ends.

use std::io::Write as _;
use std::net::Shutdown;

use serde_json::Value;

use super::bolt::{frame, frame_with, read_response};
use super::http1::{GET, answer, ask, serve};
use super::tunnels::UPGRADE;
use super::*;
use crate::l7::snapshot::{Access, AccessRule, Action, Matches, Route, TextMatch, VirtualHost};

fn denying(source: &str, header: Option<&str>) -> Access {
    Access {
        header: header.map(Into::into),
        rules: vec![AccessRule { deny: true, sources: vec![source.parse().unwrap()] }],
        ..Access::default()
    }
}

fn route(name: &str, path: &str, action: Action) -> Route {
    let matches = Matches { path: Some(TextMatch::Exact(path.into())), ..Matches::default() };
    Route { name: name.into(), matches, action, ..Route::default() }
}

/// What a line says, as far as a test can know it.
fn said(line: &Value) -> (u64, &str, &str, &str) {
    let text = |name: &str| line[name].as_str().unwrap_or("");
    (line["status"].as_u64().unwrap_or(0), text("reason"), text("route"), text("path"))
}

#[test]
fn every_request_has_its_line() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        let web = web(snapshot);
        web.rules.access_log = 1;
        web.rules.trusted = vec!["127.0.0.0/8".parse().unwrap()];
        web.rules.access = Some(denying("192.0.2.0/24", Some("x-forwarded-for")));
        web.limits.body_bytes = Some(10);
        web.rules.head = Duration::from_millis(300);
        let redirect = Action::Redirect { status: 302, location: "http://y/".into() };
        let direct = Action::Direct { status: 418, body: "short".into() };
        let lost =
            Action::Forward(vec![crate::l7::snapshot::Destination { service: "no".into(), weight: 1 }]);
        let routes = vec![
            route("moved", "/moved", redirect),
            route("tea", "/tea", direct),
            route("lost", "/lost", lost),
            route("a", "/a", Route::default().action),
        ];
        let host = VirtualHost { name: "h".into(), hosts: vec!["x".into()], routes };
        snapshot.routes.services.insert("web".into(), vec![host]);
    });
    let mut client = rig.connect();
    let from = "X-Forwarded-For: 10.1.2.3\r\n";
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{from}\r\n");
    let good = get("/a?token=secret");
    let (_, head, body) = ask(&mut client, &good);
    let down = head.len() + body.len();
    for path in ["/moved", "/tea", "/lost", "/none"] {
        ask(&mut client, &get(path));
    }
    ask(&mut client, "GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
    ask(&mut client, "GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: nonsense\r\n\r\n");
    assert_eq!(
        ask(&mut client, &format!("POST /a HTTP/1.1\r\nHost: x\r\n{from}Content-Length: 11\r\n\r\n")).0,
        413
    );
    assert_eq!(ask(&mut rig.connect(), "GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n").0, 400);
    let mut slow = rig.connect();
    slow.write_all(b"GET /a HT").unwrap();
    assert_eq!(answer(&mut slow).0, 408);
    let lines = rig.lines(10);
    let wanted = [
        (200, "", "h/a", "/a"),
        (302, "", "h/moved", "/moved"),
        (418, "", "h/tea", "/tea"),
        (503, "no_upstream", "", "/lost"),
        (404, "no_route", "", "/none"),
        (403, "denied", "", "/a"),
        (403, "denied", "", "/a"),
        (413, "too_large", "", ""),
        (400, "bad_request", "", ""),
        (408, "bad_request", "", ""),
    ];
    for (line, wanted) in lines.iter().zip(wanted) {
        assert_eq!(said(line), wanted, "{line:#}");
        assert_eq!((&line["service"], &line["protocol"]), (&"web".into(), &"http1".into()));
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line:#}");
    }
    let refused = |place: usize| (lines[place]["refused"].as_str(), lines[place]["detail"].as_str());
    assert_eq!(refused(7), (Some("body_size"), Some("a body that passes the limit")));
    assert_eq!(refused(8), (Some("host"), Some("more than one Host (RFC 9112, 3.2)")));
    assert_eq!(refused(9).0, Some("late"));
    assert_eq!(refused(5), (None, None), "the bytes are not to blame");
    let counted = rig.fresh_stats().services["web"].refused.clone();
    assert_eq!(
        counted,
        [("body_size", 1), ("host", 1), ("late", 1)].map(|(kind, count)| (kind.into(), count)).into()
    );
    let first = &lines[0];
    assert_eq!(
        (&first["client"], &first["method"], &first["host"]),
        (&"10.1.2.3".into(), &"GET".into(), &"x".into())
    );
    assert_eq!(first["endpoint"], backend.at.to_string());
    assert_eq!((&first["bytes_up"], &first["bytes_down"]), (&good.len().into(), &down.into()), "{first:#}");
    assert!(lines[6].get("client").is_none(), "what cannot be read says nothing: {:#}", lines[6]);
    assert!(!lines.iter().any(|line| line.to_string().contains("secret")));
}

#[test]
fn what_fails_on_its_way_has_its_line() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        let web = web(snapshot);
        web.rules.access_log = 1;
        web.rules.pool.connections = 1;
        web.timeouts.connect = Duration::from_millis(100);
        web.timeouts.request = Some(Duration::from_millis(700));
        web.limits.connections = Some(2);
    });
    let (mut slow, mut waits) = (rig.connect(), rig.connect());
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ask(&mut waits, GET).0, 503);
    assert_eq!(rig.connect().read(&mut [0; 8]).unwrap_or(0), 0);
    assert_eq!(answer(&mut slow).0, 504);
    slow.write_all(b"POST /half HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(slow);
    waits.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nX-Fault: 1\r\n\r\n").unwrap();
    assert_eq!(waits.read(&mut [0; 8]).unwrap_or(0), 0);
    let lines = rig.lines(5);
    let mut all: Vec<_> = lines.iter().map(said).collect();
    all.sort_unstable();
    let wanted = [
        (0, "internal", "", ""),
        (0, "overloaded", "", ""),
        (499, "", "", "/half"),
        (503, "queue_timeout", "", "/a"),
        (504, "timeout", "", "/slow"),
    ];
    assert_eq!(all, wanted, "{lines:#?}");
}

#[test]
fn tunnels_have_one_line_at_their_end() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| web(snapshot).rules.access_log = 1);
    let (mut client, mut cut) = (rig.connect(), rig.connect());
    for client in [&mut client, &mut cut] {
        client.write_all(UPGRADE.as_bytes()).unwrap();
        read_until(client, b"\r\n\r\nfirst");
    }
    client.write_all(b"frame").unwrap();
    assert_eq!(read_exactly(&mut client, 5), b"frame");
    drop(client);
    let lines = rig.lines(1);
    assert_eq!(said(&lines[0]), (101, "", "", "/upgrade"), "{lines:#?}");
    let head = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".len();
    assert_eq!(
        (&lines[0]["bytes_up"], &lines[0]["bytes_down"]),
        (&(UPGRADE.len() + 5).into(), &(head + 10).into())
    );
    // What the end of the worker cuts off has its line too.
    rig.drain(Duration::from_millis(100));
    rig.thread.take().unwrap().join().unwrap().unwrap();
    assert_eq!(said(&rig.lines(2)[1]), (101, "", "", "/upgrade"));
}

#[test]
fn connections_of_opaque_bytes_have_a_line() {
    let backend = Backend::new(echo);
    let rig = Rig::new("tcp", &[backend.at], |snapshot| {
        web(snapshot).rules.access_log = 1;
        web(snapshot).timeouts.idle = Duration::from_millis(300);
    });
    let mut client = rig.connect();
    client.write_all(&[7; 1_000_000]).unwrap();
    read_exactly(&mut client, 1_000_000);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(rig.connect().read(&mut [0; 8]).unwrap(), 0, "idle");
    let lines = rig.lines(2);
    let of =
        |line: &Value| (line["bytes_up"].as_u64(), line["bytes_down"].as_u64(), line["endpoint"].clone());
    assert_eq!(of(&lines[0]), (Some(1_000_000), Some(1_000_000), backend.at.to_string().into()));
    assert_eq!((said(&lines[0]), said(&lines[1])), ((0, "", "", ""), (0, "timeout", "", "")));
    assert!(lines[1]["duration_us"].as_u64().unwrap() >= 200_000, "{lines:#?}");

    for (endpoints, denied, reason) in [
        (vec![nobody()], false, "reset"),
        (Vec::new(), false, "no_upstream"),
        (vec![backend.at], true, "denied"),
    ] {
        let mut rig = Rig::new("tcp", &endpoints, |snapshot| {
            web(snapshot).rules.access_log = 1;
            web(snapshot).rules.access = denied.then(|| denying("127.0.0.0/8", None));
        });
        assert_eq!(rig.connect().read(&mut [0; 8]).unwrap_or(0), 0);
        assert_eq!(said(&rig.lines(1)[0]), (0, reason, "", ""));
        let stats = rig.fresh_stats().services["web"].clone();
        assert_eq!((stats.reasons.get(reason), stats.tunnels), (Some(&1), 0));
    }
}

#[test]
fn requests_that_share_connections_have_theirs() {
    let backend = Backend::new(bolt::serve);
    let mut rig = Rig::new("bolt", &[backend.at], |snapshot| {
        web(snapshot).rules.access_log = 1;
        web(snapshot).rules.access = Some(denying("192.0.2.0/24", Some("x-client")));
        web(snapshot).rules.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut client = rig.connect();
    let good = frame_with(1, &[("service", "a"), ("x-client", "10.0.0.1")], b"x");
    client.write_all(&good).unwrap();
    assert_eq!(read_response(&mut client), (1, 0, b"x".to_vec()));
    let mut one_way = good.clone();
    one_way[1] = 2;
    client.write_all(&one_way).unwrap();
    client.write_all(&frame_with(2, &[("service", "a"), ("x-client", "192.0.2.9")], b"x")).unwrap();
    read_response(&mut client);
    let mut lines = rig.lines(3);
    let quiet = lines.remove(1);
    assert_eq!((said(&quiet), &quiet["endpoint"]), ((0, "", "", ""), &backend.at.to_string().into()));
    assert_eq!(lines.iter().map(said).collect::<Vec<_>>(), [(200, "", "", ""), (403, "denied", "", "")]);
    assert_eq!((&lines[0]["bytes_up"], &lines[0]["client"]), (&good.len().into(), &"10.0.0.1".into()));
    assert!(lines.iter().all(|line| line["bytes_down"].as_u64() > Some(0)), "{lines:#?}");
    backend.cut();
    drop(client);
    // Nobody to go to.
    let mut snapshot = Snapshot { version: VERSION, ..Snapshot::default() };
    let mut alone = service(rig.at, "bolt", &[]);
    alone.rules.access_log = 1;
    snapshot.services.insert("web".into(), alone);
    rig.publish(snapshot);
    let mut client = rig.connect();
    client.write_all(&frame(3, "a", b"x")).unwrap();
    read_response(&mut client);
    assert_eq!(said(&rig.lines(4)[3]), (503, "no_upstream", "", ""));
}

#[test]
fn one_of_so_many_is_logged_whatever_becomes_of_it() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).rules.access_log = 10;
        web(snapshot).rules.access = Some(denying("127.0.0.0/8", None));
    });
    let mut client = rig.connect();
    for _ in 0..50 {
        assert_eq!(ask(&mut client, GET).0, 403);
    }
    rig.lines(5);
}
