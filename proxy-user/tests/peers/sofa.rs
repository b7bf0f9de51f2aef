//! weir's client of SOFARegistry against the real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_user::lab::Namespace;
use proxy_user::model::BackendAddr;
use proxy_user::registry::list::{Settings, kind};
use proxy_user::registry::source::{
    Ended, Event, Order, Parcel, Publication, Query, Session, SessionError, Set, Wanted,
};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::bed::bed;
use crate::http::post_json;
use crate::registry::{SofaRegistry, Version};
use crate::rpc::{Consumer, GROUP, Provider, Through, data_id};
use crate::wait::wait_until;

/// A client that runs, session after session.
struct Running<'a> {
    runtime: &'a Runtime,
    wanted: watch::Sender<Arc<Wanted>>,
    order: watch::Sender<Order>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<Option<Parcel>>,
}

fn settings(registry: &SofaRegistry) -> Settings {
    let table = format!("endpoints = [\"{}\"]", registry.endpoint());
    (kind("sofa").unwrap().check)(toml::from_str(&table).unwrap(), "/".as_ref()).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn start<'a>(
    runtime: &'a Runtime,
    settings: &Settings,
    parcel: Option<Parcel>,
    wanted: Wanted,
) -> Running<'a> {
    let mut client = settings.client(parcel);
    let (wanted, wanted_end) = watch::channel(Arc::new(wanted));
    let (order, order_end) = watch::channel(Order::Run);
    let (sender, events) = mpsc::channel(4);
    let mut session = Session { wanted: wanted_end, order: order_end, events: sender };
    let task = runtime.spawn(async move {
        loop {
            match client.session(&mut session).await {
                Ok(Ended::HandedOver(parcel)) => return parcel,
                Ok(Ended::Unwanted) => return None,
                Err(SessionError::Refused { why, .. }) => panic!("refused: {why}"),
                Err(error) => {
                    eprintln!("session: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    });
    Running { runtime, wanted, order, events, task }
}

impl Running<'_> {
    fn next(&mut self, limit: Duration) -> Option<Event> {
        self.runtime.block_on(async { tokio::time::timeout(limit, self.events.recv()).await.ok().flatten() })
    }

    /// The first event that is what is looked for; what comes before must be allowed.
    fn wait<T>(&mut self, what: &str, mut find: impl FnMut(&Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(event) = self.next(Duration::from_millis(200)) {
                eprintln!("event: {event:?}");
                if let Some(found) = find(&event) {
                    return found;
                }
            }
        }
        panic!("not within {PATIENCE:?}: {what}");
    }

    fn set_of(&mut self, query: &Arc<Query>, want: &[&str]) -> Set {
        self.wait(&format!("{} is {want:?}", query.service), |event| match event {
            Event::Reset { query: of, set } if of == query => {
                let mut have: Vec<_> = set
                    .endpoints
                    .iter()
                    .map(|e| SocketAddr::new(e.addr.addr, e.addr.port).to_string())
                    .collect();
                have.sort();
                (have == want).then(|| set.clone())
            }
            _ => None,
        })
    }

    fn gone(&mut self, query: &Arc<Query>) -> String {
        self.wait("nothing is known", |event| match event {
            Event::Gone { query: of, why } if of == query => Some(why.clone()),
            _ => None,
        })
    }

    fn published(&mut self, publication: &Arc<Publication>) {
        self.wait("published", |event| match event {
            Event::Published { publication: of, result } if of == publication => Some(result.clone()),
            _ => None,
        })
        .unwrap();
    }

    fn withdrawn(&mut self, publication: &Arc<Publication>) {
        self.wait("withdrawn", |event| {
            matches!(event, Event::Withdrawn { publication: of } if of == publication).then_some(())
        });
    }

    fn hand_over(self) -> Parcel {
        self.order.send(Order::HandOver).unwrap();
        self.runtime.block_on(self.task).unwrap().expect("a connection to hand over")
    }
}

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn query(service: &str, pairs: &[(&str, &str)]) -> Arc<Query> {
    Arc::new(Query { service: service.to_owned(), options: options(pairs) })
}

fn publication(service: &str, address: &str, pairs: &[(&str, &str)]) -> Arc<Publication> {
    let address: SocketAddr = address.parse().unwrap();
    let address = BackendAddr { addr: address.ip(), port: address.port() };
    Arc::new(Publication { service: service.to_owned(), options: options(pairs), address })
}

fn wanted(queries: &[&Arc<Query>], publications: &[&Arc<Publication>]) -> Wanted {
    let (queries, publications): (BTreeSet<_>, BTreeSet<_>) = (
        queries.iter().map(|q| Arc::clone(q)).collect(),
        publications.iter().map(|p| Arc::clone(p)).collect(),
    );
    Wanted { queries, publications }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// What every server has to do, whichever way it is spoken to.
fn follows_and_publishes(registry: &SofaRegistry, name: &str) {
    let runtime = runtime();
    let settings = settings(registry);
    let (all, zone) = (query(name, &[]), query(name, &[("scope", "zone")]));
    let elsewhere = query(name, &[("group", "OTHER")]);
    let mut reader = start(&runtime, &settings, None, wanted(&[&all, &zone, &elsewhere], &[]));
    // In no certain order.
    let mut unknown = BTreeSet::new();
    reader.wait("three unknown", |event| {
        if let Event::Gone { query, why } = event {
            assert!(why.contains("version 1") || why.contains("empty"), "{why}");
            unknown.insert(Arc::clone(query));
        }
        assert!(!matches!(event, Event::Reset { .. }), "{event:?}");
        (unknown.len() == 3).then_some(())
    });

    let first = publication(name, "10.9.9.1:12200", &[("weight", "30")]);
    let second = publication(name, "10.9.9.2:12200", &[("format", "plain")]);
    let mut writer = start(&runtime, &settings, None, wanted(&[], &[&first]));
    writer.published(&first);
    let set = reader.set_of(&all, &["10.9.9.1:12200"]);
    let endpoint = &set.endpoints[0];
    assert_eq!((endpoint.weight, endpoint.zone.as_deref()), (Some(30.0), Some("DEFAULT_ZONE")));
    assert_eq!(&*endpoint.labels["application"], "weir");
    assert!(set.version.is_some() && set.rejected_count == 0, "{set:?}");

    writer.wanted.send(Arc::new(wanted(&[], &[&first, &second]))).unwrap();
    writer.published(&second);
    reader.set_of(&all, &["10.9.9.1:12200", "10.9.9.2:12200"]);

    // Asked again, everything comes again.
    reader.order.send(Order::Resync(1)).unwrap();
    reader.set_of(&zone, &["10.9.9.1:12200", "10.9.9.2:12200"]);

    // Another weight is another registration; the old one ends after it.
    let heavier = publication(name, "10.9.9.1:12200", &[("weight", "70")]);
    writer.wanted.send(Arc::new(wanted(&[], &[&heavier, &second]))).unwrap();
    writer.withdrawn(&first);
    let weight = |event: &Event| match event {
        Event::Reset { query, set } if *query != elsewhere => {
            assert_eq!(set.endpoints.len(), 2, "no gap");
            set.endpoints.iter().any(|e| e.weight == Some(70.0)).then_some(())
        }
        _ => None,
    };
    reader.wait("the new weight", weight);

    // Nobody is told of what nobody wants to know; a new name is followed at once.
    let other = query(&format!("{name}.other"), &[]);
    reader.wanted.send(Arc::new(wanted(&[&all, &other], &[]))).unwrap();
    reader.gone(&other);
    writer.wanted.send(Arc::default()).unwrap();
    writer.withdrawn(&second);
    reader.wait("known empty", |event| match event {
        Event::Reset { query, set } if *query == all => set.endpoints.is_empty().then_some(()),
        Event::Reset { query, .. } => panic!("{query:?} is not followed any more"),
        _ => None,
    });
}

#[test]
fn a_version_6_server_is_followed_and_published_to() {
    bed(1, |bed| {
        let Some(registry) = SofaRegistry::shared() else { return };
        let _link = bed.link(registry.space(), registry.address());
        follows_and_publishes(registry, "weir.v6");
    });
}

#[test]
fn a_version_5_server_is_spoken_to_in_hessian() {
    bed(1, |bed| {
        let space = Namespace::new("registry").unwrap();
        let address = Ipv4Addr::new(10, 99, 1, 5);
        let Some(registry) = SofaRegistry::start(Version::V5, &space, address, &bed.dir) else { return };
        let _link = bed.link(&space, address);
        follows_and_publishes(&registry, "weir.v5");
    });
}

#[test]
fn compressed_pushes_are_read() {
    bed(1, |bed| {
        let Some(registry) = SofaRegistry::shared() else { return };
        let _link = bed.link(registry.space(), registry.address());
        let (runtime, settings) = (runtime(), settings(registry));
        for forbidden in ["gzip", "zstd"] {
            let body = json!({ "enabled": true, "compressMinSize": 1, "forbidEncodes": [forbidden] });
            let meta = SocketAddr::new(registry.address().into(), 9615);
            let answer =
                post_json(registry.space(), meta, "/compress/push/switch", &body.to_string()).unwrap();
            assert_eq!(answer.0, 200, "{}", answer.1);
            std::thread::sleep(Duration::from_secs(3));
            let name = format!("weir.not-{forbidden}");
            let many: Vec<_> =
                (1..=200).map(|n| publication(&name, &format!("10.9.8.{n}:80"), &[])).collect();
            let mut writer = start(&runtime, &settings, None, wanted(&[], &many.iter().collect::<Vec<_>>()));
            for _ in &many {
                writer.wait("published", |event| match event {
                    Event::Published { result, .. } => result.is_ok().then_some(()),
                    _ => None,
                });
            }
            for scope in ["global", "dataCenter", "zone"] {
                let query = query(&name, &[("scope", scope)]);
                let mut reader = start(&runtime, &settings, None, wanted(&[&query], &[]));
                reader.wait("all of them", |event| match event {
                    Event::Reset { set, .. } => (set.endpoints.len() == 200).then_some(()),
                    Event::Gone { why, .. } => panic!("{why}"),
                    _ => None,
                });
            }
        }
        registry.compress(None);
    });
}

#[test]
fn a_connection_and_its_registrations_outlive_a_silent_minute() {
    bed(1, |bed| {
        let Some(registry) = SofaRegistry::shared() else { return };
        let _link = bed.link(registry.space(), registry.address());
        let (runtime, settings) = (runtime(), settings(registry));
        let (name, vip) = ("weir.minute", publication("weir.minute", "10.9.7.1:80", &[]));
        let query = query(name, &[]);
        let mut client = start(&runtime, &settings, None, wanted(&[&query], &[&vip]));
        client.set_of(&query, &["10.9.7.1:80"]);
        while let Some(event) = client.next(Duration::from_secs(60)) {
            assert!(!matches!(event, Event::Gone { .. } | Event::Connected { .. }), "{event:?}");
        }
        assert!(registry.published(name, "DEFAULT_GROUP").iter().any(|text| text.contains("10.9.7.1:80")));
    });
}

#[test]
fn a_registry_that_comes_back_empty_takes_nothing_away() {
    bed(1, |bed| {
        let space = Namespace::new("registry").unwrap();
        let address = Ipv4Addr::new(10, 99, 1, 6);
        let Some(mut registry) = SofaRegistry::start(Version::V6, &space, address, &bed.dir) else { return };
        let _link = bed.link(&space, address);
        let (runtime, settings) = (runtime(), settings(&registry));
        let (mine, theirs) = (query("weir.mine", &[]), query("weir.theirs", &[]));
        let (vip, other) =
            (publication("weir.mine", "10.9.6.1:80", &[]), publication("weir.theirs", "10.9.6.2:80", &[]));
        let theirs_only = start(&runtime, &settings, None, wanted(&[], &[&other]));
        let mut client = start(&runtime, &settings, None, wanted(&[&mine, &theirs], &[&vip]));
        let mut known = BTreeSet::new();
        client.wait("both", |event| {
            if let Event::Reset { query, set } = event {
                assert_eq!(set.endpoints.len(), 1);
                known.insert(Arc::clone(query));
            }
            (known.len() == 2).then_some(())
        });
        drop(theirs_only.wanted);
        drop(theirs_only.order);
        registry.restart_empty();
        let why = client.wait("unknown after the restart", |event| match event {
            Event::Gone { query, why } if *query == theirs => Some(why.clone()),
            Event::Reset { query, .. } => {
                assert_eq!(*query, mine, "{event:?}");
                None
            }
            _ => None,
        });
        assert!(why.contains("version 1"), "{why}");
        wait_until("the VIP is back", PATIENCE, || {
            registry.published("weir.mine", "DEFAULT_GROUP").iter().any(|text| text.contains("10.9.6.1:80"))
        });
    });
}

#[test]
fn a_handed_over_connection_keeps_its_registration() {
    bed(1, |bed| {
        let Some(registry) = SofaRegistry::shared() else { return };
        let _link = bed.link(registry.space(), registry.address());
        let (runtime, settings) = (runtime(), settings(registry));
        let (name, vip) = ("weir.handover", publication("weir.handover", "10.9.5.1:80", &[]));
        let (query, gone) = (query(name, &[]), publication("weir.handover.gone", "10.9.5.2:80", &[]));
        let mut watcher = start(&runtime, &settings, None, wanted(&[&query], &[]));
        let mut old = start(&runtime, &settings, None, wanted(&[&query], &[&vip, &gone]));
        old.published(&vip);
        watcher.set_of(&query, &["10.9.5.1:80"]);
        old.set_of(&query, &["10.9.5.1:80"]);
        let mut running = old;
        for _ in 0..5 {
            let parcel = running.hand_over();
            std::thread::sleep(Duration::from_millis(700));
            running = start(&runtime, &settings, Some(parcel), wanted(&[&query], &[&vip]));
            let mut peers = Vec::new();
            running.wait("the set again", |event| {
                match event {
                    Event::Connected { peer } => peers.push(peer.clone()),
                    Event::Published { publication, result } => {
                        assert!(*publication == vip && result.is_ok())
                    }
                    _ => {}
                }
                matches!(event, Event::Reset { set, .. } if set.endpoints.len() == 1).then_some(())
            });
            assert_eq!(peers.len(), 1);
        }
        assert!(
            !registry
                .published("weir.handover.gone", "DEFAULT_GROUP")
                .iter()
                .any(|text| text.contains("10.9.5.2")),
            "withdrawn"
        );
        if let Some(event) = watcher.next(Duration::from_secs(3)) {
            panic!("the registration has changed: {event:?}");
        }
        drop(running);
    });
}

#[test]
fn a_sofarpc_consumer_calls_the_vip_that_weir_has_published() {
    bed(2, |bed| {
        let Some(registry) = SofaRegistry::shared() else { return };
        let _link = bed.link(registry.space(), registry.address());
        let (runtime, settings) = (runtime(), settings(registry));
        let at = bed.backend_at(1, 12200);
        let Some(_provider) = Provider::start("p1", &bed.backends[0], &bed.dir, at, "vip", None, &[]) else {
            return;
        };
        let vip = publication(&data_id("vip"), &at.to_string(), &[("group", GROUP)]);
        let mut client = start(&runtime, &settings, None, wanted(&[], &[&vip]));
        client.published(&vip);
        let through = Through::Registry(registry.endpoint());
        let mut consumer =
            Consumer::start("consumer", &bed.client, &bed.dir, through, "vip", 20, &[]).unwrap();
        consumer.wait_for("calls", |second| second.ok > 10 && second.failed == 0);
    });
}
