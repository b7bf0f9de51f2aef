//! What sources say, and how several make one set.

use super::*;
use crate::registry::source::Rejected;

#[test]
fn unknown_removes_nothing_and_is_told_from_empty() {
    let mut bench = Bench::new(spec(&["a"]));
    assert!(matches!(&bench.knowledge()[..], [Knowledge::Unknown { remembered: false, .. }]));
    bench.reset("a", hosts([1, 2]));
    assert_eq!(bench.knowledge(), [Knowledge::Known]);
    bench.lose("a");
    assert_eq!(bench.knowledge(), [Knowledge::Unknown { why: "cut".into(), remembered: false }]);
    bench.tell("a", Report::Event(Event::Connected { peer: "10.0.0.9:9600".into() }));
    bench.tell("a", Report::Event(Event::Gone { query: query(), why: "no data".into() }));
    let remove =
        Event::Remove { query: query(), addrs: vec![addr(1)], version: None, received: Instant::now() };
    bench.tell("a", Report::Event(remove));
    bench.pass(100_000);
    assert_eq!((bench.flowing(), bench.hold()), (vec![1, 2], None));
    bench.tell("a", Report::Event(Event::Add { query: query(), set: hosts([3]) }));
    assert_eq!(bench.flowing(), [1, 2, 3]);
}

#[test]
fn add_and_remove_change_the_set() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts([1, 2, 3]));
    bench.tell("a", Report::Event(Event::Add { query: query(), set: hosts([3, 4]) }));
    let remove = Event::Remove {
        query: query(),
        addrs: vec![addr(1), addr(9)],
        version: Some("7".into()),
        received: Instant::now(),
    };
    bench.tell("a", Report::Event(remove));
    assert_eq!(bench.flowing(), [2, 3, 4]);
    let status = &bench.web().sources[0];
    assert_eq!((status.version.as_deref(), status.endpoints), (Some("7"), 3));
}

#[test]
fn a_set_that_is_too_large_or_nothing_but_refused_entries_is_not_taken_over() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.guard(|discovery| discovery.guard.max_endpoints = 5);
    bench.reset("a", hosts(1..=5));
    bench.reset("a", hosts(1..=6));
    assert_eq!(bench.flowing().len(), 5);
    assert!(
        matches!(&bench.knowledge()[..], [Knowledge::Unknown { why, .. }] if why.contains("max_endpoints = 5"))
    );
    bench.reset("a", hosts(1..=5));
    bench.tell("a", Report::Event(Event::Add { query: query(), set: hosts([7]) }));
    assert_eq!((bench.flowing().len(), bench.knowledge() == [Knowledge::Known]), (5, false));

    let rejected = vec![Rejected { text: "x".into(), why: "no address".into() }];
    bench.reset("a", Set { rejected, rejected_count: 3, ..hosts([]) });
    assert!(
        matches!(&bench.knowledge()[..], [Knowledge::Unknown { why, .. }] if why.contains("all 3 entries"))
    );
    assert_eq!(bench.web().sources[0].rejected, 3);
    assert_eq!(bench.flowing().len(), 5);
}

