use std::io::{Read as _, Write as _};

use super::http1::{ask, serve};
use super::*;
use crate::l7::snapshot::{
    Action, Destination, HeaderChange, HeaderMatch, Matches, Route, TextMatch, VirtualHost,
};

fn route(name: &str, matches: Matches, action: Action) -> Route {
    Route { name: name.into(), matches, action, ..Route::default() }
}

fn path(prefix: &str) -> Matches {
    Matches { path: Some(TextMatch::Prefix(prefix.into())), ..Matches::default() }
}

#[test]
fn requests_go_where_their_route_says() {
    let (one, two) = (Backend::new(serve), Backend::new(serve));
    let mut rig = Rig::new("http1", &[one.at], |snapshot| {
        let other = service("127.9.9.9:1".parse().unwrap(), "http1", &[two.at]);
        snapshot.services.insert("other".into(), other);
        let by_header = HeaderMatch { name: "x-lane".into(), value: TextMatch::Exact("b".into()) };
        let to = |weights: [u32; 2]| {
            let pairs = ["web", "other"].into_iter().zip(weights);
            let to = pairs.map(|(name, weight)| Destination { service: name.into(), weight });
            Action::Forward(to.collect())
        };
        let mut edited = route("edited", path("/edited"), Action::default());
        edited.request_headers =
            vec![HeaderChange::Set("x-new".into(), "1".into()), HeaderChange::Remove("x-old".into())];
        edited.response_headers = vec![HeaderChange::Add("x-answer".into(), "2".into())];
        let mut direct = route("direct", path("/hello"), Action::Direct { status: 200, body: "hi".into() });
        direct.response_headers = vec![
            HeaderChange::Set("content-type".into(), "text/html".into()),
            HeaderChange::Add("x-answer".into(), "3".into()),
        ];
        let mut moved =
            route("moved", path("/old"), Action::Redirect { status: 301, location: "/new".into() });
        moved.response_headers =
            vec![HeaderChange::Set("strict-transport-security".into(), "max-age=1".into())];
        let lane = Matches { headers: vec![by_header], ..Matches::default() };
        let host = VirtualHost {
            name: "shop".into(),
            hosts: vec!["shop.example".into()],
            routes: vec![
                route("lane", lane, to([0, 1])),
                route("split", path("/split"), to([3, 1])),
                edited,
                moved,
                direct,
            ],
        };
        snapshot.routes.services.insert("web".into(), vec![host]);
    });
    let mut client = rig.connect();
    let mut get = |path: &str, more: &str| {
        ask(&mut client, &format!("GET {path} HTTP/1.1\r\nHost: shop.example:80\r\n{more}\r\n"))
    };
    assert_eq!(get("/none", "").0, 404);
    let (_, head, body) = get("/hello", "");
    assert!(body == b"hi" && head.contains("content-type: text/html\r\nx-answer: 3\r\n"), "{head}");
    assert!(!head.contains("text/plain"), "{head}");
    let (status, head, _) = get("/old/x", "");
    assert!(status == 301 && head.contains("location: /new"), "{head}");
    assert!(head.contains("strict-transport-security: max-age=1\r\n"), "{head}");
    let (status, head, body) = get("/edited", "X-Old: 1\r\n");
    let body = String::from_utf8(body).unwrap();
    assert!(
        status == 200 && head.contains("x-answer: 2") && body.contains("x-new: 1") && !body.contains("X-Old")
    );
    for _ in 0..40 {
        assert_eq!(get("/split/x", "").0, 200);
    }
    assert_eq!(get("/any", "X-Lane: b\r\n").0, 200);
    assert_eq!(get("/split/../x", "").0, 404, "a path of two meanings matches no prefix");
    let stats = rig.fresh_stats();
    let requests = |service: &str, at: SocketAddr| stats.services[service].endpoints[&at].requests;
    assert_eq!((requests("web", one.at), requests("other", two.at)), (31, 11));
    assert_eq!(stats.services["web"].routes["shop/split"].requests, 40);
}

#[test]
fn nothing_goes_around_a_route() {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        let rules = &mut web(snapshot).rules;
        (rules.detect, rules.fallback) = (vec!["http1".into()], true);
        let denied = Action::Direct { status: 403, body: String::new() };
        let routes =
            vec![route("admin", path("/admin"), denied), route("all", Matches::default(), Action::default())];
        let host = VirtualHost { name: "any".into(), hosts: vec!["*".into()], routes };
        snapshot.routes.services.insert("web".into(), vec![host]);
    });
    for (path, wanted) in [
        ("/admin", 403),
        ("/shop", 200),
        ("/x/../admin", 404),
        ("//admin", 404),
        ("/%61dmin", 404),
        ("/%2561dmin", 404),
        ("/caf%C3%A9", 200),
    ] {
        let (status, ..) = ask(&mut rig.connect(), &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(status, wanted, "{path}");
    }
    // What is no HTTP would be passed on unread.
    let mut client = rig.connect();
    client.write_all(b"get /admin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap_or(0), 0);
}
