//! What the configuration says of the L7 path, in force: routes, access, the client's address, Bolt; and its change
//! under load.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proxy_user::lab::bolt::{Answered, BoltClient, BoltServer};
use proxy_user::lab::run_in;

use crate::bed::{Bed, FAMILIES, Family, bed};
use crate::l7_bed::{DENY, Leftovers, alive, workers_in};
use crate::l7_peers::Echo;
use crate::traffic::{PATIENCE, wait_for};

const V4: Family = Family::V4;

/// A service of the L7 path with one backend.
fn service(name: &str, family: Family, port: u16, backend: usize, more: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nvip = \"tcp/{}\"\nforward = \"l7\"\nbackends = [\"{}\"]\n{more}\n",
        family.vip_at(port),
        family.backend_at(backend, 80)
    )
}

/// Two services with a backend each, and routes of the first.
fn shop(routes: &str) -> String {
    service("shop", V4, 80, 1, "codec = \"http1\"")
        + routes
        + &service("next", V4, 81, 2, "codec = \"http1\"")
}

#[test]
fn requests_go_where_routes_say() {
    bed(2, |bed| {
        let _leftovers = Leftovers(bed.places());
        let routes = r#"
[[service.route]]
name = "testers"
headers = { x-version = "next" }
to = "next"
[[service.route]]
path = { prefix = "/half" }
to = [{ service = "shop", weight = 3 }, { service = "next", weight = 1 }]
response_headers = { set = { x-by = "weir" } }
[[service.route]]
path = "/old"
redirect = { status = 301, location = "https://example.com/new" }
[[service.route]]
path = "/copied"
mirror = { to = "next" }
[[service.route]]
path = { prefix = "/" }
methods = ["GET"]
[[service.host]]
hosts = ["*.ping.example"]
[[service.host.route]]
answer = { status = 418, body = "pong" }
"#;
        let daemon = bed.start(&shop(routes));
        daemon.wait_workers();
        let http = bed.http(V4, 80);
        let mut client = bed.asker(V4.client(), V4.vip_at(80));
        assert_eq!(client.number("/", ""), 1);
        assert_eq!(client.number("/", "X-Version: next\r\n"), 2);
        assert_eq!(client.number("/", "X-Version: nexT\r\n"), 1);
        // One connection is one worker's, and each worker's shares are exact.
        let mut half = [0; 2];
        for _ in 0..40 {
            half[client.number("/half/way", "") - 1] += 1;
        }
        assert_eq!(half, [30, 10]);
        let answer = client.ask("/half", "vip", "");
        assert!(answer.head.to_ascii_lowercase().contains("\r\nx-by: weir"), "{answer:?}");
        let before = http[1].requests();
        assert!((0..20).all(|_| client.number("/copied", "") == 1));
        wait_for("copies", || http[1].requests() > before);
        let moved = client.ask("/old", "vip", "");
        assert_eq!(moved.status, 301);
        assert!(moved.head.to_ascii_lowercase().contains("location: https://example.com/new"), "{moved:?}");
        let mut client = bed.asker(V4.client(), V4.vip_at(80));
        let pong = client.ask("/", "A.Ping.example:80", "");
        assert_eq!((pong.status, pong.body.as_str()), (418, "pong"));
        // The destination is a service of its own, too.
        assert_eq!(bed.asker(V4.client(), V4.vip_at(81)).number("/", ""), 2);
    });
}

#[test]
fn routes_change_under_load_without_a_lost_request() {
    bed(2, |bed| {
        let _leftovers = Leftovers(bed.places());
        let to = |name: &str| shop(&format!("[[service.route]]\nto = \"{name}\"\n"));
        let daemon = bed.start(&to("shop"));
        daemon.wait_workers();
        let _http = bed.http(V4, 80);
        let answered: Arc<[AtomicU64; 2]> = Arc::default();
        let loads: Vec<_> = (0..4)
            .map(|_| {
                let (counts, mut talk) = (Arc::clone(&answered), bed.asker(V4.client(), V4.vip_at(80)));
                let cell = std::sync::Mutex::new(move || {
                    counts[talk.number("/", "") - 1].fetch_add(1, Ordering::Relaxed);
                });
                bed.repeat(move || cell.lock().unwrap()())
            })
            .collect();
        let count = |of: usize| answered[of].load(Ordering::Relaxed);
        for name in ["next", "shop", "next"] {
            bed.configure(&to(name));
            assert_eq!(daemon.json(&["reload"])["changed"], true);
            let (of, before) = (usize::from(name == "next"), [count(0), count(1)]);
            wait_for("requests by the new route", || count(of) > before[of] + 100);
            assert!(count(1 - of) <= before[1 - of] + 4, "the old route is no longer taken");
        }
        // What is refused changes nothing.
        bed.configure(&to("nowhere"));
        let refused = daemon.weir(&["reload"]);
        assert_eq!(refused.exit, 1, "{refused:?}");
        assert!(refused.err.contains("there is no service `nowhere`"), "{refused:?}");
        let before = count(1);
        wait_for("requests by the route in force", || count(1) > before + 100);
        // A request that failed or a connection that ended would have ended its load with a panic.
        assert!(loads.into_iter().all(|load| load.stop() > 0));
    });
}

