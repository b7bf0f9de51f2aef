//! Routes that make another target: for the endpoint, or for the client.

use std::io::{Read as _, Write as _};

use super::http1::{answer, ask, serve};
use super::mirror::listening;
use super::*;
use crate::l7::snapshot::{
    Action, Location, Matches, Mirror, PathChange, Retry, Rewrite, Route, Scheme, TextMatch, Url, VirtualHost,
};

fn matching(prefix: &str) -> Matches {
    Matches { path: Some(TextMatch::Prefix(prefix.into())), ..Matches::default() }
}

fn to(prefix: &str, host: Option<&str>) -> Rewrite {
    Rewrite { path: Some(PathChange::Prefix(prefix.into())), host: host.map(str::to_owned) }
}

fn routed(snapshot: &mut Snapshot, routes: Vec<Route>) {
    let host = VirtualHost { name: "h".into(), hosts: vec!["*".into()], routes };
    snapshot.routes.services.insert("web".into(), vec![host]);
}

#[test]
fn endpoints_retries_and_copies_get_the_other_target_and_the_log_the_clients() {
    let (busy, refused) =
        listening(|stream| stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy").is_ok());
    let (copies, copied) =
        listening(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok());
    let good = Backend::new(serve);
    let rig = Rig::new("http1", &[busy.at, good.at], |snapshot| {
        web(snapshot).client_address = ClientAddress::XForwardedFor;
        web(snapshot).rules.access_log = 1;
        let other = service("127.9.9.9:1".parse().unwrap(), "http1", &[copies.at]);
        snapshot.services.insert("copies".into(), other);
        let route = Route {
            name: "r".into(),
            matches: matching("/api"),
            rewrite: to("/v2/", Some("in.example")),
            retry: Retry { tries: 5, budget_percent: 100, statuses: vec![503] },
            mirror: Some(Mirror { service: "copies".into(), percent: 100 }),
            ..Route::default()
        };
        routed(snapshot, vec![route]);
    });
    let wanted = "GET /v2/x%20y?q=/api HTTP/1.1\r\nHost: in.example\r\nA: b\r\nX-Forwarded-For: 127.0.0.1\r\n\
                  X-Forwarded-Host: Shop:80\r\n\r\n";
    let mut client = rig.connect();
    for number in 0..20 {
        let absolute = if number % 2 == 0 { "" } else { "http://Shop:80" };
        let text = format!("GET {absolute}/api/x%20y?q=/api HTTP/1.1\r\nA: b\r\nhost: Shop:80\r\n\r\n");
        // In two pieces, at every place in turn.
        let (front, rest) = text.split_at(number * 3 + 1);
        client.write_all(front.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        let (status, _, body) = ask(&mut client, rest);
        assert_eq!((status, String::from_utf8(body).unwrap()), (200, format!("{wanted}|")));
    }
    wait_until("a copy is there", || !copied.lock().unwrap().is_empty());
    for heard in [refused, copied] {
        let heard = heard.lock().unwrap();
        assert!(!heard.is_empty() && heard.iter().all(|(head, _)| head == wanted), "{heard:?}");
    }
    for line in rig.lines(20) {
        assert_eq!((&line["path"], &line["host"]), (&"/api/x%20y".into(), &"Shop:80".into()), "{line:#}");
    }
}

#[test]
fn no_path_of_two_readings_gets_behind_another_prefix() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        let route = Route { matches: matching("/"), rewrite: to("/v2", None), ..Route::default() };
        routed(snapshot, vec![route]);
    });
    let mut client = rig.connect();
    let mut get = |line: &str| {
        let (status, _, body) = ask(&mut client, &format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n"));
        (status, String::from_utf8(body).unwrap())
    };
    for (line, wanted) in [
        ("GET /a?b", "GET /v2/a?b HTTP/1.1\r\nHost: x\r\n"),
        ("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n"),
    ] {
        let (status, body) = get(line);
        assert!(status == 200 && body.starts_with(wanted), "{line}: {status} {body}");
    }
    for path in ["/../admin", "//admin", "/%2e%2e/admin", "/..%2fadmin", "/..\\admin", "/..;/admin"] {
        assert_eq!(get(&format!("GET {path}")).0, 404, "{path}");
    }
}

#[test]
fn a_target_that_becomes_too_long_is_refused() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        let route = Route { matches: matching("/a"), rewrite: to("/aaaaaaaaaa", None), ..Route::default() };
        routed(snapshot, vec![route]);
    });
    let request = |len: usize| {
        let (front, end) = ("GET /a/", " HTTP/1.1\r\nHost: x\r\n\r\n");
        format!("{front}{}{end}", "b".repeat(len - front.len() - end.len()))
    };
    let limit = 16 << 10;
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, &request(limit - 9)).0, 200, "as long as a head may be");
    let (status, head, _) = ask(&mut client, &request(limit - 8));
    assert!(status == 414 && head.contains("Connection: close"), "{head}");
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn clients_are_sent_to_what_they_asked_for_with_other_parts() {
    let backend = Backend::new(serve);
    let mut rig = Rig::new("http1", &[backend.at], |snapshot| {
        let sent = |name: &str, matches, url| {
            let action = Action::Redirect { status: 308, location: Location::Url(url) };
            Route { name: name.into(), matches, action, ..Route::default() }
        };
        let path = Some(PathChange::Prefix("/new".into()));
        let https = Url { scheme: Some(Scheme::Https), ..Url::default() };
        let routes = vec![
            sent("moved", matching("/old"), Url { path, ..Url::default() }),
            sent("secure", Matches::default(), https),
        ];
        routed(snapshot, routes);
    });
    let mut client = rig.connect();
    for (target, wanted) in [
        ("/old/a?b=c", "/new/a?b=c"),
        ("/old", "/new"),
        ("/a/b?c=%20d", "https://shop.example/a/b?c=%20d"),
        ("http://shop.example:8080/a", "https://shop.example/a"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n");
        let (status, head, _) = ask(&mut client, &request);
        assert!(status == 308 && head.contains(&format!("location: {wanted}\r\n")), "{target}: {head}");
    }
    for host in ["evil.example/x", "u@evil.example", "evil\\x", "evil.example:x", "a b", "a\tb", "[::1"] {
        let mut client = rig.connect();
        let request = format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (status, head, _) = ask(&mut client, &request);
        assert!(status == 400 && !head.to_ascii_lowercase().contains("location"), "{host}: {head}");
    }
    let mut old = rig.connect();
    old.write_all(b"GET /a HTTP/1.0\r\n\r\n").unwrap();
    let (status, head, _) = answer(&mut old);
    assert!(status == 400 && !head.to_ascii_lowercase().contains("location"), "no host to keep: {head}");
    let stats = rig.fresh_stats().services["web"].clone();
    assert_eq!(stats.routes["h/secure"].answers.classes, [0, 0, 2, 1, 0]);
    assert_eq!(backend.connections(), 0);
}
