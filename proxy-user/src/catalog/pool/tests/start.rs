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
