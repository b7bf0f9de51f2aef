//! Single situations with their outcome.

use std::net::IpAddr;
use std::time::Duration;

use proxy_common::{BackendState, Mode, config_flag};

use super::super::{Installed, Step, Trouble, What};
use super::image::ring;
use super::{PlanError, World, backend, graces};
use crate::model::{Action, BackendAddr, Forward};

const THREE: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

/// A second in ticks.
const HZ: u32 = 100;

#[test]
fn previous_owners_are_those_that_flows_settled_on() {
    let mut world = World::default();
    world.desired.timeouts.settle = Duration::from_secs(60);
    world.service("web", Forward::DsrL2, "198.51.100.1", &THREE[..2]);
    let (first, _) = world.apply(&Installed::default());
    let before = owners(&first);
    assert!(before.iter().all(|(owner, previous)| owner == previous));

    // A third backend takes slots of the others, whose flows stay.
    world.now += 10 * HZ;
    let (two, three) = (world.clone(), {
        world.service("web", Forward::DsrL2, "198.51.100.1", &THREE);
        world.clone()
    });
    let (second, plan) = three.apply(&first);
    let grown = owners(&second);
    assert!(grown.iter().zip(&before).all(|(now, before)| now.1 == before.0));
    assert!(grown.iter().filter(|(owner, previous)| owner != previous).count() > 500);
    assert_eq!(plan.settles_in, Some(Duration::from_secs(60)));

    // It leaves again soon: its slots go back to whom they had settled on.
    let back = World { now: three.now + 10 * HZ, ..two };
    let (third, _) = back.apply(&second);
    assert!(owners(&third) == before);

    // It stays: once the time is over the past is forgotten, and the owners are the same.
    let settled = World { now: three.now + 60 * HZ, ..three };
    let (fourth, plan) = settled.apply(&second);
    assert!(owners(&fourth).iter().zip(&grown).all(|(now, then)| now.0 == then.0 && now.1 == then.0));
    assert_eq!(plan.settles_in, None);
    let changed_at = |image: &Installed| image.services.values().map(|service| service.changed_at).next();
    assert_eq!(changed_at(&fourth), changed_at(&second));
}

fn owners(image: &Installed) -> Vec<(u16, u16)> {
    ring(image, image.services.values().next().unwrap())
}

