//! What stays in use when the configuration or the process changes under it.

use super::*;

fn grouped() -> Arc<Query> {
    Arc::new(Query { service: "web".into(), options: [("group".into(), "SOFA".into())].into() })
}

#[test]
fn another_query_keeps_what_is_in_use_until_it_has_answered() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=10));
    bench.guard(|discovery| discovery.sources[0].query = grouped());
    assert_eq!(
        (bench.flowing().len(), bench.leaving(), bench.why()),
        (10, vec![], Some(HoldReason::FirstSync))
    );
    assert_eq!(bench.web().candidates[&addr(1)].sources, [Arc::from("a")]);
    bench.pass(100_000);
    assert_eq!(bench.flowing().len(), 10, "unknown removes nothing");
    // Back again, and on again: what is in use goes with it.
    bench.guard(|discovery| discovery.sources[0].query = query());
    bench.guard(|discovery| discovery.sources[0].query = grouped());
    assert_eq!(bench.flowing().len(), 10);
    bench.tell("a", Report::Event(Event::Reset { query: grouped(), set: hosts([1]) }));
    assert_eq!((bench.flowing().len(), bench.why()), (10, Some(HoldReason::Share)), "then the guards");
    bench.tell("a", Report::Event(Event::Reset { query: grouped(), set: hosts(1..=9) }));
    assert_eq!((bench.flowing().len(), bench.leaving(), bench.hold()), (9, vec![10], None));
}

#[test]
fn a_registry_of_another_name_takes_the_place_of_the_old_one() {
    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.guard(|discovery| discovery.combine = Combine::Fallback);
    bench.reset("a", hosts([1, 2]));
    bench.reset("b", hosts([11, 12]));
    bench.guard(|discovery| discovery.sources[0].registry = "c".into());
    assert_eq!(bench.flowing(), [1, 2], "the first stays the first");
    bench.guard(|discovery| discovery.sources[1].registry = "d".into());
    assert_eq!(
        (bench.flowing(), bench.standing(|standing| *standing == Standing::Standby)),
        (vec![1, 2], vec![11, 12])
    );
    // Two sources that never had them are no witnesses.
    bench.reset("c", hosts([5]));
    bench.reset("d", hosts([6]));
    assert_eq!((bench.flowing(), bench.why()), (vec![1, 2, 5], Some(HoldReason::Share)));
}

#[test]
fn what_stands_by_leaves_with_its_source() {
    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.guard(|discovery| discovery.combine = Combine::Fallback);
    bench.reset("a", hosts([1, 2]));
    bench.reset("b", hosts([11, 12]));
    bench.guard(|discovery| drop(discovery.sources.pop()));
    assert_eq!((bench.flowing(), bench.leaving()), (vec![1, 2], vec![11, 12]));
}

fn checked_first() -> Spec {
    Spec { health: Some(Arc::new(HealthCheck { initial_up: false, ..check() })), ..spec(&["a"]) }
}

#[test]
fn after_a_restart_what_took_flows_is_up_before_the_first_verdict() {
    let mut before = Bench::new(checked_first());
    before.reset("a", hosts(1..=5));
    (1..=4).for_each(|host| before.judge(host, true));
    let mut bench = Bench::with(before.pool.remembered(), checked_first());
    bench.pool.adopt("web", (1..=4).map(addr), bench.now);
    bench.pool.tick(bench.now);
    assert_eq!((bench.flowing(), bench.hold()), (vec![1, 2, 3, 4], None));
    assert_eq!(bench.standing(|standing| *standing == Standing::Unchecked), [5]);
    bench.judge(1, false);
    assert_eq!(bench.flowing(), [2, 3, 4]);

    // What was known dead does not come back for a while, though new backends would be up.
    let hopeful = Spec { health: Some(Arc::new(check())), ..checked_first() };
    let mut bench = Bench::with(before.pool.remembered(), hopeful);
    bench.pool.adopt("web", (1..=4).map(addr), bench.now);
    bench.pool.adopt_drained("web", [addr(5)]);
    bench.pool.tick(bench.now);
    assert_eq!(
        (bench.flowing(), bench.standing(|standing| *standing == Standing::Down)),
        (vec![1, 2, 3, 4], vec![5])
    );
    bench.judge(5, true);
    assert_eq!(bench.flowing().len(), 5);

    // Without discovery as well.
    let fixed = [(addr(1), 100), (addr(2), 100)].into();
    let mut bench = Bench::new(Spec { discovery: None, fixed, ..checked_first() });
    assert!(bench.flowing().is_empty());
    bench.pool.adopt("web", [addr(1)], bench.now);
    bench.pool.tick(bench.now);
    assert_eq!(bench.flowing(), [1]);
}

#[test]
fn checks_that_are_added_ask_only_what_is_new() {
    let mut bench = Bench::new(Spec { fixed: [(addr(9), 100)].into(), ..spec(&["a"]) });
    bench.reset("a", hosts(1..=4));
    bench.change(|spec| spec.health = checked_first().health);
    assert_eq!(bench.flowing(), [1, 2, 3, 4, 9]);
    bench.reset("a", hosts(1..=5));
    assert_eq!(bench.standing(|standing| *standing == Standing::Unchecked), [5]);
    (1..=5).for_each(|host| bench.judge(host, false));
    // What they said is forgotten with them.
    bench.change(|spec| spec.health = None);
    bench.change(|spec| spec.health = checked_first().health);
    assert_eq!(bench.flowing(), [1, 2, 3, 4, 5, 9]);
}

#[test]
fn backends_of_a_service_that_gets_its_first_checks_are_not_new() {
    let with = Spec { discovery: None, fixed: [(addr(1), 100), (addr(2), 100)].into(), ..checked_first() };
    let mut bench = Bench::new(with.clone());
    bench.pool.set_services(
        Setup { unwatched: [("web".into(), [addr(1)].into())].into(), ..Setup::default() },
        bench.now,
    );
    bench.pool.tick(bench.now);
    bench.change(|spec| *spec = with);
    assert_eq!(
        (bench.flowing(), bench.standing(|standing| *standing == Standing::Unchecked)),
        (vec![1], vec![2])
    );
}
