//! What of the API the file leaves no place for: nobody whom it denied is let in, and there is a way out.

use super::l7_tests::{DENY, LIST, base, definition, evolve, l7, merged, set, unset};
use super::*;
use crate::control::types::{Code, L7Holds, Outcome};
use crate::l7::snapshot::Access;
use crate::model::{AclList, Action, Desired, Forward, Origin};

/// `shop` of the API with these settings, and others of a file that took its VIP for `name`.
fn taken(name: &str, text: &str) -> (ApiState, Desired) {
    let put = Change::PutService {
        service: "shop".into(),
        definition: definition(),
        backends: Default::default(),
        l7: Some(l7(text)),
    };
    let api = evolve(&base(), &ApiState::default(), put).unwrap().0.api;
    let mut edited = base();
    let mut other = edited.services["web"].clone();
    other.vip = definition().vip;
    other.publish.clear();
    edited.services.insert(name.into(), other);
    (api, edited)
}

fn access(merged: &Merged, name: &str) -> Option<Access> {
    merged.desired.services[name].l7.as_ref().and_then(|l7| l7.rules.access.clone())
}

fn refusing() -> Option<Access> {
    Some(Access { default_deny: true, ..Access::default() })
}

#[test]
fn a_service_that_takes_the_vip_denies_whom_the_other_denied_and_refuses_a_reload() {
    for name in ["other", "zother"] {
        let (api, edited) = taken(name, DENY);
        let after = merged(&edited, &api).unwrap();
        assert_eq!(access(&after, name), l7(DENY).rules.access);
        assert_eq!(after.stepped_back["shop"].holds, L7Holds::Access);
        assert_eq!(after.orphaned_services, ["shop"]);
        let refused = after.may_follow(&merged(&base(), &api).unwrap()).unwrap_err();
        assert_eq!(refused.code, Code::InvalidConfig);
        assert!(refused.detail.contains(name) && refused.detail.contains("shop"), "{refused}");
        assert_eq!(after.may_follow(&after), Ok(()));
        // Settings of the API over the other are no way round.
        let mut both = api.clone();
        both.services.insert(
            name.into(),
            ApiService { l7: Some(l7("codec = [\"bolt\", \"http1\"]\n")), ..ApiService::default() },
        );
        assert_eq!(access(&merged(&edited, &both).unwrap(), name), l7(DENY).rules.access);
        // With an `access` of its own, either would let in whom the other denies.
        let mut own = edited.clone();
        own.services.get_mut(name).unwrap().l7 = Some(l7(LIST));
        assert_eq!(access(&merged(&own, &api).unwrap(), name), refusing());
        own.services.get_mut(name).unwrap().l7 = Some(l7(DENY));
        assert_eq!(access(&merged(&own, &api).unwrap(), name), l7(DENY).rules.access);
        // Another mode serves nobody.
        let nat = own.services.get_mut(name).unwrap();
        (nat.forward, nat.l7) = (Forward::Nat, None);
        assert_eq!(merged(&own, &api).unwrap().desired.services[name].backends.len(), 0);
        let (gone, free) = evolve(&own, &api, Change::DeleteService { service: "shop".into() }).unwrap();
        assert_eq!((gone.items[0].outcome, free.desired), (Outcome::Removed, own));
    }
}

#[test]
fn a_list_that_is_gone_has_the_taker_of_the_vip_refuse_everybody() {
    let (api, mut edited) = taken("other", LIST);
    std::sync::Arc::make_mut(&mut edited.acl).lists.remove("file");
    let after = merged(&edited, &api).unwrap();
    assert_eq!((access(&after, "other"), after.stepped_back["shop"].holds), (refusing(), L7Holds::Refusal));
}

#[test]
fn a_list_that_takes_the_order_of_one_of_the_api_refuses_a_reload() {
    let list = Change::PutList {
        list: "own".into(),
        order: Some(50),
        action: Some(Action::Drop),
        scope: None,
        entries: Vec::new(),
    };
    let api = evolve(&base(), &ApiState::default(), list).unwrap().0.api;
    let mut edited = base();
    let new = AclList {
        order: 50,
        action: Action::Drop,
        scope: Default::default(),
        origin: Origin::File,
        entries: Default::default(),
    };
    std::sync::Arc::make_mut(&mut edited.acl).lists.insert("new".into(), new);
    let after = merged(&edited, &api).unwrap();
    assert_eq!(after.orphaned_lists, ["own"], "a start goes on");
    let refused = after.may_follow(&merged(&base(), &api).unwrap()).unwrap_err();
    assert!(refused.detail.contains("list new") && refused.detail.contains("list own"), "{refused}");
    assert_eq!(after.may_follow(&after), Ok(()));
    assert_eq!(merged(&base(), &api).unwrap().may_follow(&after), Ok(()), "back again");
}

