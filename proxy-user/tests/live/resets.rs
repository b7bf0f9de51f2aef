//! A SYN to a live VIP is never answered with a reset, whatever is done to weir meanwhile: a SOFARPC consumer that is
//! refused once by its only address fails every call for up to 10 s. weir's host has the VIPs as addresses, so that a
//! SYN which reaches its stack is answered with one.

use std::fs;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxy_user::lab::http::{Get, HttpServer};
use proxy_user::lab::run_in;

use crate::bed::{Bed, FAMILIES, Family, bed};
use crate::daemon::Daemon;
use crate::sniffer::Sniffer;
use crate::traffic::{PATIENCE, Repeat, pause, wait_for};

#[test]
fn a_syn_to_a_live_vip_is_never_answered_with_a_reset() {
    bed(3, |bed| {
        bed.share_vips();
        // Source ports come again soon, and with them the tuples of flows that are over.
        bed.client.set_sysctl("net/ipv4/ip_local_port_range", "20000 20499").unwrap();
        write_endpoints(bed, &[1, 2]);
        let mut daemon = bed.start(&config(bed, &Shape::default()));
        let mut servers = Vec::new();
        for family in FAMILIES {
            servers.extend(bed.http(family, WEB));
            servers.extend(bed.http_at(|_| family.vip_at(DIRECT)));
            servers.extend([WEB_OR_DIRECT].iter().flat_map(|port| bed.http(family, *port)));
            servers.extend(bed.http_at(|_| family.vip_at(WEB_OR_DIRECT)));
        }
        let mut found: Vec<_> = (1..=2).map(|n| Some(found_server(bed, n))).collect();
        let sniffer = Sniffer::start(bed);
        for family in FAMILIES {
            let bound = run_in(&bed.weir, || UdpSocket::bind(family.vip_at(0))).unwrap();
            assert!(bound.is_ok(), "the host has no VIP");
        }

        // What it looks for is seen when it is there.
        let closed = bed.get(Family::V4.client(), Family::V4.vip_at(CLOSED)).unwrap_err();
        assert!(closed.contains("refused"), "{closed}");
        wait_for("the reset of a closed port", || sniffer.refusals() == 1);
        let before = attempts_failed(bed);

        let clients = Clients::start(bed);
        let check = |what: &str| {
            let more = clients.wait_for_more();
            assert_eq!(clients.refused(), Vec::<String>::new(), "{what}");
            assert_eq!(sniffer.refusals(), 1, "a SYN was answered with a reset: {what}");
            assert_eq!(attempts_failed(bed), before, "a connection was not made: {what}");
            println!("resets: {what}: {more} connections in all");
        };
        check("nothing is done");

        for shape in SHAPES {
            bed.configure(&config(bed, shape));
            daemon.done(&["reload"]);
            check(&format!("reload: {shape:?}"));
        }
        for shape in SHAPES {
            // In a row, without a look between them.
            bed.configure(&config(bed, shape));
            daemon.done(&["reload"]);
        }
        bed.configure(&config(bed, &Shape::default()));
        daemon.done(&["reload"]);
        check("reloads in a row");

        let first = Family::V4.backend_at(1, WEB).to_string();
        let third = Family::V4.backend_at(3, WEB).to_string();
        for command in [
            &["backend", "drain", "web4", &first][..],
            &["backend", "undrain", "web4", &first],
            &["backend", "weight", "web4", &third, "0"],
            &["backend", "weight", "web4", &third, "100"],
        ] {
            daemon.done(command);
            check(&command.join(" "));
        }

        for _ in 0..2 {
            found.push(Some(found_server(bed, 3)));
            write_endpoints(bed, &[1, 2, 3]);
            wait_used(&daemon, 3);
            check("an endpoint joins");
            write_endpoints(bed, &[1, 2]);
            wait_used(&daemon, 2);
            pause(300);
            found.pop();
            check("an endpoint has left, and has closed its port");
        }

        for round in 0..3 {
            let mut old = daemon;
            daemon = bed.places().start_with(&["--replace"]);
            assert!(old.wait_end().success(), "{}", old.log());
            wait_used(&daemon, 2);
            check(&format!("run --replace, {round}"));
        }
        daemon.terminate();
        check("without a daemon");
        daemon = bed.places().start();
        check("stopped and started");
        for round in 0..2 {
            daemon.crash();
            pause(100);
            daemon = bed.places().start();
            wait_used(&daemon, 2);
            check(&format!("kill -9 and start, {round}"));
        }
        // With another configuration than before.
        daemon.crash();
        bed.configure(&config(bed, &SHAPES[0]));
        daemon = bed.places().start();
        check("kill -9, and a start with a changed file");

        // Other tests hold connections to their word; on a machine that has no time these may come too late.
        println!("resets: requests without an answer: {:?}", clients.stop());
        assert!(sniffer.answers() > 1000, "{} connections seen", sniffer.answers());
        drop((daemon, servers, found));
    });
}

/// What a reload changes.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// The services have other names.
    renamed: bool,
    /// The last backend is not named, and the first has another weight.
    fewer: bool,
    /// There are more services on the VIPs.
    more: bool,
    /// Denies so many addresses.
    denied: usize,
    /// The other ports of the VIPs are the host's.
    open: bool,
    /// One of the services is forwarded directly.
    direct: bool,
}

const fn shape() -> Shape {
    Shape { renamed: false, fewer: false, more: false, denied: 0, open: false, direct: false }
}

const SHAPES: &[Shape] = &[
    Shape { fewer: true, ..shape() },
    Shape { more: true, denied: 900, ..shape() },
    Shape { renamed: true, ..shape() },
    Shape { direct: true, denied: 3, ..shape() },
    Shape { open: true, more: true, ..shape() },
    Shape { renamed: true, fewer: true, more: true, denied: 500, open: false, direct: true },
    shape(),
];

