//! Health on top of what registries say.

use super::*;

fn checked(change: impl FnOnce(&mut HealthCheck)) -> Bench {
    let mut check = check();
    change(&mut check);
    let mut bench = Bench::new(Spec { health: Some(Arc::new(check)), ..spec(&["a"]) });
    bench.reset("a", hosts(1..=4));
    bench
}

#[test]
fn down_takes_no_flows_until_too_few_are_up() {
    let mut bench = checked(|_| {});
    assert_eq!(bench.flowing().len(), 4, "up before the first verdict");
    bench.judge(1, false);
    bench.judge(2, false);
    assert_eq!((bench.flowing(), bench.web().panic), (vec![3, 4], false));
    bench.judge(3, false);
    assert_eq!((bench.flowing().len(), bench.web().panic), (4, true), "1 of 4 is less than half");
    bench.judge(1, true);
    assert_eq!((bench.flowing(), bench.web().panic), (vec![1, 4], false));
    assert!(!bench.web().candidates[&addr(2)].health.as_ref().unwrap().up);
}

#[test]
fn without_a_threshold_all_down_is_down() {
    let mut bench = checked(|check| check.panic_below = 0);
    (1..=4).for_each(|host| bench.judge(host, false));
    assert!(bench.flowing().is_empty() && !bench.web().panic);
}

#[test]
fn what_has_to_be_checked_first_waits_and_makes_no_panic() {
    let mut bench = checked(|check| check.initial_up = false);
    assert_eq!(bench.standing(|standing| *standing == Standing::Unchecked).len(), 4);
    assert!(!bench.web().panic);
    bench.judge(1, true);
    assert_eq!(bench.flowing(), [1]);
}

#[test]
fn held_and_leaving_endpoints_and_fixed_backends_have_health_too() {
    let mut bench = checked(|check| check.panic_below = 0);
    bench.change(|spec| spec.fixed = [(addr(1), 7), (addr(9), 5)].into());
    bench.reset("a", hosts([]));
    assert_eq!(bench.why(), Some(HoldReason::Minimum));
    bench.judge(2, false);
    bench.judge(9, false);
    assert_eq!(bench.flowing(), [1, 3, 4]);
    let web = bench.web();
    let found = |host| &web.candidates[&addr(host)];
    assert_eq!(
        (found(1).weight, &found(1).standing),
        (7, &Standing::Used),
        "the configuration's, whoever drops it"
    );
    assert_eq!((found(2).standing.clone(), found(9).standing.clone()), (Standing::Down, Standing::Down));
    assert!(found(9).sources.is_empty());
}

#[test]
fn an_unhealthy_first_source_falls_back() {
    let mut bench = Bench::new(Spec { health: Some(Arc::new(check())), ..spec(&["a", "b"]) });
    bench.guard(|discovery| discovery.combine = Combine::Fallback);
    bench.reset("a", hosts([1]));
    bench.reset("b", hosts([2]));
    assert_eq!(bench.flowing(), [1]);
    bench.judge(1, false);
    assert_eq!((bench.flowing(), bench.web().panic), (vec![2], false));
    bench.judge(2, false);
    assert_eq!((bench.flowing(), bench.web().panic), (vec![1], true));
}

#[test]
fn a_service_without_discovery_has_its_checked_backends() {
    let mut bench = Bench::new(Spec {
        health: Some(Arc::new(check())),
        fixed: [(addr(1), 100), (addr(2), 100)].into(),
        ..spec(&[])
    });
    assert_eq!(bench.flowing(), [1, 2]);
    bench.judge(1, false);
    assert_eq!(bench.flowing(), [2]);
    assert!(bench.pool.accept("web", bench.now).is_err());
}