#[test]
fn what_can_never_be_a_backend_is_refused_with_a_reason_and_lets_no_guard_go() {
    let mut bench = Bench::new(spec(&["a"]));
    let at = |text: &str| Endpoint { addr: text.parse().unwrap(), ..endpoint(1, None) };
    bench.reset(
        "a",
        set(vec![
            endpoint(1, None),
            endpoint(2, Some(f64::NAN)),
            endpoint(3, Some(-1.0)),
            at("127.0.0.1:80"),
            at("198.51.100.10:8080"),
            at("[2001:db8::1]:80"),
        ]),
    );
    assert_eq!(bench.flowing(), [1]);
    let refused: Vec<_> = bench
        .web()
        .candidates
        .values()
        .filter_map(|found| match &found.standing {
            Standing::Refused { why } => Some(why.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 5);
    let status = bench.web().sources[0].clone();
    assert_eq!((status.endpoints, status.rejected, status.examples.len()), (1, 5, 5), "{status:?}");
    assert!(status.examples.iter().any(|one| one.text == "127.0.0.1:80" && one.why.contains("loopback")));
    bench.guard(|discovery| {
        discovery.guard.allow = vec!["127.0.0.0/8".parse().unwrap(), "198.51.100.0/24".parse().unwrap()]
    });
    assert_eq!(bench.standing(|standing| *standing == Standing::Used).len(), 2, "loopback, never the VIP");
    bench.reset("a", set(vec![at("198.51.100.10:80")]));
    assert_eq!(bench.why(), Some(HoldReason::Minimum), "a set of VIPs is as good as empty");
}

#[test]
fn the_first_source_that_answers_describes_an_endpoint() {
    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.reset("b", set(vec![endpoint(1, Some(5.0)), endpoint(2, Some(5.0))]));
    bench.reset("a", set(vec![endpoint(1, Some(7.0))]));
    let found = |bench: &Bench| {
        let one = bench.web().candidates[&addr(1)].clone();
        (one.weight, one.sources.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(found(&bench), (7, vec!["a".into(), "b".into()]));
    bench.lose("a");
    assert_eq!(found(&bench).0, 5, "what is unknown does not overrule what is known");
}

#[test]
fn another_source_stands_by() {
    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.guard(|discovery| discovery.combine = Combine::Fallback);
    bench.reset("b", hosts(11..=15));
    assert_eq!(bench.flowing().len(), 5, "the first has not answered: nobody waits for it");
    bench.reset("a", hosts([1, 2]));
    assert_eq!(
        (bench.flowing(), bench.standing(|standing| *standing == Standing::Standby).len()),
        (vec![1, 2], 5)
    );
    bench.lose("a");
    assert_eq!(bench.flowing(), [1, 2], "unknown is not empty");
    bench.reset("a", hosts([]));
    assert_eq!(
        (bench.flowing(), bench.why()),
        (vec![1, 2], Some(HoldReason::Share)),
        "2 of its own 2, not of 7"
    );
    bench.pass(60);
    assert_eq!(bench.flowing(), [11, 12, 13, 14, 15]);
    bench.reset("a", hosts([3]));
    assert_eq!(bench.flowing(), [3]);
}

#[test]
fn the_own_zone_comes_first() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.guard(|discovery| discovery.combine = Combine::Zone);
    bench.setup.zone = Some("z1".into());
    bench.change(|spec| spec.health = Some(Arc::new(check())));
    let in_zone = |host, zone: &str| Endpoint { zone: Some(zone.into()), ..endpoint(host, None) };
    bench.reset("a", set(vec![in_zone(1, "z1"), in_zone(2, "z2"), endpoint(3, None)]));
    assert_eq!(bench.flowing(), [1]);
    bench.judge(1, false);
    assert_eq!(bench.flowing(), [2, 3]);
    bench.judge(1, true);
    assert_eq!(bench.flowing(), [1]);
}

#[test]
fn what_the_operator_takes_away_goes_through_the_guards() {
    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.reset("a", hosts(1..=4));
    bench.reset("b", hosts([5]));
    bench.guard(|discovery| {
        discovery.sources.remove(0);
    });
    assert_eq!((bench.flowing().len(), bench.why()), (5, Some(HoldReason::Share)));
    assert_eq!(bench.web().candidates[&addr(1)].sources, [Arc::from("b")]);
    bench.pool.accept("web", bench.now).unwrap();
    assert_eq!((bench.flowing(), bench.leaving().len(), bench.hold()), (vec![5], 4, None));
    assert!(bench.pool.wanted("a").queries.is_empty() && bench.pool.wanted("b").queries.len() == 1);
    assert_eq!(bench.pool.remembered().len(), 1);
    bench.pool.set_services(Setup::default(), bench.now);
    bench.pool.tick(bench.now);
    assert!(bench.pool.snapshot().services.is_empty() && bench.pool.remembered().is_empty());
}

#[test]
fn what_has_not_changed_is_shared_and_what_was_read_is_measured_once() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts([1]));
    let before = bench.pool.snapshot();
    assert!(before.received.is_some());
    bench.reset("a", hosts([1]));
    bench.pass(5);
    assert!(Arc::ptr_eq(&before.services["web"], &bench.pool.snapshot().services["web"]));
    bench.reset("a", set(vec![endpoint(1, Some(3.0))]));
    assert_eq!(bench.web().candidates[&addr(1)].weight, 3);
    let texts: Vec<_> = bench.pool.take_changes().iter().map(|change| change.what.to_string()).collect();
    assert!(texts.contains(&"1 backend found: 10.0.0.1:80".to_owned()), "{texts:?}");
    assert!(texts.contains(&"registry a, \"web\": 1 endpoint known".to_owned()), "{texts:?}");
}

#[test]
fn an_address_that_becomes_the_hosts_own_is_no_backend_until_it_is_gone() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts([1, 2]));
    for (own, flowing) in [(vec![addr(2).addr], vec![1]), (vec![], vec![1, 2])] {
        bench.pool.set_own(own.into_iter().collect());
        bench.pass(0);
        assert_eq!(bench.flowing(), flowing);
    }
}