#[test]
fn routes_make_room_and_no_service_refuses_everybody_for_them() {
    let many = |count: usize| {
        let mut one = l7("codec = \"http1\"\n[[route]]\n");
        let host = &mut std::sync::Arc::make_mut(&mut one).hosts[0];
        host.routes = vec![host.routes[0].clone(); count];
        one
    };
    let denying = |count| {
        let mut one = many(count);
        std::sync::Arc::make_mut(&mut one).rules.access = l7(DENY).rules.access.clone();
        one
    };
    let mut edited = base();
    let (mut api, mut vip) = (ApiState::default(), edited.services["web"].vip);
    for (port, name) in [(91, "aa"), (92, "bb"), (93, "zz")] {
        let mut service = edited.services["web"].clone();
        vip.port = port;
        service.vip = vip;
        service.publish.clear();
        edited.services.insert(name.into(), service);
    }
    for name in ["aa", "bb"] {
        let part = ApiService { l7: Some(denying(4_000)), ..ApiService::default() };
        api.services.insert(name.into(), part);
    }
    for name in ["next", "web", "zz"] {
        edited.services.get_mut(name).unwrap().l7 = Some(many(4_000));
    }
    // 12,000 of the file, 8,000 of the API: one of two makes room; with 16,000 of the file, both do.
    let after = merged(&edited, &api).unwrap();
    let holds: Vec<_> = after.stepped_back.iter().map(|(name, one)| (name.as_str(), one.holds)).collect();
    assert_eq!(holds, [("aa", L7Holds::Access)]);
    let mut more = edited.services["zz"].clone();
    more.vip.port = 94;
    edited.services.insert("zzz".into(), more);
    let after = merged(&edited, &api).unwrap();
    let holds: Vec<_> = after.stepped_back.iter().map(|(name, one)| (name.as_str(), one.holds)).collect();
    assert_eq!(holds, [("aa", L7Holds::Access), ("bb", L7Holds::Access)]);
}

#[test]
fn what_is_not_in_force_is_not_set_and_can_be_dropped() {
    let delete = || Change::DeleteService { service: "shop".into() };
    let (api, edited) = taken("shop", DENY);
    // The same VIP and mode: it has joined, and is the file's.
    assert_eq!(evolve(&edited, &api, delete()).unwrap_err().code, Code::OriginConflict);
    assert!(evolve(&edited, &api, set("shop", "codec = \"bolt\"\n")).is_ok());
    let (mut moved, mut nat) = (edited.clone(), edited.clone());
    moved.services.get_mut("shop").unwrap().vip.port = 95;
    let shop = nat.services.get_mut("shop").unwrap();
    (shop.forward, shop.l7) = (Forward::Nat, None);
    for (edited, holds) in
        [(moved, L7Holds::Orphaned), (nat, L7Holds::Refusal), (taken("other", DENY).1, L7Holds::Access)]
    {
        let after = merged(&edited, &api).unwrap();
        assert_eq!(after.stepped_back["shop"].holds, holds);
        assert!(after.warnings.iter().all(|one| !one.detail.contains("weir l7 set")), "{:?}", after.warnings);
        assert_eq!(
            evolve(&edited, &api, set("shop", "codec = \"bolt\"\n")).unwrap_err().code,
            Code::InvalidState
        );
        let (dropped, after) = evolve(&edited, &api, unset("shop")).unwrap();
        assert!(dropped.changed && after.stepped_back.is_empty());
        let (gone, after) = evolve(&edited, &api, delete()).unwrap();
        assert_eq!((gone.api, after.desired), (ApiState::default(), edited));
    }
    let again = Change::PutService {
        service: "shop".into(),
        definition: definition(),
        backends: Default::default(),
        l7: Some(l7(DENY)),
    };
    assert_eq!(evolve(&taken("other", DENY).1, &api, again).unwrap_err().code, Code::InvalidState);
    // What was laid over a service that the file no longer has.
    let api = evolve(&base(), &ApiState::default(), set("web", DENY)).unwrap().0.api;
    let mut without = base();
    without.services.remove("web");
    let after = merged(&without, &api).unwrap();
    assert_eq!(after.stepped_back["web"].holds, L7Holds::Orphaned);
    assert_eq!(after.may_follow(&merged(&base(), &api).unwrap()), Ok(()));
    assert_eq!(evolve(&without, &api, unset("web")).unwrap().0.api, ApiState::default());
    assert_eq!(evolve(&without, &api, set("web", LIST)).unwrap_err().code, Code::UnknownService);
}
