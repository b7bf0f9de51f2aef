//! L7 settings of the API: over services of the file and on its own.

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::config::{Limits, read_l7_toml};
use crate::control::fake;
use crate::control::types::{Code, Item, Outcome};
use crate::model::{Desired, Forward, L7, Origin};

pub(super) fn l7(text: &str) -> Arc<L7> {
    Arc::new(read_l7_toml("web", "x", text).unwrap().l7)
}

/// The test's base with `web` and `next`, both of mode `l7`, and HTTP/1 by the file.
pub(super) fn base() -> Desired {
    let mut base = fake::base();
    let web = base.services.get_mut("web").unwrap();
    web.forward = Forward::L7;
    web.l7 = Some(l7("codec = \"http1\"\n"));
    let mut next = web.clone();
    next.vip.port = 81;
    next.publish.clear();
    base.services.insert("next".into(), next);
    base
}

/// Settings that deny a source by a rule of their own.
pub(super) const DENY: &str = "codec = \"http1\"\nl7 = { access = { rules = [{ action = \"deny\", sources = [\"192.0.2.0/24\"] }] } }\n";
/// And by a list of the file.
pub(super) const LIST: &str = "codec = \"http1\"\nl7 = { access = { lists = [\"file\"] } }\n";

/// A service of the API, beside those of [`base`].
pub(super) fn definition() -> ServiceDefinition {
    ServiceDefinition {
        vip: parse_vip("tcp/198.51.100.10:90").unwrap(),
        forward: Forward::L7,
        announce: Default::default(),
        unknown_port: Default::default(),
        syn_budget: 1,
    }
}

pub(super) fn set(service: &str, text: &str) -> Change {
    Change::SetL7 { service: service.into(), l7: Some(l7(text)) }
}

pub(super) fn unset(service: &str) -> Change {
    Change::SetL7 { service: service.into(), l7: None }
}

pub(super) fn evolve(base: &Desired, api: &ApiState, change: Change) -> Result<(Changed, Merged), Refusal> {
    api.evolve(base, change, Timestamp::UNIX_EPOCH, Limits::default())
}

pub(super) fn merged(base: &Desired, api: &ApiState) -> Result<Merged, Refusal> {
    merge(base, api, Timestamp::UNIX_EPOCH, Limits::default())
}

fn told(items: &[Item]) -> Vec<(&str, Outcome)> {
    items.iter().map(|item| (item.item.as_str(), item.outcome)).collect()
}

const TO_NEXT: &str = "codec = \"http1\"\n[[route]]\nname = \"a\"\nto = \"next\"\n";

#[test]
fn settings_lie_over_those_of_the_file_until_they_are_taken_away() {
    let base = base();
    let (changed, after) = evolve(&base, &ApiState::default(), set("web", TO_NEXT)).unwrap();
    assert_eq!(
        told(&changed.items),
        [("host *", Outcome::Added), ("route */a", Outcome::Added)],
        "{:?}",
        changed.items
    );
    let web = &after.desired.services["web"];
    assert_eq!((web.l7.clone(), web.origin), (Some(l7(TO_NEXT)), Origin::File));
    assert_eq!(after.desired.services["next"], base.services["next"]);
    let again = evolve(&base, &changed.api, set("web", TO_NEXT)).unwrap().0;
    assert!(!again.changed && told(&again.items) == [("web", Outcome::Exists)]);
    // A reload whose file says something else of the service keeps them.
    let mut edited = base.clone();
    edited.services.get_mut("web").unwrap().l7 = Some(l7("codec = [\"bolt\", \"http1\"]\n"));
    assert_eq!(merged(&edited, &changed.api).unwrap().desired.services["web"].l7, Some(l7(TO_NEXT)));
    let (gone, after) = evolve(&base, &changed.api, unset("web")).unwrap();
    assert!(gone.changed && gone.api == ApiState::default());
    assert_eq!(after.desired, base);
    assert!(!evolve(&base, &gone.api, unset("web")).unwrap().0.changed);
}