#[test]
fn the_cap_of_a_service_is_its_own_and_counts_at_once() {
    let mut bench = Bench::new(spec(&["a"]));
    let mut small = spec(&["a"]);
    let discovery = (**small.discovery.as_ref().unwrap()).clone();
    let guard = Guard { max_endpoints: 4, ..Guard::default() };
    small.discovery = Some(Arc::new(Discovery { guard, ..discovery }));
    bench.setup.services.insert("small".into(), small);
    bench.change(|_| {});
    bench.reset("a", hosts(1..=5));
    let small = bench.pool.snapshot().services["small"].clone();
    assert!(small.candidates.is_empty());
    assert!(
        matches!(&small.sources[0].state, Knowledge::Unknown { why, .. } if why.contains("max_endpoints = 4"))
    );
    assert_eq!((bench.flowing().len(), bench.knowledge()), (5, vec![Knowledge::Known]));

    bench.guard(|discovery| discovery.guard.max_endpoints = 3);
    assert!(
        matches!(&bench.knowledge()[..], [Knowledge::Unknown { why, .. }] if why.contains("max_endpoints = 3"))
    );
    bench.reset("a", hosts([1, 2, 3, 6]));
    bench.pass(100_000);
    assert_eq!(bench.flowing(), [1, 2, 3, 4, 5], "not taken over, and nothing removed");
    bench.reset("a", hosts(1..=3));
    assert_eq!((bench.flowing(), bench.knowledge()), (vec![1, 2, 3], vec![Knowledge::Known]));
}

#[test]
fn a_change_on_top_of_a_refused_set_asks_for_a_whole_one() {
    let mut bench = Bench::new(spec(&["a"]));
    let asked = |bench: &mut Bench| !bench.pool.take_resyncs().is_empty();
    let garbage = || {
        let rejected = vec![Rejected { text: "x".into(), why: "no address".into() }];
        Set { rejected, rejected_count: 1, ..hosts([]) }
    };
    let add = |host| Report::Event(Event::Add { query: query(), set: hosts([host]) });
    bench.tell("a", add(9));
    bench.reset("a", garbage());
    assert!(!asked(&mut bench), "a refused set by itself would only come again");
    bench.tell("a", add(1));
    assert!(asked(&mut bench) && !asked(&mut bench));
    bench.reset("a", garbage());
    bench.tell("a", add(2));
    assert!(!asked(&mut bench), "not that often");
    bench.pass(10);
    assert!(asked(&mut bench));
    bench.reset("a", hosts([1, 2]));
    bench.tell("a", add(3));
    bench.pass(100);
    assert!(!asked(&mut bench) && bench.knowledge() == [Knowledge::Known]);

    // Above the cap, and below it again.
    bench.guard(|discovery| discovery.guard.max_endpoints = 3);
    bench.tell("a", add(4));
    assert!(!asked(&mut bench));
    let remove =
        Event::Remove { query: query(), addrs: vec![addr(4)], version: None, received: Instant::now() };
    bench.tell("a", Report::Event(remove));
    assert!(asked(&mut bench));
    bench.reset("a", hosts(1..=5));
    bench.pass(100);
    assert!(!asked(&mut bench));
    bench.guard(|discovery| discovery.guard.max_endpoints = 5);
    assert!(asked(&mut bench), "a larger cap");
    // A new session brings a whole set by itself.
    bench.reset("a", hosts(1..=6));
    bench.lose("a");
    bench.tell("a", add(1));
    bench.pass(100);
    assert!(!asked(&mut bench));
}
