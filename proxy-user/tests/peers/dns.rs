//! The dns registry against knot.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_user::registry::dns::{client, settings::Raw};
use proxy_user::registry::source::{Ended, Event, Order, Query, Session, Wanted};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::bed::bed;
use crate::knot::{BROKEN, Knot};

/// A client under way, and what it has said of each name, one after the other.
struct Client {
    runtime: Runtime,
    order: watch::Sender<Order>,
    _wanted: watch::Sender<Arc<Wanted>>,
    events: mpsc::Receiver<Event>,
    task: tokio::task::JoinHandle<Ended>,
    said: BTreeMap<String, Vec<Result<Vec<String>, String>>>,
}

impl Client {
    /// Follows names, each with its options as `key=value`.
    fn of(server: SocketAddr, settings: &str, names: &[(&str, &[&str])]) -> Self {
        let text = format!("servers = ['{server}']\n{settings}");
        let settings = toml::from_str::<Raw>(&text).unwrap().check(Path::new("/")).unwrap();
        let option = |text: &&str| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap();
        let query = |(name, options): &(&str, &[&str])| {
            Arc::new(Query { service: (*name).to_owned(), options: options.iter().map(option).collect() })
        };
        let queries: BTreeSet<Arc<Query>> = names.iter().map(query).collect();
        let (wants, wanted) = watch::channel(Arc::new(Wanted { queries, publications: BTreeSet::new() }));
        let (order, orders) = watch::channel(Order::Run);
        let (tell, events) = mpsc::channel(4);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let task = runtime.spawn(async move {
            let mut session = Session { wanted, order: orders, events: tell };
            client(&settings, None).session(&mut session).await.unwrap()
        });
        Self { runtime, order, _wanted: wants, events, task, said: BTreeMap::new() }
    }

    fn event(&mut self) {
        let next = async { tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await };
        match self.runtime.block_on(next).expect("an event within 30 s").unwrap() {
            Event::Reset { query, set } => {
                let mut all: Vec<String> = set
                    .endpoints
                    .iter()
                    .map(|e| {
                        let weight = e.weight.map_or(String::new(), |weight| format!(" {weight}"));
                        format!("{}{weight}", SocketAddr::new(e.addr.addr, e.addr.port))
                    })
                    .collect();
                all.sort();
                self.note(&query.service, Ok(all));
            }
            Event::Gone { query, why } => self.note(&query.service, Err(why)),
            Event::Connected { peer } => assert!(peer.contains(':')),
            other => panic!("{other:?}"),
        }
    }

    fn note(&mut self, name: &str, said: Result<Vec<String>, String>) {
        let all = self.said.entry(name.to_owned()).or_default();
        if all.last() != Some(&said) {
            all.push(said);
        }
    }

    fn last(&self, name: &str) -> Option<&Result<Vec<String>, String>> {
        self.said.get(name)?.last()
    }

    /// Waits until it says this set of a name, and gives what it said of it before.
    fn until(&mut self, name: &str, set: &[&str]) -> Vec<Result<Vec<String>, String>> {
        while !matches!(self.last(name), Some(Ok(said)) if said == set) {
            self.event();
        }
        let mut before = self.said[name].clone();
        before.pop();
        before
    }

    /// Waits until it says that it does not know, with a reason of this kind. It must not say "empty" before.
    fn until_unknown(&mut self, name: &str, why: &str) {
        loop {
            match self.last(name) {
                Some(Err(said)) if said.contains(why) => return,
                Some(Ok(said)) => assert!(!said.is_empty(), "{name} was said to be empty"),
                _ => {}
            }
            self.event();
        }
    }

    fn resync(&mut self, number: u64) {
        self.order.send_replace(Order::Resync(number));
    }
}