#[test]
fn what_the_file_says_too_needs_no_word_of_the_api() {
    let (changed, _) = evolve(&base(), &ApiState::default(), set("web", "codec = \"http1\"\n")).unwrap();
    assert!(!changed.changed && changed.api == ApiState::default());
}

#[test]
fn what_changes_is_named() {
    let old = "codec = \"http1\"\nl7 = { access_log = 1, upgrade = false }\n\
               [[route]]\nname = \"a\"\n[[route]]\nname = \"b\"\n[[route]]\nname = \"c\"\npath = \"/c\"\n";
    let new = "codec = [\"bolt\", \"http1\"]\nl7 = { access_log = 2, connect = true }\n\
               [[route]]\nname = \"c\"\npath = \"/d\"\n[[route]]\nname = \"a\"\n\
               [[host]]\nhosts = [\"x.example\"]\n";
    let api = evolve(&base(), &ApiState::default(), set("web", old)).unwrap().0.api;
    let changed = evolve(&base(), &api, set("web", new)).unwrap().0;
    assert_eq!(
        told(&changed.items),
        [
            ("codec", Outcome::Updated),
            ("l7.access_log", Outcome::Updated),
            ("l7.upgrade", Outcome::Removed),
            ("l7.connect", Outcome::Added),
            ("host x.example", Outcome::Added),
            ("route */b", Outcome::Removed),
            ("route */c", Outcome::Updated),
            ("route x.example/all", Outcome::Added),
            ("order of routes", Outcome::Updated),
        ]
    );
    assert_eq!(changed.items[0].note.as_deref(), Some("\"http1\" becomes [\"bolt\",\"http1\"]"));
    assert_eq!((changed.counts.added, changed.counts.removed, changed.counts.unchanged), (3, 2, 2));
}

#[test]
fn faults_of_the_whole_state_are_named_by_their_keys_and_change_nothing() {
    let routes = "codec = \"http1\"\nl7 = { access = { lists = [\"file\", \"lost\"] } }\n[[route]]\n\
                  [[host]]\nhosts = [\"a\"]\n[[host.route]]\nto = [{ service = \"web\" }, { service = \"nowhere\" }]\n\
                  [[host.route]]\npath = \"/\"\nmirror = { to = \"gone\" }\n";
    let refusal = evolve(&base(), &ApiState::default(), set("web", routes)).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidState);
    let pointers: Vec<_> = refusal.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        ["/host/0/route/1/mirror/to", "/host/0/route/0/to/1/service", "/l7/access/lists/1"],
        "{refusal:?}"
    );
    assert!(refusal.errors[1].message.contains("possible"), "{refusal:?}");
    let fallback = "codec = [\"http1\", \"tcp\"]\n[[route]]\n";
    let refusal = evolve(&base(), &ApiState::default(), set("web", fallback)).unwrap_err();
    assert_eq!(refusal.errors[0].pointer, "/codec");
    assert_eq!(
        evolve(&base(), &ApiState::default(), set("none", TO_NEXT)).unwrap_err().code,
        Code::UnknownService
    );
    let nat = fake::base();
    let refusal = evolve(&nat, &ApiState::default(), set("web", TO_NEXT)).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidState);
    assert!(refusal.hint.unwrap().contains("forward = \"l7\""));
}

/// `own` is a service of the API that routes to `next` of the file.
fn with_own(base: &Desired, text: &str) -> ApiState {
    let definition = definition();
    let backends = [(parse_backend("10.0.0.13:80").unwrap(), NewBackend::default())].into();
    let put = Change::PutService { service: "own".into(), definition, backends, l7: Some(l7(text)) };
    evolve(base, &ApiState::default(), put).unwrap().0.api
}

