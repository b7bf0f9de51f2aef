//! Rules of the merge and of changes.

use std::sync::Arc;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::config::Limits;
use crate::control::fake::base;
use crate::control::types::{Code, Outcome};
use crate::model::{Action, Forward, Origin};

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn entry(prefix: &str, end: Option<i64>) -> NewEntry {
    NewEntry { prefix: prefix.parse().unwrap(), expires_at: end.map(later), reason: None }
}

fn patch(list: &str, add: Vec<NewEntry>, remove: &[&str]) -> Change {
    Change::PatchList {
        list: list.into(),
        order: None,
        action: None,
        scope: None,
        add,
        remove: remove.iter().map(|text| text.parse().unwrap()).collect(),
        atomic: true,
    }
}

fn put(list: &str, order: u32, entries: Vec<NewEntry>) -> Change {
    Change::PutList {
        list: list.into(),
        order: Some(order),
        action: Some(Action::Drop),
        scope: None,
        entries,
    }
}

#[test]
fn entries_of_the_api_join_a_list_of_the_file_and_end_in_time() {
    let add = vec![entry("192.0.2.0/24", Some(60)), entry("192.0.3.0/24", None)];
    let (changed, merged) =
        ApiState::default().evolve(&base(), patch("file", add, &[]), now(), Limits::default()).unwrap();
    assert_eq!(merged.desired.acl.lists["file"].entries.len(), 3);
    assert_eq!(merged.next_expiry, Some(later(60)));
    let merged = merge(&base(), &changed.api, later(60), Limits::default()).unwrap();
    assert_eq!((merged.desired.acl.lists["file"].entries.len(), merged.next_expiry), (2, None));
    let mut api = changed.api;
    assert_eq!(api.prune(later(60))["file"], 1);
    assert_eq!(api.lists["file"].entries.len(), 1);
}

#[test]
fn what_belongs_to_a_list_that_is_gone_is_kept_and_comes_back() {
    let change = patch("file", vec![entry("192.0.2.0/24", None)], &[]);
    let api = ApiState::default().change(&base(), change, now()).unwrap().api;
    let mut without = base();
    Arc::make_mut(&mut without.acl).lists.clear();
    let merged = merge(&without, &api, now(), Limits::default()).unwrap();
    assert_eq!((merged.desired.acl.lists.len(), merged.orphaned_lists), (0, vec!["file".to_owned()]));
    assert_eq!(merged.warnings[0].code, "orphaned_entries");
    assert_eq!(
        merge(&base(), &api, now(), Limits::default()).unwrap().desired.acl.lists["file"].entries.len(),
        2
    );
    let gone = api.change(&without, Change::DeleteList { list: "file".into() }, now()).unwrap();
    assert!(gone.api.lists.is_empty());
}

#[test]
fn a_list_of_the_api_steps_back_behind_one_of_the_file_that_does_something_else() {
    let api = ApiState::default().change(&base(), put("own", 20, vec![entry("192.0.2.0/24", None)]), now());
    let api = api.unwrap().api;
    let mut with = base();
    let mut list = with.acl.lists["file"].clone();
    list.order = 30;
    Arc::make_mut(&mut with.acl).lists.insert("own".into(), list.clone());
    assert_eq!(
        merge(&with, &api, now(), Limits::default()).unwrap().desired.acl.lists["own"].entries.len(),
        2,
        "joins"
    );
    list.action = Action::Pass;
    Arc::make_mut(&mut with.acl).lists.insert("own".into(), list);
    let merged = merge(&with, &api, now(), Limits::default()).unwrap();
    assert_eq!(merged.desired.acl.lists["own"].entries.len(), 1, "a drop entry never lands in a pass list");
    assert_eq!(merged.orphaned_lists, ["own"]);
}

#[test]
fn orders_and_vips_are_not_shared() {
    let refusal = ApiState::default()
        .evolve(&base(), put("own", 10, Vec::new()), now(), Limits::default())
        .unwrap_err();
    assert_eq!(refusal.code, Code::Conflict);
    let web = &base().services["web"];
    let definition = ServiceDefinition {
        vip: web.vip,
        forward: Forward::Nat,
        announce: web.announce,
        unknown_port: web.unknown_port,
        syn_budget: 1,
    };
    let change =
        Change::PutService { service: "other".into(), definition, backends: Default::default(), l7: None };
    assert_eq!(
        ApiState::default().evolve(&base(), change, now(), Limits::default()).unwrap_err().code,
        Code::Conflict
    );
}

#[test]
fn an_override_lies_on_top_of_the_file_and_goes_with_its_backend() {
    let backend = parse_backend("10.0.0.11:8080").unwrap();
    let new = NewBackend { weight: Some(3), state: None };
    let change = Change::SetBackend { service: "web".into(), backend, new };
    let api = ApiState::default().change(&base(), change, now()).unwrap().api;
    let weight = |base| {
        merge(&base, &api, now(), Limits::default()).unwrap().desired.services["web"]
            .backends
            .get(&backend)
            .map(|b| (b.weight, b.origin))
    };
    assert_eq!(weight(base()), Some((3, Origin::File)));
    let mut without = base();
    without.services.get_mut("web").unwrap().backends.remove(&backend);
    assert_eq!(weight(without), None, "an override makes no backend");
}

#[test]
fn an_end_in_the_past_and_a_long_reason_are_refused_whole() {
    let good = entry("192.0.2.0/24", None);
    for bad in [entry("192.0.3.0/24", Some(0)), NewEntry { reason: Some("x".repeat(257)), ..good.clone() }] {
        let refusal = ApiState::default()
            .change(&base(), patch("file", vec![good.clone(), bad], &[]), now())
            .unwrap_err();
        assert_eq!((refusal.code, refusal.errors[0].pointer.as_str()), (Code::InvalidState, "/add/1"));
    }
}

fn prefixes() -> impl Strategy<Value = Vec<IpNet>> {
    let one = (any::<[u8; 4]>(), 0_u8..=32)
        .prop_map(|(addr, length)| IpNet::new(std::net::IpAddr::from(addr), length).unwrap());
    proptest::collection::vec(one, 0..20)
}

proptest! {
    #[test]
    fn adding_and_removing_is_idempotent_and_ends_where_it_began(nets in prefixes()) {
        let add: Vec<_> = nets.iter().map(|net| entry(&net.to_string(), None)).collect();
        let empty = ApiState::default();
        let once = empty.change(&base(), patch("file", add.clone(), &[]), now()).unwrap();
        let twice = once.api.change(&base(), patch("file", add, &[]), now()).unwrap();
        prop_assert!(!twice.changed && twice.items.iter().all(|item| item.outcome == Outcome::Exists));
        let own: Vec<_> = once.api.lists.values().flat_map(|list| list.entries.keys()).map(ToString::to_string).collect();
        let own: Vec<_> = own.iter().map(String::as_str).collect();
        let back = once.api.change(&base(), patch("file", Vec::new(), &own), now()).unwrap();
        prop_assert_eq!(&back.api, &empty);
        let merged = merge(&base(), &once.api, now(), Limits::default()).unwrap().desired;
        let of_file = &base().acl.lists["file"].entries;
        for (prefix, entry) in of_file {
            prop_assert_eq!(merged.acl.lists["file"].entries.get(prefix), Some(entry));
        }
    }
}