#[test]
fn backends_learn_the_clients_address() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let mut config = String::new();
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            let with = |form: &str, codec: &str| {
                let trusted = family.denied();
                format!(
                    "codec = \"{codec}\"\n[service.l7]\nclient_address = \"{form}\"\ntrusted = [\"{trusted}\"]\n"
                )
            };
            config += &service(&format!("list-{n}"), family, 80, 1, &with("x-forwarded-for", "http1"));
            config += &service(&format!("forwarded-{n}"), family, 81, 1, &with("forwarded", "http1"));
            config += &service(&format!("proxy-{n}"), family, 82, 1, &with("proxy-v2", "tcp"));
            config += &service(&format!("silent-{n}"), family, 83, 1, "codec = \"http1\"");
        }
        let daemon = bed.start(&config);
        daemon.wait_workers();
        for family in FAMILIES {
            let _echo = Echo::start(&bed.backends[0].space, family.backend_at(1, 80));
            let (client, trusted) = (family.client(), family.denied());
            let seen = |from: IpAddr, port: u16| {
                let mut asker = bed.asker(from, family.vip_at(port));
                asker.ask("/", "vip", "X-Forwarded-For: 192.0.2.7\r\n").body.to_ascii_lowercase()
            };
            let body = seen(client, 80);
            assert!(body.contains(&format!("\r\nx-forwarded-for: {client}\r\n")), "{body}");
            let body = seen(trusted, 80);
            assert!(body.contains(&format!("\r\nx-forwarded-for: 192.0.2.7, {trusted}\r\n")), "{body}");
            let said = match family {
                Family::V4 => format!("for={client}"),
                Family::V6 => format!("for=\"[{client}]\""),
            };
            let body = seen(client, 81);
            assert!(body.contains(&format!("\r\nforwarded: {said}\r\n")), "{body}");
            assert!(!body.contains("192.0.2.7"), "what a stranger says is thrown away: {body}");
            let body = seen(client, 82);
            let port = body.split_whitespace().nth(1).unwrap().rsplit_once(':').unwrap().1.to_owned();
            let from = std::net::SocketAddr::new(client, port.parse().unwrap());
            assert!(body.starts_with(&format!("proxy {from} {}\r\nget / ", family.vip_at(82))), "{body}");
            assert!(!seen(client, 83).contains(&client.to_string()));
        }
    });
}

#[test]
fn access_is_decided_by_what_trusted_hops_say() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let access = r#"codec = "http1"
[service.l7]
trusted = ["10.1.0.1"]
[service.l7.access]
header = "x-forwarded-for"
rules = [{ action = "allow", sources = ["192.0.2.1"] }, { action = "deny", sources = ["192.0.2.0/24"] }]
lists = ["block"]
"#;
        let list = DENY.replace("\"10.1.0.66\", ", "");
        let daemon = bed.start(&(list + &service("web", V4, 80, 1, access)));
        daemon.wait_workers();
        let _http = bed.http(V4, 80);
        let status = |from: IpAddr, lines: &str| bed.asker(from, V4.vip_at(80)).ask("/", "vip", lines).status;
        let said = |address: &str| status(V4.client(), &format!("X-Forwarded-For: {address}\r\n"));
        for (address, expected) in [
            ("198.51.100.1", 200),
            ("192.0.2.1", 200),
            ("192.0.2.2", 403),
            ("192.0.2.2, 198.51.100.1", 200),
            ("198.51.100.1, 192.0.2.2", 403),
            ("10.2.1.254", 403),
            ("fd02:1::fe", 403),
            ("unknown", 403),
        ] {
            assert_eq!(said(address), expected, "{address}");
        }
        assert_eq!(status(V4.client(), ""), 403, "a trusted hop must say who asks");
        let stranger = status(V4.denied(), "X-Forwarded-For: 192.0.2.2\r\n");
        assert_eq!(stranger, 200, "a stranger is who its address says");
        // Lists are the ACL's own: what is added counts here at once.
        assert_eq!(said("203.0.113.5"), 200);
        daemon.done(&["acl", "add", "203.0.113.0/24", "--list", "block"]);
        wait_for("the new entry at L7", || said("203.0.113.5") == 403);
        daemon.done(&["acl", "del", "203.0.113.0/24", "--list", "block"]);
        wait_for("its end", || said("203.0.113.5") == 200);
    });
}