#[test]
fn a_service_of_the_api_keeps_its_settings_when_it_is_put_without() {
    let base = base();
    let api = with_own(&base, TO_NEXT);
    let put = |forward, l7| {
        let definition = ServiceDefinition { forward, ..api.services["own"].definition.unwrap() };
        Change::PutService { service: "own".into(), definition, backends: Default::default(), l7 }
    };
    let of = |change| evolve(&base, &api, change).map(|(changed, _)| changed.api.services["own"].l7.clone());
    assert_eq!(of(put(Forward::L7, None)), Ok(Some(l7(TO_NEXT))));
    assert_eq!(of(put(Forward::L7, Some(l7("codec = \"tcp\"\n")))), Ok(None), "plain TCP");
    assert_eq!(of(put(Forward::Nat, None)), Ok(None));
    assert_eq!(of(put(Forward::Nat, Some(l7(TO_NEXT)))).unwrap_err().code, Code::InvalidState);
    let (plain, after) = evolve(&base, &api, unset("own")).unwrap();
    assert_eq!(
        (plain.api.services["own"].l7.clone(), after.desired.services["own"].l7.clone()),
        (None, None)
    );
}

#[test]
fn what_an_edit_of_the_file_no_longer_allows_steps_back_at_a_start_and_refuses_a_reload() {
    let base = base();
    let mut api = with_own(&base, TO_NEXT);
    api = evolve(&base, &api, set("web", TO_NEXT)).unwrap().0.api;
    let before = merged(&base, &api).unwrap();
    let mut without = base.clone();
    without.services.remove("next");
    let after = merged(&without, &api).unwrap();
    let refused = after.may_follow(&before).unwrap_err();
    assert_eq!(refused.code, Code::InvalidConfig);
    assert!(refused.detail.contains("service own") && refused.detail.contains("`next`"), "{refused}");
    assert_eq!(after.may_follow(&after), Ok(()), "what has stepped back does not refuse the next reload");
    assert_eq!(after.desired.services["web"].l7, base.services["web"].l7, "the file's hold");
    assert_eq!(after.orphaned_services, ["own"], "it does not serve without its routes");
    let codes: Vec<_> = after.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!(codes, ["orphaned_service", "orphaned_l7"], "{:?}", after.warnings);
    // Other changes go on, and nothing comes back by itself that does not fit.
    let drain = NewBackend { state: Some(crate::model::AdminState::Drain), ..NewBackend::default() };
    let backend = parse_backend("10.0.0.11:8080").unwrap();
    let change = Change::SetBackend { service: "web".into(), backend, new: drain };
    let (changed, still) = evolve(&without, &api, change).unwrap();
    assert_eq!(still.orphaned_services, ["own"]);
    let again = evolve(&without, &changed.api, set("web", TO_NEXT)).unwrap_err();
    assert_eq!(again.errors[0].pointer, "/route/0/to", "what is not in force is not set by saying it again");
    let other = TO_NEXT.replace("\"a\"", "\"b\"");
    let refusal = evolve(&without, &changed.api, set("web", &other)).unwrap_err();
    assert_eq!(refusal.errors[0].pointer, "/route/0/to");
    let back = merged(&base, &changed.api).unwrap();
    assert_eq!(
        (back.desired.services["web"].l7.clone(), back.orphaned_services.len()),
        (Some(l7(TO_NEXT)), 0)
    );
}

#[test]
fn a_change_that_takes_a_destination_away_is_refused() {
    let base = base();
    let api = with_own(&base, "codec = \"http1\"\n");
    let to_own = TO_NEXT.replace("\"next\"", "\"own\"");
    let api = evolve(&base, &api, set("web", &to_own)).unwrap().0.api;
    let refusal = evolve(&base, &api, Change::DeleteService { service: "own".into() }).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidState);
    assert!(refusal.detail.contains("there is no service `own`"), "{refusal}");
    let refusal = evolve(&base, &api, unset("own")).unwrap_err();
    assert!(refusal.detail.contains("speaks"), "{refusal}");
}

#[test]
fn a_service_that_the_file_makes_nat_is_served_so_and_the_settings_wait() {
    let base = base();
    let api = evolve(&base, &ApiState::default(), set("web", TO_NEXT)).unwrap().0.api;
    let after = merged(&fake::base(), &api).unwrap();
    assert_eq!(after.desired.services["web"], fake::base().services["web"]);
    assert_eq!(after.warnings[0].code, "orphaned_l7");
}

