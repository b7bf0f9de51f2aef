//! What a full update costs. Printed, never asserted: `cargo test --release -p proxy-user --lib cost -- --nocapture`.

use super::*;

fn full_update(services: u16, each: u16) {
    let mut spec = spec(&["a"]);
    let mut setup = Setup::default();
    for number in 0..services {
        let mut discovery = (**spec.discovery.as_ref().unwrap()).clone();
        discovery.sources[0].query =
            Arc::new(Query { service: format!("service-{number}"), options: BTreeMap::new() });
        spec.discovery = Some(Arc::new(discovery));
        setup.services.insert(format!("service-{number}"), spec.clone());
    }
    let now = Now::clock();
    let mut pool = Pool::new(Remembered::new());
    pool.set_services(setup, now);
    pool.tick(now);
    let queries: Vec<_> = pool.wanted("a").queries.into_iter().collect();
    let registry: Arc<str> = "a".into();
    for round in 0..3 {
        let sets: Vec<_> =
            queries.iter().map(|query| (query.clone(), hosts(1 + round..=each + round))).collect();
        let begun = Instant::now();
        for (query, set) in sets {
            pool.report(&registry, Report::Event(Event::Reset { query, set }), now);
        }
        pool.tick(now);
        let took = begun.elapsed();
        let remembered = pool.remembered().len();
        let all = begun.elapsed();
        println!(
            "{services} x {each}, round {round}: {took:?}, with what is remembered ({remembered}) {all:?}"
        );
    }
    let flowing: usize = pool.snapshot().services.values().map(|pooled| pooled.candidates.len()).sum();
    assert!(flowing >= usize::from(services) * usize::from(each));
}

#[test]
fn full_updates() {
    full_update(500, 20);
    full_update(1, 1_000);
    full_update(1, 10_000);
}
