//! What holds a removal, and what lets it go.

use super::*;

#[test]
fn small_removals_and_additions_of_one_set_take_effect_together_and_the_removed_drain() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=4));
    assert_eq!(bench.flowing(), [1, 2, 3, 4]);
    bench.reset("a", hosts([1, 2, 3, 5]));
    assert_eq!((bench.flowing(), bench.leaving()), (vec![1, 2, 3, 5], vec![4]));
    bench.pass(9);
    assert_eq!(bench.leaving(), [4]);
    bench.pass(1);
    assert!(bench.leaving().is_empty() && bench.pool.next_wake().is_none());
    assert_eq!(bench.web().candidates.len(), 4);
}

#[test]
fn a_large_share_waits_as_a_whole_until_it_has_been_the_word_for_the_hold() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=10));
    bench.reset("a", hosts([1, 2, 3, 11]));
    assert_eq!(bench.flowing().len(), 11, "the addition is not held");
    let hold = bench.hold().unwrap();
    assert_eq!((hold.why, hold.addrs.len()), (HoldReason::Share, 7));
    assert_eq!(hold.until, Some(bench.now.wall + Duration::from_secs(60)));
    bench.pass(59);
    assert_eq!(bench.flowing().len(), 11);
    bench.pass(1);
    assert_eq!((bench.flowing(), bench.hold()), (vec![1, 2, 3, 11], None));
    assert_eq!(bench.leaving().len(), 7);
}

#[test]
fn another_set_altogether_waits_although_it_is_large() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=3));
    bench.reset("a", hosts(11..=100));
    assert_eq!((bench.flowing().len(), bench.why()), (93, Some(HoldReason::Share)));
    bench.pass(60);
    assert_eq!(bench.flowing().len(), 90);
}

#[test]
fn what_comes_back_leaves_the_hold_and_the_rest_may_fit() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=10));
    bench.reset("a", hosts([1, 2, 3]));
    bench.pass(30);
    bench.reset("a", hosts([1, 2, 3, 4, 5]));
    assert_eq!((bench.flowing(), bench.hold()), (vec![1, 2, 3, 4, 5], None), "half may go");
}

#[test]
fn a_break_in_the_word_begins_the_hold_anew() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=10));
    bench.reset("a", hosts([1]));
    bench.pass(50);
    bench.lose("a");
    bench.pass(600);
    assert_eq!(bench.flowing().len(), 10, "unknown carries nothing out");
    assert_eq!(bench.hold().unwrap().until, None);
    bench.reset("a", hosts([1]));
    bench.pass(59);
    assert_eq!(bench.flowing().len(), 10);
    bench.pass(1);
    assert_eq!(bench.flowing(), [1]);

    // A return between two looks is a break as well.
    bench.reset("a", hosts(1..=4));
    bench.reset("a", hosts([1]));
    bench.pass(50);
    let registry: Arc<str> = "a".into();
    for set in [hosts(1..=4), hosts([1])] {
        bench.pool.report(&registry, Report::Event(Event::Reset { query: query(), set }), bench.now);
    }
    bench.pool.tick(bench.now);
    bench.pass(59);
    assert_eq!(bench.flowing().len(), 4);
    bench.pass(1);
    assert_eq!(bench.flowing(), [1]);
}

#[test]
fn many_small_removals_count_together_within_the_interval() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=10));
    for left in (5..10).rev() {
        bench.reset("a", hosts(1..=left));
        bench.pass(1);
    }
    assert_eq!((bench.flowing().len(), bench.hold()), (5, None), "half of the ten of the beginning");
    bench.reset("a", hosts(1..=4));
    assert_eq!((bench.flowing().len(), bench.why()), (5, Some(HoldReason::Share)));
    // The first has fallen out of the window: there is room again, and later than its own hold would be.
    bench.pass(26);
    assert_eq!((bench.flowing().len(), bench.hold()), (4, None));
}

#[test]
fn a_rolling_restart_is_not_held() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=4));
    for restarted in 1..=4_u16 {
        bench.reset("a", hosts((1..=4).filter(|host| *host != restarted)));
        assert_eq!(bench.flowing().len(), 3);
        bench.pass(1);
        bench.reset("a", hosts(1..=4));
        assert_eq!((bench.flowing().len(), bench.hold()), (4, None));
    }
}