#[test]
fn bolt_requests_share_connections_and_are_routed_and_denied() {
    bed(2, |bed| {
        let _leftovers = Leftovers(bed.places());
        let daemon = bed.start(&rpc(bed));
        let workers = daemon.wait_workers().len() as u64;
        let servers: Vec<_> = (1..=2)
            .map(|n| {
                let space = &bed.backends[n - 1].space;
                BoltServer::start(space, V4.backend_at(n, 12200), &n.to_string()).unwrap()
            })
            .collect();
        let ask = |service: &str, from: IpAddr, count: u32| -> Vec<Answered> {
            let call = || BoltClient::connect(V4.vip_at(12200), Some(from), PATIENCE)?.call(service, count);
            run_in(&bed.client, call).unwrap().unwrap()
        };
        for _ in 0..20 {
            let answers = ask("com.example.Greeter:1.0", V4.client(), 32);
            assert!(answers.iter().all(|answer| answer.status == 0 && answer.content.ends_with(" 10.1.0.1")));
        }
        let [one, two] = [&servers[0], &servers[1]].map(BoltServer::requests);
        assert!(one + two == 640 && one > 100 && two > 100, "{one} {two}");
        assert!(servers.iter().all(|server| server.connections() <= workers));
        let answers = ask("com.example.Report:1.0", V4.client(), 10);
        assert!(answers.iter().all(|answer| answer.content.starts_with("2 ")), "{answers:?}");
        let denied = ask("com.example.Greeter:1.0", V4.denied(), 3);
        assert!(denied.iter().all(|answer| answer.status == 2), "SERVER_EXCEPTION: {denied:?}");
    });
}

/// A Bolt service over both backends, one of whose RPC services is the second backend's alone.
fn rpc(_: &Bed) -> String {
    let backends = |list: &[usize]| {
        let all: Vec<_> = list.iter().map(|n| format!("\"{}\"", V4.backend_at(*n, 12200))).collect();
        all.join(", ")
    };
    let head = |name: &str, port: u16, list: &[usize]| {
        format!(
            "[[service]]\nname = \"{name}\"\nvip = \"tcp/{}\"\nforward = \"l7\"\ncodec = \"bolt\"\nbackends = [{}]\n",
            V4.vip_at(port),
            backends(list)
        )
    };
    let settings = r#"[service.l7]
client_address = "header"
client_header = "x-client-address"
access = { rules = [{ action = "deny", sources = ["10.1.0.66"] }] }
[[service.route]]
service = { prefix = "com.example.Report" }
to = "reports"
[[service.route]]
service = { prefix = "com." }
"#;
    head("rpc", 12200, &[1, 2]) + settings + &head("reports", 12201, &[2])
}

#[test]
fn as_many_workers_as_are_configured() {
    bed(1, |bed| {
        let _leftovers = Leftovers(bed.places());
        let web = service("web", V4, 80, 1, "codec = [\"bolt\", \"http1\", \"tcp\"]");
        let daemon = bed.start(&format!("[l7]\nworkers = 1\n{web}"));
        let _http = bed.http(V4, 80);
        wait_for("the worker", || !daemon.workers().is_empty());
        assert_eq!(bed.asker(V4.client(), V4.vip_at(80)).number("/", ""), 1, "detected");
        bed.gets(V4.client(), V4.vip_at(80), 10);
        assert_eq!(alive(&workers_in(&daemon.log())).len(), 1);
        bed.configure(&format!("[l7]\nworkers = 2\n{web}"));
        let answer = daemon.json(&["reload"]);
        assert!(answer["warnings"].to_string().contains("restart_needed"), "{answer:#}");
    });
}
