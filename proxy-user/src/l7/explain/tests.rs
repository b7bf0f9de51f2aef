use super::*;
use crate::control::types::{L7Header, L7Request};
use crate::l7::snapshot::{
    AccessRule, ClientAddress, Endpoint, EndpointState, HeaderMatch, Limits, Matches, Routes, Rules,
    TextMatch, Timeouts,
};
use crate::l7::stats::{EndpointStats, ServiceStats};

fn endpoint(addr: &str, weight: u16, state: EndpointState) -> Endpoint {
    Endpoint { addr: addr.parse().unwrap(), weight, zone: None, labels: Default::default(), state }
}

fn service(vip: &str, codec: &str, endpoints: &[Endpoint]) -> Service {
    Service {
        vip: vip.parse().unwrap(),
        codec: codec.into(),
        endpoints: endpoints.to_vec(),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        client_address: ClientAddress::None,
        rules: Rules::default(),
    }
}

fn route(name: &str, matches: Matches, action: Action) -> Route {
    Route { name: name.into(), matches, action, ..Route::default() }
}

fn to(name: &str, weight: u32) -> Destination {
    Destination { service: name.into(), weight }
}

fn path(text: TextMatch) -> Matches {
    Matches { path: Some(text), ..Matches::default() }
}

/// Services `web` and `next` speak HTTP, `calls` Bolt; `web` has virtual hosts.
fn snapshot() -> Snapshot {
    use EndpointState::{Active, Down, Draining};
    let web = service(
        "198.51.100.10:80",
        "http1",
        &[
            endpoint("10.0.0.1:8080", 100, Active),
            endpoint("10.0.0.2:8080", 100, Draining),
            endpoint("10.0.0.3:8080", 100, Down),
            endpoint("10.0.0.4:8080", 0, Active),
        ],
    );
    let next = service("198.51.100.11:80", "http1", &[endpoint("10.0.1.1:8080", 100, Down)]);
    let side = service("198.51.100.11:8081", "http1", &[]);
    let calls = service("198.51.100.12:12200", "bolt", &[endpoint("10.0.2.1:12200", 100, Active)]);
    let lane = HeaderMatch { name: "x-lane".into(), value: TextMatch::Exact("b".into()) };
    let shop = VirtualHost {
        name: "shop".into(),
        hosts: vec!["shop.example".into()],
        routes: vec![
            route(
                "lane",
                Matches { headers: vec![lane], ..Matches::default() },
                Action::Forward(vec![to("next", 1)]),
            ),
            route(
                "split",
                path(TextMatch::Prefix("/split".into())),
                Action::Forward(vec![to("web", 3), to("next", 1)]),
            ),
            route(
                "old",
                path(TextMatch::Exact("/old".into())),
                Action::Redirect { status: 301, location: "/new".into() },
            ),
            route(
                "hello",
                path(TextMatch::Exact("/hello".into())),
                Action::Direct { status: 200, body: "hi".into() },
            ),
            route(
                "inside",
                Matches {
                    sources: vec!["10.0.0.0/8".parse().unwrap()],
                    ..path(TextMatch::Prefix("/in".into()))
                },
                Action::default(),
            ),
        ],
    };
    let say = Matches {
        service: Some(TextMatch::Prefix("com.x.".into())),
        methods: vec!["say".into()],
        ..Matches::default()
    };
    let rpc = VirtualHost {
        name: "rpc".into(),
        hosts: vec!["*".into()],
        routes: vec![route("say", say, Action::default())],
    };
    Snapshot {
        generation: 9,
        services: [
            ("web".into(), web),
            ("next".into(), next),
            ("side".into(), side),
            ("calls".into(), calls),
        ]
        .into(),
        routes: Routes { services: [("web".into(), vec![shop]), ("calls".into(), vec![rpc])].into() },
        ..Snapshot::default()
    }
}

fn http(url: &str) -> L7Query {
    let request = L7Request::Http { method: "GET".into(), url: url.into() };
    L7Query { request, headers: Vec::new(), source: None, service: None }
}

fn bolt(service: &str, method: &str) -> L7Query {
    let request = L7Request::Bolt { service: service.into(), method: method.into() };
    L7Query { request, headers: Vec::new(), source: None, service: None }
}