#[test]
fn dns_names_are_followed() {
    bed(1, |bed| {
        let address = Ipv4Addr::new(10, 2, 1, 1);
        let many: String = (1..=60).map(|n| format!("many 1 A 10.9.0.{n}\n")).collect();
        let records = format!(
            "web 1 A 10.0.0.1\nweb 1 AAAA 2001:db8::1\nwww 1 CNAME web\nslow 3600 A 10.0.0.7\nout 1 CNAME web.other.\n\
             _h._tcp 1 SRV 0 30 80 web\n_h._tcp 1 SRV 0 0 81 slow\n_h._tcp 1 SRV 0 5 0 web\n_h._tcp 1 SRV 9 5 80 many\n{many}"
        );
        let zones = [("example", records.as_str()), ("other", "web 1 A 10.0.0.8")];
        let Some(knot) = Knot::start(&bed.backends[0], address, &bed.dir, &zones) else { return };
        let port: &[&str] = &["port=80"];
        let names: &[(&str, &[&str])] = &[
            ("web.example", port),
            ("www.example", &["port=8080", "record=a"]),
            ("out.example.", port),
            ("many.example", port),
            ("slow.example", port),
            ("_h._tcp.example", &["record=srv"]),
        ];
        let mut client = Client::of(knot.endpoint(), "min_ttl = '200ms'", names);
        client.until("web.example", &["10.0.0.1:80", "[2001:db8::1]:80"]);
        client.until("www.example", &["10.0.0.1:8080"]);
        client.until("out.example.", &["10.0.0.8:80"]);
        client.until("slow.example", &["10.0.0.7:80"]);
        // 60 addresses do not fit into a datagram.
        let mut all: Vec<String> = (1..=60).map(|n| format!("10.9.0.{n}:80")).collect();
        all.sort();
        client.until("many.example", &all.iter().map(String::as_str).collect::<Vec<_>>());
        // Only the first priority; weight 0 beside others is little, not none; port 0 is refused.
        let srv = ["10.0.0.1:80 30", "10.0.0.7:81 1", "[2001:db8::1]:80 30"];
        client.until("_h._tcp.example", &srv);

        knot.update("example", &["add web 1 A 10.0.0.2", "del slow A", "add slow 1 A 10.0.0.9"]);
        client.until("web.example", &["10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80"]);
        // Its TTL was an hour (cut to 300 s): only the order asks at once.
        assert_eq!(client.last("slow.example"), Some(&Ok(vec!["10.0.0.7:80".to_owned()])));
        client.resync(1);
        client.until("slow.example", &["10.0.0.9:80"]);
        // From now on it is a second.
        knot.update("example", &["add slow 1 A 10.0.0.10"]);
        client.until("slow.example", &["10.0.0.10:80", "10.0.0.9:80"]);

        client.order.send_replace(Order::HandOver);
        let ended = client.runtime.block_on(&mut client.task).unwrap();
        assert!(matches!(ended, Ended::HandedOver(None)));
    });
}

#[test]
fn dns_that_says_nothing_is_not_dns_that_says_there_is_nothing() {
    bed(1, |bed| {
        let address = Ipv4Addr::new(10, 2, 1, 1);
        let zones = [("example", "web 1 A 10.0.0.1\ngone 1 A 10.0.0.2\ngone 1 TXT x"), ("broken", BROKEN)];
        let Some(mut knot) = Knot::start(&bed.backends[0], address, &bed.dir, &zones) else { return };
        let port: &[&str] = &["port=80"];
        let names: &[(&str, &[&str])] =
            &[("web.example", port), ("gone.example", port), ("web.broken", port), ("web.elsewhere", port)];
        let settings = "min_ttl = '200ms'\nmax_ttl = '1s'\ntimeout = '300ms'\nattempts = 1";
        let mut client = Client::of(knot.endpoint(), settings, names);
        client.until("web.example", &["10.0.0.1:80"]);
        client.until("gone.example", &["10.0.0.2:80"]);
        client.until_unknown("web.broken", "SERVFAIL");
        client.until_unknown("web.elsewhere", "REFUSED");

        // NXDOMAIN and no data: believed the third time.
        knot.update("example", &["del web A", "del gone A"]);
        let begun = Instant::now();
        for (name, why) in [("web.example", "NXDOMAIN"), ("gone.example", "no address")] {
            let before = client.until(name, &[]);
            let unknown = |n: u8| Err(format!("{name}.: {why} ({n} of 3 times)"));
            assert!(before.ends_with(&[unknown(1), unknown(2)]), "{before:?}");
        }
        assert!(begun.elapsed() >= Duration::from_millis(400));

        // A restart brings the zone back as it was.
        knot.restart();
        client.until("web.example", &["10.0.0.1:80"]);
        knot.freeze();
        client.until_unknown("web.example", "no answer within 300ms");
        knot.thaw();
        client.until("web.example", &["10.0.0.1:80"]);
        knot.kill();
        client.until_unknown("web.example", "refused");
        knot.restart();
        client.until("web.example", &["10.0.0.1:80"]);
    });
}