#[test]
fn empty_waits_longer_or_for_ever_and_accept_lets_it_go() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=3));
    bench.reset("a", hosts([]));
    assert_eq!((bench.flowing().len(), bench.why()), (3, Some(HoldReason::Minimum)));
    assert_eq!(bench.knowledge(), [Knowledge::Empty]);
    bench.pass(599);
    assert_eq!(bench.flowing().len(), 3);
    bench.pass(1);
    assert!(bench.flowing().is_empty() && bench.hold().is_none());

    bench.guard(|discovery| discovery.guard.hold_min = None);
    bench.reset("a", hosts(1..=3));
    bench.reset("a", hosts([]));
    bench.pass(100_000);
    assert_eq!(bench.hold().unwrap().until, None);
    let accepted = bench.pool.accept("web", bench.now).unwrap();
    assert_eq!(accepted.len(), 3);
    assert!(bench.flowing().is_empty() && bench.hold().is_none());
    assert_eq!(bench.pool.accept("web", bench.now), Err(NotAccepted::NothingHeld("web".into())));
    assert_eq!(bench.pool.accept("nope", bench.now), Err(NotAccepted::UnknownService("nope".into())));
}

#[test]
fn disabling_all_is_a_removal_of_all() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=3));
    bench.reset("a", set((1..=3).map(|host| endpoint(host, Some(0.0))).collect()));
    assert_eq!((bench.flowing().len(), bench.why()), (3, Some(HoldReason::Minimum)));
    assert!(
        bench.web().candidates.values().all(|candidate| candidate.weight == 100),
        "with their old weight"
    );
    bench.pool.accept("web", bench.now).unwrap();
    assert_eq!(bench.standing(|standing| *standing == Standing::Disabled), [1, 2, 3]);
    bench.reset("a", hosts([]));
    assert_eq!((bench.leaving().len(), bench.hold()), (3, None), "what takes no flows may go");
}

#[test]
fn drained_then_deregistered_is_not_held() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts([1, 2]));
    bench.reset("a", set(vec![endpoint(1, None), endpoint(2, Some(0.0))]));
    assert_eq!((bench.flowing(), bench.hold()), (vec![1], None));
    bench.reset("a", hosts([1]));
    assert_eq!((bench.flowing(), bench.leaving()), (vec![1], vec![2]));
    // By the operator: what is left must not be what he drains.
    bench.reset("a", hosts([1, 2]));
    bench.change(|spec| spec.drained = [addr(1)].into());
    bench.reset("a", hosts([1]));
    assert_eq!(bench.why(), Some(HoldReason::Minimum));
    bench.reset("a", hosts([2]));
    assert_eq!((bench.leaving(), bench.hold()), (vec![1], None));
}

#[test]
fn a_start_with_what_was_remembered_removes_nothing_before_every_source_has_answered() {
    let mut before = Bench::new(spec(&["a", "b"]));
    before.reset("a", hosts([1, 2]));
    before.reset("b", hosts([3, 4]));
    before.reset("a", hosts([1]));
    before.reset("b", hosts([]));
    assert_eq!(
        (before.flowing(), before.leaving()),
        (vec![1, 3, 4], vec![2]),
        "1 of 4, then 2 more are held"
    );
    let remembered = before.pool.remembered();

    let mut bench = Bench::with(remembered, spec(&["a", "b"]));
    assert_eq!(
        (bench.flowing(), bench.leaving()),
        (vec![1, 3, 4], vec![2]),
        "with what was held and leaving"
    );
    assert!(matches!(&bench.knowledge()[..], [Knowledge::Unknown { remembered: true, .. }, _]));
    bench.reset("a", hosts([5]));
    assert_eq!((bench.flowing(), bench.why()), (vec![1, 3, 4, 5], Some(HoldReason::FirstSync)));
    bench.pass(59);
    assert!(bench.pool.overdue().is_empty());
    bench.pass(1);
    assert_eq!(bench.pool.overdue()[0].registry.as_ref(), "b");
    assert!(bench.pool.take_changes().iter().any(|change| matches!(change.what, What::Overdue { .. })));
    bench.pass(10_000);
    assert_eq!(bench.flowing().len(), 4);
    bench.reset("b", hosts([3, 4]));
    assert_eq!((bench.flowing(), bench.leaving()), (vec![3, 4, 5], vec![1]));
    assert!(bench.pool.overdue().is_empty());
}