fn ask(query: &L7Query) -> L7Answer {
    explain(&snapshot(), &Stats::default(), 2, query).unwrap()
}

fn ways(answer: &L7Answer) -> Vec<(&str, bool)> {
    answer.routes.iter().map(|route| (route.name.as_str(), route.taken)).collect()
}

#[test]
fn the_route_taken_stands_behind_those_that_were_not() {
    let answer = ask(&http("http://shop.example:80/split/x?q=1"));
    assert_eq!((answer.outcome.as_str(), answer.generation), ("forward", 9));
    assert_eq!(answer.service.why, "it alone has a virtual host for shop.example");
    assert_eq!(answer.virtual_host.as_ref().unwrap().host, "shop.example");
    assert_eq!(ways(&answer), [("shop/lane", false), ("shop/split", true)]);
    assert_eq!(answer.routes[0].why, "the header x-lane is not there, wanted `b`");
    let shares: Vec<_> =
        answer.destinations.iter().map(|to| (to.service.as_str(), to.weight, to.weight_sum)).collect();
    assert_eq!(shares, [("web", 3, 4), ("next", 1, 4)]);
    assert!(answer.text.contains("its share for next gets 503"), "{}", answer.text);
    let takes: Vec<_> =
        answer.destinations[0].endpoints.iter().map(|one| (one.takes, one.why.as_deref())).collect();
    assert_eq!(takes[0], (true, None));
    assert!(takes[1].1.unwrap().contains("drained") && takes[2].1.unwrap().starts_with("down"));
    assert_eq!(takes[3], (false, Some("weight 0")));
}

#[test]
fn every_action_and_every_way_to_none() {
    let of = |url: &str| (ask(&http(url)).outcome, ask(&http(url)).text);
    assert_eq!(of("http://shop.example/old").0, "redirect");
    assert_eq!(of("http://shop.example/hello").0, "direct");
    assert_eq!(of("http://shop.example/none").0, "no_route");
    let other = L7Query { service: Some("web".into()), ..http("http://other.example/") };
    assert_eq!(ask(&other).text, "weir answers 404 itself: no virtual host has the host.");
}

#[test]
fn headers_and_sources_decide() {
    let mut query = http("http://shop.example/in");
    assert_eq!(ask(&query).outcome, "no_route");
    let why = ask(&query).routes.last().unwrap().why.clone();
    assert_eq!(why, "the source 0.0.0.0 is not in 10.0.0.0/8");
    query.source = Some("::ffff:10.9.9.9".parse().unwrap());
    assert_eq!(ask(&query).outcome, "forward");
    query.headers.push(L7Header { name: "X-Lane".into(), value: "b".into() });
    let answer = ask(&query);
    assert_eq!(answer.outcome, "no_upstream");
    assert!(answer.text.contains("503") && answer.text.contains("next has no backend"), "{}", answer.text);
}

#[test]
fn a_path_of_two_meanings_is_told() {
    let answer = ask(&http("http://shop.example/split/../x"));
    assert_eq!(answer.outcome, "no_route");
    assert!(answer.text.contains("two ways"), "{}", answer.text);
}

#[test]
fn bolt_goes_by_service_and_method() {
    let answer = ask(&bolt("com.x.Y:1.0", "say"));
    assert_eq!((answer.outcome.as_str(), answer.service.codec.as_str()), ("forward", "bolt"));
    assert_eq!(answer.service.why, "it alone speaks bolt");
    assert_eq!(ways(&answer), [("rpc/say", true)]);
    let answer = ask(&bolt("com.x.Y:1.0", "shout"));
    assert_eq!(answer.routes[0].why, "the method is `shout`, wanted say");
    assert_eq!(ask(&bolt("org.y", "say")).outcome, "no_route");
}

