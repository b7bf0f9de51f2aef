//! Discovery without a data path.

use super::*;
use crate::control::fake;
use crate::model::{BackendAddr, Combine, Discovery as Sources, Guard, SourceRef};
use crate::registry::source::{Endpoint, Query, Set};

#[tokio::test]
async fn another_zone_counts_when_it_is_adopted_and_is_shown_once_it_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut discovery = Discovery::open(dir.path(), BTreeSet::new(), Parcels::new(), Metrics::shared());
    let query = Arc::new(Query { service: "web".into(), options: BTreeMap::new() });
    let mut desired = fake::base();
    desired.services.get_mut("web").unwrap().discovery = Some(Arc::new(Sources {
        sources: vec![SourceRef { registry: "prod".into(), query: query.clone(), zone: None }],
        combine: Combine::Zone,
        guard: Guard::default(),
        drain: Duration::ZERO,
    }));
    let at = |text: &str| text.parse::<BackendAddr>().unwrap();
    let endpoint = |text: &str, zone: &str| Endpoint {
        addr: at(text),
        weight: None,
        enabled: true,
        zone: Some(zone.into()),
        labels: BTreeMap::new(),
    };
    let set = Set {
        endpoints: vec![endpoint("10.0.1.1:80", "a"), endpoint("10.0.1.2:80", "b")],
        rejected: Vec::new(),
        rejected_count: 0,
        version: None,
        received: std::time::Instant::now(),
    };
    let api = ApiState::default();
    let other =
        |snapshot: &Snapshot| snapshot.services["web"].candidates[&at("10.0.1.2:80")].standing.clone();

    discovery.adopt(&desired, &api);
    discovery.pool.report(&"prod".into(), Report::Event(Event::Reset { query, set }), Now::clock());
    let snapshot = discovery.tick().unwrap();
    assert_eq!(other(&snapshot), Standing::Used);
    assert_eq!(discovery.set_zone(Some("a".into())), None);
    let adopted = discovery.adopt(&desired, &api);
    assert_eq!(other(&adopted), Standing::Standby);
    assert_eq!(other(&discovery.snapshot()), Standing::Used, "not in force yet");
    assert!(discovery.show().is_some_and(|shown| Arc::ptr_eq(&shown, &adopted)));
    assert!(Arc::ptr_eq(&discovery.snapshot(), &adopted) && discovery.show().is_none());
}
