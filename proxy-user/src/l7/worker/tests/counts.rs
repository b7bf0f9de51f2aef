//! Each request is counted once, however it ends.

use std::io::Write as _;

use super::bolt::{frame, frame_with, read_response, serve};
use super::*;
use crate::l7::snapshot::{
    Access, AccessRule, Action, Destination, HeaderChange, HeaderMatch, Matches, Outlier, Route, TextMatch,
    VirtualHost,
};

/// An address that no connection can be begun to.
fn unreachable() -> SocketAddr {
    "255.255.255.255:9".parse().unwrap()
}

/// The requests of `web` are answers, of which each route has its own; and nothing is under way.
fn adds_up(all: &Stats) {
    let sum = |answers: &crate::l7::stats::Answers| answers.classes.iter().sum::<u64>();
    let stats = &all.services["web"];
    assert_eq!(stats.requests, sum(&stats.answers), "{stats:?}");
    assert_eq!(stats.answers.durations.iter().sum::<u64>(), stats.requests, "{stats:?}");
    assert_eq!((stats.requests_active, stats.pending), (0, 0), "{stats:?}");
    for (name, route) in &stats.routes {
        assert_eq!(route.requests, sum(&route.answers), "{name}: {stats:?}");
    }
    let (mut requests, mut ended, mut retries) = (0, 0, 0);
    for (at, endpoint) in all.services.values().flat_map(|service| &service.endpoints) {
        assert_eq!(endpoint.active, 0, "{at}: {stats:?}");
        requests += endpoint.requests;
        ended += sum(&endpoint.answers);
        retries += endpoint.retries;
    }
    assert_eq!(retries, stats.retries, "{stats:?}");
    // Each that an endpoint had ended there, or was tried elsewhere.
    assert!(requests >= ended && requests <= ended + retries, "{stats:?}");
}

/// Routes by the header `x`, the last for all.
fn routes(snapshot: &mut Snapshot) {
    let by = |value: &str, action| Route {
        name: value.into(),
        matches: Matches {
            headers: vec![HeaderMatch { name: "x".into(), value: TextMatch::Exact(value.into()) }],
            ..Matches::default()
        },
        action,
        ..Route::default()
    };
    let to = |service: &str| Action::Forward(vec![Destination { service: service.into(), weight: 1 }]);
    let mut long = by("long", to("web"));
    long.request_headers = vec![HeaderChange::Set("l".into(), "v".repeat(32_750))];
    let mut late = by("late", to("web"));
    late.timeout = Some(Duration::from_millis(300));
    let mut nobody = by("nobody", to("nobody"));
    nobody.retry.tries = 1;
    let direct = by("direct", Action::Direct { status: 204, body: String::new() });
    let routes = vec![long, late, direct, by("empty", to("empty")), nobody, by("all", to("web"))];
    let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes };
    snapshot.routes.services.insert("web".into(), vec![host]);
    let vip = |host: u8| SocketAddr::from(([192, 0, 2, host], 80));
    let codec = web(snapshot).codec.clone();
    snapshot.services.insert("empty".into(), service(vip(1), &codec, &[]));
    snapshot.services.insert("nobody".into(), service(vip(2), &codec, &[unreachable()]));
    let deny = AccessRule { deny: true, sources: vec!["192.0.2.66/32".parse().unwrap()] };
    web(snapshot).rules.access =
        Some(Access { header: Some("client".into()), rules: vec![deny], ..Access::default() });
    web(snapshot).rules.trusted = vec!["127.0.0.0/8".parse().unwrap()];
}

#[test]
fn requests_that_share_connections_add_up() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("bolt", &[backend.at], routes);
    let mut client = rig.connect();
    let mut asked = 0;
    let mut ask = |x: &str, from: &str, content: &[u8]| {
        asked += 1;
        client.write_all(&frame_with(asked, &[("x", x), ("client", from)], content)).unwrap();
        let (id, status, _) = read_response(&mut client);
        assert_eq!(id, asked, "{x}");
        status
    };
    for _ in 0..3 {
        assert_eq!(ask("all", "192.0.2.1", b"fine"), 0);
        assert_eq!(ask("direct", "192.0.2.1", b"fine"), 0);
        for (x, from, content) in [
            ("all", "192.0.2.66", &b"denied"[..]),
            ("all", "192.0.2.1", b"die"),
            ("long", "192.0.2.1", b"its headers are too long"),
            ("late", "192.0.2.1", b"silent"),
            ("empty", "192.0.2.1", b"no upstream"),
            ("nobody", "192.0.2.1", b"not reached"),
            ("none", "192.0.2.1", b"no route"),
        ] {
            assert_ne!(ask(x, from, content), 0, "{x}");
        }
    }
    // And some that their client does not wait for.
    let mut leaver = rig.connect();
    for id in 0..20 {
        leaver.write_all(&frame_with(id, &[("x", "all"), ("client", "192.0.2.1")], b"silent")).unwrap();
    }
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.requests_active == 20));
    reset(leaver);
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.requests_active == 0));
    let all = rig.fresh_stats();
    adds_up(&all);
    let stats = &all.services["web"];
    assert_eq!(stats.requests, 27 + 20);
    let reason = |name: &str| stats.reasons.get(name).copied().unwrap_or(0);
    assert_eq!((reason("denied"), reason("no_upstream"), reason("no_route")), (3, 3, 3), "{stats:?}");
    assert_eq!((reason("too_large"), reason("timeout"), reason("reset")), (3, 3, 6), "{stats:?}");
    // 3 denied, 3 without a route, 3 too large, 20 left.
    assert_eq!(stats.answers.classes[3], 29, "{stats:?}");
    // What was given up of it has no place on the connection, and answers to it go nowhere.
    assert_eq!(ask("all", "192.0.2.1", b"fine"), 0);
}