#[test]
fn a_destination_that_the_api_made_another_protocol_steps_back_for_a_route_of_the_file() {
    let base = base();
    let api = evolve(&base, &ApiState::default(), set("next", "codec = \"bolt\"\n")).unwrap().0.api;
    let mut routed = base.clone();
    routed.services.get_mut("web").unwrap().l7 = Some(l7(TO_NEXT));
    let after = merged(&routed, &api).unwrap();
    assert_eq!(after.desired, routed);
    assert_eq!(after.warnings[0].code, "orphaned_l7");
    assert!(after.may_follow(&merged(&base, &api).unwrap()).is_err());
    assert!(evolve(&routed, &ApiState::default(), set("next", "codec = \"bolt\"\n")).is_err());
}

#[test]
fn a_destination_speaks_every_codec_that_a_route_may_send_it() {
    let both = |route: &str| {
        let text = format!("codec = [\"bolt\", \"http1\"]\n{route}");
        evolve(&base(), &ApiState::default(), set("web", &text)).map(|_| ()).map_err(|refused| refused.detail)
    };
    for refused in [
        "[[route]]\nto = \"next\"\n",
        "[[route]]\nmirror = { to = \"next\" }\n",
        "[[route]]\nmethods = [\"GET\"]\nto = \"next\"\n",
        "[[route]]\nservice = \"a:1.0\"\nto = \"next\"\n",
        "[[host]]\nhosts = [\"a.x\", \"*\"]\n[[host.route]]\nto = \"next\"\n",
        "[[route]]\npath = \"/\"\nto = \"next\"\n[[route]]\nto = \"next\"\n",
    ] {
        let detail = both(refused).unwrap_err();
        assert!(
            detail.contains("send requests of bolt to `next`, which speaks http1"),
            "{refused}: {detail}"
        );
    }
    for fine in [
        "[[route]]\npath = { prefix = \"/\" }\nto = \"next\"\nmirror = { to = \"next\" }\n",
        "[[host]]\nhosts = [\"a.x\"]\n[[host.route]]\nto = \"next\"\n",
        "[[route]]\nto = \"web\"\n",
    ] {
        assert_eq!(both(fine), Ok(()), "{fine}");
    }
}

#[test]
fn another_spelling_is_stored_and_does_the_same() {
    let old = "codec = \"http1\"\nl7 = { timeouts = { request = \"1s\" } }\n[[route]]\nname = \"a\"\ntimeout = \"1s\"\n";
    let new = old.replace("1s", "1000ms").replace("= \"http1\"", "= [\"http1\"]");
    let api = evolve(&base(), &ApiState::default(), set("web", old)).unwrap().0.api;
    let (again, merged) = evolve(&base(), &api, set("web", &new)).unwrap();
    assert!(again.changed && told(&again.items) == [("web", Outcome::Updated)], "{:?}", again.items);
    let shown = merged.desired.services["web"].l7.clone().unwrap();
    assert_eq!(shown.written["route"][0]["timeout"], "1000ms", "what is shown is what was set");
    assert!(shown.does_as(&l7(old)) && *shown != *l7(old));
    assert!(!evolve(&base(), &again.api, set("web", &new)).unwrap().0.changed);
    let as_file = evolve(&base(), &ApiState::default(), set("web", "codec = [\"http1\"]\n")).unwrap().0;
    assert!(!as_file.changed && as_file.api == ApiState::default());
}

#[test]
fn a_service_that_is_replaced_says_what_becomes_of_its_routes() {
    let base = base();
    let api = with_own(&base, TO_NEXT);
    let put = |l7| {
        let definition = api.services["own"].definition.unwrap();
        let backends = [(parse_backend("10.0.0.13:80").unwrap(), NewBackend::default())].into();
        let change = Change::PutService { service: "own".into(), definition, backends, l7 };
        evolve(&base, &api, change).unwrap().0
    };
    let replaced = put(Some(l7("codec = \"http1\"\n")));
    let wanted = [("own", Outcome::Updated), ("host *", Outcome::Removed), ("route */a", Outcome::Removed)];
    assert_eq!(told(&replaced.items), wanted);
    assert_eq!(told(&put(None).items), [("own", Outcome::Exists)]);
}