fn config(bed: &Bed, shape: &Shape) -> String {
    let mut text = String::from("[registry.local]\nkind = \"file\"\ndir = \"endpoints\"\n");
    let ports = if shape.open { "pass" } else { "drop" };
    let mut service = |name: &str, family: Family, port: u16, forward: &str, backends: &str| {
        let suffix = if shape.renamed { "-new" } else { "" };
        text.push_str(&format!(
            "[[service]]\nname = \"{name}{suffix}\"\nvip = \"tcp/{}\"\nannounce = \"address\"\n\
             unknown_port = \"{ports}\"\nforward = \"{forward}\"\n{backends}\n",
            family.vip_at(port)
        ));
    };
    for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
        let of = |port: u16| {
            let count = if shape.fewer { 2 } else { bed.backends.len() };
            let named = (1..=count).map(|n| {
                let weight = if shape.fewer && n == 1 { 30 } else { 100 };
                format!("{{ address = \"{}\", weight = {weight} }}", family.backend_at(n, port))
            });
            format!("backends = [{}]", named.collect::<Vec<_>>().join(", "))
        };
        service(&format!("web{n}"), family, WEB, "nat", &of(WEB));
        service(&format!("direct{n}"), family, DIRECT, "dsr-l2", &of(DIRECT));
        let forward = if shape.direct { "dsr-l2" } else { "nat" };
        service(&format!("other{n}"), family, WEB_OR_DIRECT, forward, &of(WEB_OR_DIRECT));
        if shape.more {
            service(&format!("more{n}"), family, 9443, "nat", &of(9443));
        }
    }
    let discover = "discover = { registry = \"local\", service = \"found\" }\nguard = { max_removed = 100 }";
    service("found", Family::V4, FOUND, "nat", discover);
    let closed = format!("backends = [\"{}\"]", Family::V4.backend_at(1, CLOSED));
    service("closed", Family::V4, CLOSED, "nat", &closed);
    if shape.denied > 0 {
        let denied = (0..shape.denied).map(|n| format!("\"10.77.{}.{}\"", n / 256, n % 256));
        let denied = denied.collect::<Vec<_>>().join(", ");
        text.push_str(&format!(
            "[[acl.list]]\nname = \"block\"\norder = 10\naction = \"drop\"\nentries = [{denied}]\n"
        ));
    }
    text
}

fn write_endpoints(bed: &Bed, numbers: &[usize]) {
    let dir = bed.dir.join("endpoints");
    fs::create_dir_all(&dir).unwrap();
    let lines = numbers.iter().map(|n| format!("{}\n", Family::V4.backend_at(*n, FOUND)));
    fs::write(dir.join("new"), lines.collect::<String>()).unwrap();
    fs::rename(dir.join("new"), dir.join("found")).unwrap();
}

fn found_server(bed: &Bed, n: usize) -> HttpServer {
    let at = Family::V4.backend_at(n, FOUND);
    HttpServer::start(&bed.backends[n - 1].space, at, &n.to_string(), false).unwrap()
}

fn wait_used(daemon: &Daemon, count: usize) {
    wait_for("the endpoints", || {
        let dump = daemon.json(&["registry", "dump", "found"]);
        dump["candidates"].as_array().unwrap().iter().filter(|one| one["standing"] == "used").count() == count
    });
}

/// Connections of the client's namespace that ended before they were made: the kernel counts what a sniffer may miss.
fn attempts_failed(bed: &Bed) -> u64 {
    let text = run_in(&bed.client, || fs::read_to_string("/proc/thread-self/net/snmp")).unwrap().unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "AttemptFails").unwrap().1.parse().unwrap()
}

/// Connections without end to every service that is to stay.
struct Clients {
    repeats: Vec<Repeat>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    answered: u64,
    refused: Vec<String>,
    /// Connections that were made and not answered.
    broken: Vec<String>,
}

impl Clients {
    fn start(bed: &Bed) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let ports =
            FAMILIES.into_iter().flat_map(|family| [WEB, DIRECT, WEB_OR_DIRECT].map(|port| (family, port)));
        let repeats = ports.chain([(Family::V4, FOUND)]).map(|(family, port)| {
            let get = Get { to: family.vip_at(port), from: Some(family.client()), timeout: PATIENCE };
            let seen = Arc::clone(&seen);
            bed.repeat(move || {
                let answer = get.send();
                let seen = &mut lock(&seen);
                match answer.map_err(|error| error.to_string()) {
                    Ok(_) => seen.answered += 1,
                    Err(error) if error.contains("refused") => seen.refused.push(error),
                    // A connection of one way of forwarding is none of the other's.
                    Err(_) if port == WEB_OR_DIRECT => {}
                    Err(error) => seen.broken.push(error),
                }
                pause(2);
            })
        });
        Self { repeats: repeats.collect(), seen }
    }

    /// Waits until many more are answered; how many are so far.
    fn wait_for_more(&self) -> u64 {
        let before = lock(&self.seen).answered;
        wait_for("answers", || lock(&self.seen).answered > before + 150);
        lock(&self.seen).answered
    }

    fn refused(&self) -> Vec<String> {
        lock(&self.seen).refused.clone()
    }

    /// Ends them; which connections were made and not answered.
    fn stop(self) -> Vec<String> {
        self.repeats.into_iter().for_each(|repeat| assert!(repeat.stop() > 0));
        lock(&self.seen).broken.clone()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

const WEB: u16 = 80;
const DIRECT: u16 = 8080;
/// Forwarded now in one way, now in the other.
const WEB_OR_DIRECT: u16 = 8081;
const FOUND: u16 = 9000;
/// Nobody listens there.
const CLOSED: u16 = 9999;