#[test]
fn the_service_is_found_or_asked_for() {
    let query = |service: &str| L7Query { service: Some(service.into()), ..http("http://x/") };
    let fails = |query: &L7Query| explain(&snapshot(), &Stats::default(), 2, query).unwrap_err();
    assert_eq!(ask(&http("http://198.51.100.11/")).service.why, "it has 198.51.100.11:80");
    assert_eq!(ask(&query("next")).service.name, "next");
    assert_eq!(ask(&http("http://x:8081/")).service.why, "it alone speaks http1 at port 8081");
    assert_eq!(
        fails(&http("http://198.51.100.9/")),
        L7ExplainError::NobodyAt("198.51.100.9:80".parse().unwrap())
    );
    assert!(matches!(fails(&query("calls")), L7ExplainError::OtherCodec { .. }));
    assert!(matches!(fails(&query("none")), L7ExplainError::UnknownService(_)));
    assert!(matches!(fails(&http("http://x/")), L7ExplainError::Several { .. }));
    for url in ["https://x/", "x", "http:///", "http://a b/"] {
        assert!(matches!(fails(&http(url)), L7ExplainError::Url(_)), "{url}");
    }
    let mut smuggled = query("next");
    smuggled.headers.push(L7Header { name: "a".into(), value: "b\r\nc: d".into() });
    assert!(matches!(fails(&smuggled), L7ExplainError::Control(_)));
}

#[test]
fn what_the_codec_refuses_is_told_as_the_codec_says_it() {
    let mut query = L7Query { service: Some("next".into()), ..http("http://x/") };
    query.headers.push(L7Header { name: "Transfer-Encoding".into(), value: "gzip".into() });
    let answer = ask(&query);
    assert_eq!(answer.outcome, "bad_request");
    assert!(answer.text.starts_with("weir answers"), "{}", answer.text);
}

#[test]
fn access_is_by_the_client_that_a_trusted_peer_names() {
    let mut snapshot = snapshot();
    let rules = &mut snapshot.services.get_mut("next").unwrap().rules;
    rules.trusted = vec!["10.0.0.0/8".parse().unwrap()];
    let deny = |net: &str| AccessRule { deny: true, sources: vec![net.parse().unwrap()] };
    rules.access = Some(Access {
        header: Some("x-forwarded-for".into()),
        hops: 1,
        rules: vec![deny("192.0.2.0/24"), deny("192.0.0.0/22"), deny("198.51.100.0/24")],
        lists: vec!["block".into(), "more".into()],
        default_deny: false,
    });
    let ask = |source: &str, client: Option<&str>| {
        let mut query = L7Query { service: Some("next".into()), ..http("http://x/") };
        query.source = Some(source.parse().unwrap());
        let header = |value: &str| L7Header { name: "X-Forwarded-For".into(), value: value.into() };
        query.headers.extend(client.map(header));
        let answer = explain(&snapshot, &Stats::default(), 2, &query).unwrap();
        (answer.outcome, answer.access.unwrap())
    };
    assert_eq!(ask("10.0.0.1", Some("192.0.2.7")), ("denied".into(), "denied: rule 1 has 192.0.2.7".into()));
    assert_eq!(ask("10.0.0.1", Some("192.0.3.7")).1, "denied: list block has 192.0.3.7");
    assert_eq!(ask("10.0.0.1", Some("198.51.100.7")).1, "denied: list more has 198.51.100.7");
    assert_eq!(ask("10.0.0.1", Some("192.0.4.7")).1, "allowed: no rule has 192.0.4.7, the default decides");
    assert!(ask("10.0.0.1", None).1.starts_with("denied: header x-forwarded-for"));
    assert_eq!(
        ask("172.16.0.1", Some("192.0.2.7")).1,
        "allowed: no rule has 172.16.0.1, the default decides"
    );
}