#[test]
fn a_longer_ring_keeps_most_flows_where_they_were() {
    let all: Vec<String> = (1..=21).map(|n| format!("10.0.0.{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut world = World::default();
    world.service("web", Forward::DsrL2, "198.51.100.1", &all[..20]);
    let (first, _) = world.apply(&Installed::default());
    world.service("web", Forward::DsrL2, "198.51.100.1", &all);
    let (second, _) = world.apply(&first);
    let (old, new) = (owners(&first), owners(&second));
    assert_eq!((old.len(), new.len()), (2_039, 4_093));
    // Flows at 16 points of each slot: they go by the previous owner.
    let points = (0..new.len() * 16).collect::<Vec<_>>();
    let kept = points.iter().filter(|point| {
        let was = old[**point * old.len() / (new.len() * 16)].0;
        new[**point / 16].1 == was
    });
    assert!(kept.count() * 100 > points.len() * 80);
}

#[test]
fn draining_waits_until_the_ring_has_changed() {
    let mut world = World::default();
    world.service("web", Forward::DsrL2, "198.51.100.1", &THREE);
    let (image, _) = world.apply(&Installed::default());
    let drained = BackendAddr { addr: "10.0.0.2".parse().unwrap(), port: 80 };
    world.desired.services.get_mut("web").unwrap().backends.insert(drained, backend(0));
    let plan = world.plan(&image).unwrap();
    let at = |wanted: fn(&Step) -> bool| plan.steps.iter().position(wanted).unwrap();
    let service = at(|step| matches!(step, Step::SetService { .. }));
    let grace = at(|step| *step == Step::Grace);
    let drain = at(
        |step| matches!(step, Step::SetBackend { value, .. } if value.state == BackendState::Draining as u8),
    );
    assert!(service < grace && grace < drain);
}

#[test]
fn flows_of_a_stateless_service_go_on_while_all_its_backends_drain() {
    let mut world = World::default();
    world.service("web", Forward::DsrL2, "198.51.100.1", &THREE);
    let (image, plan) = world.apply(&Installed::default());
    let key = plan.names.services["web"].key;
    let before = ring(&image, &image.services[&key]);
    world.desired.services.get_mut("web").unwrap().backends.values_mut().for_each(|found| found.weight = 0);
    let (image, _) = world.apply(&image);
    let during = ring(&image, &image.services[&key]);
    assert!(before.iter().zip(&during).all(|(old, new)| *new == (0, old.0)), "no owner, and the one before");
    assert!(world.plan(&image).unwrap().steps.is_empty());
}

#[test]
fn unreachable_backends_are_reported_and_left_out() {
    let mut world = World::default();
    world.service("dsr", Forward::DsrL2, "198.51.100.1", &THREE);
    world.service("nat", Forward::Nat, "198.51.100.2", &["10.0.0.9"]);
    let [gone, behind, unresolved, own]: [IpAddr; 4] =
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"].map(|addr| addr.parse().unwrap());
    world.next_hops.remove(&gone);
    world.next_hops.get_mut(&behind).unwrap().on_link = false;
    world.next_hops.get_mut(&unresolved).unwrap().dst_mac = None;
    world.next_hops.get_mut(&own).unwrap().source = "0.0.0.0".parse().unwrap();
    let (image, plan) = world.apply(&Installed::default());
    let troubles: Vec<Trouble> = plan.warnings.iter().map(|warning| warning.trouble).collect();
    assert_eq!(
        troubles,
        [Trouble::Unreachable, Trouble::NotOnLink, Trouble::NoSource("0.0.0.0".parse().unwrap())]
    );
    let dsr = &plan.names.services["dsr"];
    let slot = dsr.backends[&BackendAddr { addr: unresolved, port: 80 }];
    assert!(ring(&image, &image.services[&dsr.key]).iter().all(|owners| *owners == (slot, slot)));
    assert_eq!(image.services[&plan.names.services["nat"].key].ring, 0);
}

#[test]
fn answers_stay_ours_while_the_route_is_away() {
    let mut world = World::default();
    world.service("web", Forward::Nat, "198.51.100.1", &["10.0.0.1"]);
    let (image, _) = world.apply(&Installed::default());
    world.next_hops.clear();
    let (later, plan) = world.apply(&image);
    assert_eq!((&later.snat, &later.destinations), (&image.snat, &image.destinations));
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn a_default_that_denies_comes_before_services_and_one_that_allows_after() {
    let mut world = World::default();
    let (open, _) = world.apply(&Installed::default());
    std::sync::Arc::make_mut(&mut world.desired.acl).default = Action::Drop;
    world.service("web", Forward::Nat, "198.51.100.1", &THREE);
    let (closed, plan) = world.apply(&open);
    let service = |step: &Step| matches!(step, Step::SetService { .. } | Step::DeleteService { .. });
    let denies = |step: &Step, wanted: bool| match step {
        Step::SetConfig { value } => (value.flags & config_flag::SERVICE_DEFAULT_DROP != 0) == wanted,
        _ => false,
    };
    let at = |plan: &[Step], wanted: &dyn Fn(&Step) -> bool| plan.iter().position(wanted).unwrap();
    assert!(at(&plan.steps, &|step| denies(step, true)) < at(&plan.steps, &service));

    std::sync::Arc::make_mut(&mut world.desired.acl).default = Action::Pass;
    world.desired.services.clear();
    let (_, plan) = world.apply(&closed);
    assert!(at(&plan.steps, &service) < at(&plan.steps, &|step| denies(step, false)));
}

#[test]
fn a_full_arena_takes_a_second_round() {
    let mut world = World::default();
    world.limits.ring_blocks = 3 * 128;
    for (name, vip) in [("one", "198.51.100.1"), ("two", "198.51.100.2"), ("three", "198.51.100.3")] {
        world.service(name, Forward::Nat, vip, &THREE[..2]);
    }
    let (image, plan) = world.apply(&Installed::default());
    assert_eq!(graces(&plan.steps), 0);

    // No block is free: nothing can be replaced, and the plan is refused whole.
    let mut grown = world.clone();
    grown.service("one", Forward::Nat, "198.51.100.1", &THREE);
    let error = grown.plan(&image).unwrap_err();
    assert!(
        matches!(error, PlanError::NoRoomBeside { what: What::RingBlocks, wanted: 128, free: 0 }),
        "{error}"
    );

    // A service that goes makes room for the others, one after the other.
    grown.desired.services.remove("three");
    grown.service("two", Forward::Nat, "198.51.100.2", &THREE);
    let (after, plan) = grown.apply(&image);
    assert!(graces(&plan.steps) >= 2);
    assert!(grown.plan(&after).unwrap().steps.is_empty());
    grown.service("four", Forward::Nat, "198.51.100.4", &THREE);
    grown.service("five", Forward::Nat, "198.51.100.5", &THREE);
    let error = grown.plan(&after).unwrap_err();
    assert!(matches!(error, PlanError::TooMany { what: What::RingBlocks, .. }), "{error}");
}

#[test]
fn two_services_of_one_vip_are_refused() {
    let mut world = World::default();
    world.service("one", Forward::Nat, "198.51.100.1", &THREE);
    world.service("two", Forward::DsrL2, "198.51.100.1", &THREE);
    let error = world.plan(&Installed::default()).unwrap_err().to_string();
    assert!(
        error.contains("\"one\"") && error.contains("\"two\"") && error.contains("198.51.100.1"),
        "{error}"
    );
}

/// Replanning a service of a thousand backends: milliseconds in release, most of them for its ring.
#[test]
fn a_thousand_backends_are_planned_quickly() {
    let backends: Vec<String> = (0..1000).map(|n| format!("10.0.{}.{}", n / 250, n % 250 + 1)).collect();
    let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
    let mut world = World::default();
    world.service("web", Forward::DsrL2, "198.51.100.1", &backends);
    let (image, _) = world.apply(&Installed::default());
    world.next_hops.get_mut(&"10.0.1.7".parse::<IpAddr>().unwrap()).unwrap().mtu = 1400;
    let begin = std::time::Instant::now();
    let plan = world.plan(&image).unwrap();
    let passed = begin.elapsed();
    assert!(matches!(plan.steps.as_slice(), [Step::SetBackend { .. }]), "{} steps", plan.steps.len());
    assert!(passed < Duration::from_secs(2), "{passed:?}");
}

#[test]
fn an_l7_service_takes_no_ring_and_no_backend_slots_and_gives_back_those_of_its_mode_before() {
    let mut world = World::default();
    world.service("web", Forward::Nat, "198.51.100.1", &THREE);
    let (nat, _) = world.apply(&Installed::default());
    assert_eq!((nat.backends.len(), nat.rings.is_empty()), (3, false));
    world.service("web", Forward::L7, "198.51.100.1", &THREE);
    let (l7, plan) = world.apply(&nat);
    let service = l7.services.values().next().unwrap();
    assert_eq!((service.mode, service.ring), (Mode::L7 as u8, 0));
    assert!(l7.backends.is_empty() && l7.rings.is_empty() && plan.warnings.is_empty());
    assert!(plan.names.services["web"].backends.is_empty());
    assert!(l7.filter.values().any(|word| *word != 0), "packets to its VIP are looked at");
}

#[test]
fn the_acl_is_left_alone_when_only_a_next_hop_changed() {
    let mut world = World::default();
    std::sync::Arc::make_mut(&mut world.desired.acl).management = vec!["192.0.2.0/24".parse().unwrap()];
    world.service("web", Forward::Nat, "198.51.100.1", &THREE);
    let (image, first) = world.apply(&Installed::default());
    world.keep_acl = true;
    let kept = world.plan(&image).unwrap();
    assert_eq!((kept.steps, kept.names), (Vec::new(), first.names));
    world.next_hops.get_mut(&"10.0.0.1".parse::<IpAddr>().unwrap()).unwrap().dst_mac = None;
    let (after, plan) = world.apply(&image);
    assert!(matches!(plan.steps.as_slice(), [Step::SetBackend { .. }]));
    assert_eq!((&after.acl, after.config), (&image.acl, image.config));
}
