//! Reports of drivers that come late, and of drivers that are to stop.

use super::*;
use crate::catalog::snapshot::Knowledge;
use crate::config::Settings;
use crate::model::{
    Announce, BackendAddr, Combine, Discovery as Discover, Forward, Protocol, Service, SourceRef,
    UnknownPort, Vip,
};
use crate::registry::list;
use crate::registry::source::{Endpoint, Query, Set};

fn open(dir: &Path) -> Discovery {
    Discovery::open(dir, BTreeSet::new(), Parcels::new(), Metrics::shared())
}

fn settings(dir: &Path, name: &str) -> Settings {
    let registry = (list::kind("file").unwrap().check)(toml::Table::new(), dir).unwrap();
    Settings { registries: [(name.to_owned(), registry)].into(), ..Settings::default() }
}

fn query(dir: &Path) -> Arc<Query> {
    let service = dir.join("none.json").display().to_string();
    Arc::new(Query { service, options: BTreeMap::new() })
}

fn desired(dir: &Path) -> Desired {
    let source = SourceRef { registry: "a".into(), query: query(dir), zone: None };
    let discovery = Discover {
        sources: vec![source],
        combine: Combine::default(),
        guard: Default::default(),
        drain: Duration::from_secs(1),
    };
    let service = Service {
        vip: Vip { protocol: Protocol::Tcp, addr: [192, 0, 2, 10].into(), port: 80 },
        forward: Forward::Nat,
        announce: Announce::None,
        unknown_port: UnknownPort::Drop,
        syn_budget: 1_000,
        origin: Origin::File,
        backends: BTreeMap::new(),
        discovery: Some(Arc::new(discovery)),
        health: None,
        l7: None,
        publish: Vec::new(),
    };
    let mut desired = crate::config::Part::default().into_desired((1_024, 2_047), 0);
    desired.services.insert("web".into(), service);
    desired
}

fn reset(dir: &Path) -> Report {
    let endpoint = Endpoint {
        addr: BackendAddr { addr: [10, 0, 0, 1].into(), port: 80 },
        weight: None,
        enabled: true,
        zone: None,
        labels: BTreeMap::new(),
    };
    let set = Set {
        endpoints: vec![endpoint],
        rejected: Vec::new(),
        rejected_count: 0,
        version: None,
        received: std::time::Instant::now(),
    };
    Report::Event(Event::Reset { query: query(dir), set })
}

fn knowledge(discovery: &mut Discovery) -> Knowledge {
    discovery.tick();
    discovery.snapshot().services["web"].sources[0].state.clone()
}

#[tokio::test]
async fn what_a_replaced_driver_still_says_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut discovery = open(dir.path());
    discovery.configure(&settings(dir.path(), "a")).await;
    discovery.adopt(&desired(dir.path()), &ApiState::default());
    let old = discovery.registries["a"].name.clone();
    discovery.take(Heard::Report(old.clone(), reset(dir.path())));
    assert_eq!(knowledge(&mut discovery), Knowledge::Known);
    discovery.begin_anew(&settings(dir.path(), "a"), Parcels::new()).await;
    assert!(matches!(knowledge(&mut discovery), Knowledge::Unknown { .. }));
    discovery.take(Heard::Report(old, reset(dir.path())));
    assert!(matches!(knowledge(&mut discovery), Knowledge::Unknown { .. }), "no session holds it");
    let new = discovery.registries["a"].name.clone();
    discovery.take(Heard::Report(new, reset(dir.path())));
    assert_eq!(knowledge(&mut discovery), Knowledge::Known);
}

#[tokio::test]
async fn a_hand_over_takes_in_what_the_registries_say_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut discovery = open(dir.path());
    discovery.configure(&settings(dir.path(), "a")).await;
    discovery.adopt(&desired(dir.path()), &ApiState::default());
    // More than the channel holds, and a driver that has still more to say before it can stop.
    let (name, to) = (discovery.registries["a"].name.clone(), discovery.report_to.clone());
    let report = reset(dir.path());
    let talking = tokio::spawn(async move {
        for _ in 0..3 * QUEUE {
            to.send((name.clone(), report.clone())).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    discovery.want(&desired(dir.path()), &ApiState::default(), &BTreeMap::new());
    let stopped = tokio::time::timeout(Duration::from_secs(10), discovery.hand_over()).await;
    assert!(stopped.unwrap().is_empty());
    talking.abort();
}