#[test]
fn accept_releases_the_first_sync_and_does_not_wait_for_it_again() {
    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.reset("a", hosts(1..=4));
    bench.reset("a", hosts(1..=3));
    assert_eq!(bench.why(), Some(HoldReason::FirstSync));
    bench.pool.accept("web", bench.now).unwrap();
    assert_eq!((bench.flowing(), bench.leaving()), (vec![1, 2, 3], vec![4]));
    bench.reset("a", hosts(1..=2));
    assert_eq!((bench.flowing(), bench.hold()), (vec![1, 2], None));
}

#[test]
fn backends_that_only_the_maps_know_stay_until_the_sources_have_answered() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.pool.adopt("web", (1..=4).map(addr), bench.now);
    bench.pool.tick(bench.now);
    assert_eq!((bench.flowing().len(), bench.why()), (4, Some(HoldReason::FirstSync)));
    bench.reset("a", hosts([1, 2, 3]));
    assert_eq!((bench.flowing(), bench.leaving()), (vec![1, 2, 3], vec![4]));
}

#[test]
fn a_second_source_that_had_them_confirms_at_once_and_one_that_never_had_them_does_not() {
    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.reset("a", hosts(1..=4));
    bench.reset("b", hosts(1..=4));
    bench.reset("a", hosts([1]));
    assert_eq!((bench.flowing().len(), bench.hold()), (4, None), "b has them");
    bench.reset("b", hosts([1]));
    assert_eq!((bench.flowing(), bench.hold()), (vec![1], None));

    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.reset("a", hosts(1..=4));
    bench.reset("b", hosts([5]));
    bench.reset("a", hosts([]));
    assert_eq!((bench.flowing().len(), bench.why()), (5, Some(HoldReason::Share)));
}

#[test]
fn sets_of_what_can_never_be_a_backend_are_empty_and_confirm_nothing() {
    let mut bench = Bench::new(spec(&["a", "b"]));
    bench.reset("a", hosts(1..=10));
    bench.reset("b", hosts(1..=10));
    let vip = Endpoint { addr: "198.51.100.10:80".parse().unwrap(), ..endpoint(1, None) };
    bench.reset("a", set(vec![vip.clone()]));
    bench.reset("b", set(vec![vip]));
    assert_eq!((bench.flowing().len(), bench.why()), (10, Some(HoldReason::Minimum)));
    assert_eq!(bench.knowledge(), [Knowledge::Empty, Knowledge::Empty]);
}

#[test]
fn what_came_within_the_interval_makes_no_removal_small() {
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=10));
    bench.pass(100);
    bench.reset("a", hosts(1..=30));
    bench.pass(1);
    bench.reset("a", hosts(11..=30));
    assert_eq!((bench.flowing().len(), bench.why()), (30, Some(HoldReason::Share)), "10 of 10, not of 30");
    bench.pass(60);
    assert_eq!((bench.flowing().len(), bench.hold()), (20, None));

    // One by one is no way around it.
    bench.reset("a", hosts(11..=100));
    for first in 12..=30 {
        bench.pass(1);
        bench.reset("a", hosts(first..=100));
    }
    assert_eq!(bench.why(), Some(HoldReason::Share));
    assert_eq!(bench.flowing().iter().filter(|host| **host <= 30).count(), 10, "half of the twenty");
    // What has just come may go as before.
    let mut bench = Bench::new(spec(&["a"]));
    bench.reset("a", hosts(1..=4));
    bench.pass(100);
    bench.reset("a", hosts(1..=5));
    bench.reset("a", hosts(1..=4));
    assert_eq!((bench.flowing().len(), bench.hold()), (4, None));
}