#[test]
fn endpoints_that_workers_leave_out_are_told() {
    let mut snapshot = snapshot();
    let service = snapshot.services.get_mut("next").unwrap();
    service.endpoints =
        [1, 2, 3].map(|n| endpoint(&format!("10.0.1.{n}:80"), 1, EndpointState::Active)).to_vec();
    let stats = |ejected: [u64; 3]| {
        let endpoints = (1..).zip(ejected).map(|(n, ejected)| {
            let addr = format!("10.0.1.{n}:80").parse().unwrap();
            (addr, EndpointStats { ejected, ..EndpointStats::default() })
        });
        let next = ServiceStats { endpoints: endpoints.collect(), ..ServiceStats::default() };
        Stats { services: [("next".into(), next)].into(), ..Stats::default() }
    };
    let query = L7Query { service: Some("next".into()), ..http("http://x/") };
    let takes = |snapshot: &Snapshot, ejected| {
        let answer = explain(snapshot, &stats(ejected), 2, &query).unwrap();
        answer.destinations[0].endpoints.iter().map(|one| (one.takes, one.why.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(takes(&snapshot, [0, 1, 2]), [(true, false), (true, true), (false, true)]);
    snapshot.services.get_mut("next").unwrap().rules.panic_percent = 90;
    assert_eq!(takes(&snapshot, [0, 1, 2])[2], (true, true), "so many fail that all are used");
}

#[test]
fn routes_are_shown_as_they_are_ordered() {
    let shown = routes(&snapshot(), Some("web"));
    let [web] = shown.as_slice() else { panic!("{shown:?}") };
    assert_eq!((web.endpoints_active, web.endpoints), (1, 4));
    let names: Vec<_> = web.virtual_hosts[0].routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["lane", "split", "old", "hello", "inside"]);
    let inside = &web.virtual_hosts[0].routes[4];
    assert_eq!(inside.matches, ["path begins with `/in`", "source in 10.0.0.0/8"]);
    assert_eq!(inside.does.action, "forward to the service itself");
    assert_eq!(routes(&snapshot(), None).len(), 4);
}

#[test]
fn bolt_is_answered_in_its_own_words() {
    let answer = ask(&bolt("org.y", "say"));
    assert_eq!(
        answer.text,
        "weir answers status 6 NO_PROCESSOR itself: no route of the virtual host matches."
    );
    let mut snapshot = snapshot();
    let rules = &mut snapshot.services.get_mut("calls").unwrap().rules;
    rules.access = Some(Access { default_deny: true, ..Access::default() });
    let answer = explain(&snapshot, &Stats::default(), 2, &bolt("com.x.Y:1.0", "say")).unwrap();
    assert!(answer.text.starts_with("weir answers status 2 SERVER_EXCEPTION itself"), "{}", answer.text);
}

#[test]
fn the_bound_of_bodies_and_the_codecs_status_hold() {
    let mut snapshot = snapshot();
    snapshot.services.get_mut("next").unwrap().limits.body_bytes = Some(100);
    let ask = |name: &str, value: &str| {
        let mut query = L7Query { service: Some("next".into()), ..http("http://x/") };
        query.headers.push(L7Header { name: name.into(), value: value.into() });
        explain(&snapshot, &Stats::default(), 2, &query).unwrap()
    };
    assert_eq!(ask("content-length", "100").outcome, "no_upstream");
    let large = ask("content-length", "101");
    assert_eq!(large.outcome, "too_large");
    assert_eq!(large.text, "weir answers 413 itself: a body that passes the limit.");
    assert!(ask("expect", "x").text.contains("417"));
}

#[test]
fn detection_is_run_and_told() {
    let mut snapshot = snapshot();
    let ask = |snapshot: &Snapshot, method: &str| {
        let request = L7Request::Http { method: method.into(), url: "http://x/".into() };
        let query = L7Query { request, headers: Vec::new(), source: None, service: Some("calls".into()) };
        explain(snapshot, &Stats::default(), 2, &query).unwrap()
    };
    snapshot.routes.services.clear();
    let calls = snapshot.services.get_mut("calls").unwrap();
    calls.rules.detect = vec!["bolt".into(), "http1".into()];
    let answer = ask(&snapshot, "GET");
    assert_eq!(answer.outcome, "forward");
    let detected = answer.service.detected.unwrap();
    assert_eq!(detected, "http1 by its first bytes, looked for in this order: bolt, http1");
    let answer = ask(&snapshot, "get");
    assert_eq!(answer.outcome, "bad_request");
    assert!(answer.text.starts_with("weir closes the connection without an answer"), "{}", answer.text);
    snapshot.services.get_mut("calls").unwrap().rules.fallback = true;
    let answer = ask(&snapshot, "get");
    assert_eq!((answer.outcome.as_str(), answer.destinations.len()), ("forward", 1));
    assert!(answer.service.detected.unwrap().ends_with("it is passed on unread, as tcp"));
}