#[test]
fn requests_of_clients_that_have_left_are_over_soon() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("bolt", &[backend.at], |snapshot| web(snapshot).limits.requests = Some(20));
    let mut other = rig.connect();
    for closes in [drop, reset] {
        let mut leaver = rig.connect();
        for id in 0..20 {
            leaver.write_all(&frame(id, "a", b"silent")).unwrap();
        }
        rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.requests_active == 20));
        other.write_all(&frame(1, "a", b"x")).unwrap();
        assert_eq!(read_response(&mut other).1, crate::wire::bolt::status::BUSY);
        let begun = Instant::now();
        closes(leaver);
        rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.requests_active == 0));
        assert!(begun.elapsed() < Duration::from_secs(10), "not at their deadline of 60 s");
        other.write_all(&frame(2, "a", b"x")).unwrap();
        assert_eq!(read_response(&mut other), (2, 0, b"x".to_vec()));
    }
    let stats = rig.fresh_stats();
    assert_eq!(stats.services["web"].answers.classes[3], 40);
    assert_eq!(stats.services["web"].endpoints[&backend.at].active, 0);
    adds_up(&stats);
}

#[test]
fn requests_one_after_the_other_add_up() {
    let (backend, dead) = (Backend::new(http1::serve), unreachable());
    let mut rig = Rig::new("http1", &[dead, backend.at], |snapshot| {
        routes(snapshot);
        web(snapshot).rules.trusted.clear();
    });
    let mut client = rig.connect();
    for _ in 0..10 {
        for (x, wanted) in
            [("all", 200), ("direct", 204), ("empty", 503), ("nobody", 502), ("none", 404), ("late", 200)]
        {
            let get = format!("GET / HTTP/1.1\r\nHost: x\r\nx: {x}\r\n\r\n");
            assert_eq!(http1::ask(&mut client, &get).0, wanted, "{x}");
        }
    }
    let late = "GET /slow HTTP/1.1\r\nHost: x\r\nx: late\r\n\r\n";
    assert_eq!(http1::ask(&mut client, late).0, 504);
    let mut leaver = rig.connect();
    leaver.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nx: all\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(leaver);
    rig.until(|rig| rig.stats.services.get("web").is_some_and(|web| web.requests == 62 && web.active == 1));
    let all = rig.fresh_stats();
    assert_eq!(all.services["web"].requests, 62);
    adds_up(&all);
}

#[test]
fn a_connection_that_fails_at_once_is_one_that_failed() {
    for codec in ["bolt", "http1"] {
        let backend = Backend::new(if codec == "bolt" { serve } else { http1::serve });
        let mut rig = Rig::new(codec, &[unreachable(), backend.at], |snapshot| {
            web(snapshot).rules.outlier = Some(Outlier { failures: 1, ..Outlier::default() });
            web(snapshot).rules.balance = crate::l7::snapshot::Balance::RoundRobin;
        });
        let mut client = rig.connect();
        for id in 0..40 {
            if codec == "bolt" {
                client.write_all(&frame(id, "a", b"x")).unwrap();
                assert_eq!(read_response(&mut client), (id, 0, b"x".to_vec()), "request {id}");
            } else {
                assert_eq!(http1::ask(&mut client, http1::GET).0, 200);
            }
        }
        let all = rig.fresh_stats();
        adds_up(&all);
        let stats = &all.services["web"];
        let dead = &stats.endpoints[&unreachable()];
        assert_eq!((dead.connect_failures, dead.failures, dead.ejections), (1, 1, 1), "{codec}: {stats:?}");
        assert_eq!((stats.retries, stats.endpoints[&backend.at].retries), (1, 1), "{codec}");
    }
    // Nobody else is there: it is said as what it is, and not that they are busy.
    let rig = Rig::new("bolt", &[unreachable()], |_| {});
    let mut client = rig.connect();
    client.write_all(&frame(1, "a", b"x")).unwrap();
    assert_eq!(read_response(&mut client).1, crate::wire::bolt::status::CONNECTION_CLOSED);
}
