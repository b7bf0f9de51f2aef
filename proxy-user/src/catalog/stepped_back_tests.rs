//! Whom L7 settings of the API deny is not let in when they step back.

use jiff::Timestamp;

use super::l7_tests::{DENY, LIST, base, definition, evolve, l7, merged, set, unset};
use super::*;
use crate::control::types::{Code, L7Holds};
use crate::l7::snapshot::Access;
use crate::model::{Desired, Forward, L7, Service};

/// The state of a start with this base, after `web` was set so with the test's own.
fn start(edited: &Desired, text: &str) -> (Merged, ApiState) {
    let api = evolve(&base(), &ApiState::default(), set("web", text)).unwrap().0.api;
    (merged(edited, &api).unwrap(), api)
}

fn without(name: &str) -> Desired {
    let mut edited = base();
    edited.services.remove(name);
    edited
}

fn web(merged: &Merged) -> (Service, Access, L7Holds) {
    let service = merged.desired.services["web"].clone();
    let access = service.l7.as_ref().and_then(|l7| l7.rules.access.clone()).unwrap_or_default();
    (service, access, merged.stepped_back["web"].holds)
}

fn refusing() -> Access {
    Access { default_deny: true, ..Access::default() }
}

#[test]
fn access_that_fits_by_itself_holds_over_the_files() {
    let routed = format!("{DENY}[[route]]\nto = \"next\"\n");
    let (after, api) = start(&without("next"), &routed);
    let (service, access, holds) = web(&after);
    assert_eq!((holds, &access), (L7Holds::Access, l7(DENY).rules.access.as_ref().unwrap()));
    let in_force = service.l7.unwrap();
    assert!(in_force.hosts.is_empty(), "the routes are the file's");
    // What is shown is what is in force.
    assert!(
        in_force.does_as(
            &crate::config::read_l7_json("web", &serde_json::Value::Object((*in_force.written).clone()))
                .unwrap()
                .l7
        )
    );
    assert!(after.warnings[0].code == "orphaned_l7" && after.warnings[0].detail.contains("--set-aside"));
    let (_, file) = evolve(&without("next"), &api, unset("web")).unwrap();
    assert_eq!((&file.desired, file.stepped_back.len()), (&without("next"), 0));
    assert_eq!(
        web(&start(&without("next"), "codec = \"http1\"\n[[route]]\nto = \"next\"\n").0).2,
        L7Holds::Nothing
    );
}

#[test]
fn without_its_list_a_service_refuses_everybody_and_no_change_brings_that_about() {
    let mut edited = base();
    std::sync::Arc::make_mut(&mut edited.acl).lists.remove("file");
    let (after, api) = start(&edited, LIST);
    let (service, access, holds) = web(&after);
    assert_eq!((holds, access), (L7Holds::Refusal, refusing()));
    assert_eq!(service.l7.unwrap().written["l7"]["access"]["default"], "deny");
    let before = merged(&base(), &api).unwrap();
    assert_eq!(after.may_follow(&before).unwrap_err().code, Code::InvalidConfig, "a reload");
    assert_eq!(after.may_follow(&after), Ok(()));
    // Of what has stepped back already, what still holds may not be lost either.
    let mut api = api;
    let list = Change::PutList {
        list: "own".into(),
        order: Some(77),
        action: Some(crate::model::Action::Drop),
        scope: None,
        entries: Vec::new(),
    };
    api = evolve(&base(), &api, list).unwrap().0.api;
    let both = LIST.replace("\"file\"", "\"own\"") + "[[route]]\nto = \"next\"\n";
    api = evolve(&base(), &api, set("web", &both)).unwrap().0.api;
    let delete = Change::DeleteList { list: "own".into() };
    assert_eq!(evolve(&base(), &api, delete.clone()).unwrap_err().code, Code::InvalidState);
    assert_eq!(web(&merged(&without("next"), &api).unwrap()).2, L7Holds::Access);
    assert_eq!(evolve(&without("next"), &api, delete).unwrap_err().code, Code::InvalidState);
}

#[test]
fn settings_that_cannot_be_read_refuse_everybody() {
    let mut api = start(&base(), DENY).1;
    let part = api.services.get_mut("web").unwrap();
    (part.l7, part.l7_fault) = (Some(L7::default().into()), Some("of another version".into()));
    let (_, access, holds) = web(&merged(&base(), &api).unwrap());
    assert_eq!((holds, access), (L7Holds::Refusal, refusing()));
    let (_, mended) = evolve(&base(), &api, set("web", DENY)).unwrap();
    assert_eq!(mended.stepped_back.len(), 0);
}

#[test]
fn a_header_that_the_files_codec_does_not_read_refuses_everybody() {
    let by_header = "codec = \"http1\"\nl7 = { trusted = [\"10.0.0.0/8\"], access = { header = \"x-real-ip\", default = \"deny\" } }\n[[route]]\nto = \"next\"\n";
    let (after, _) = start(&without("next"), by_header);
    let (service, access, holds) = web(&after);
    assert_eq!((holds, access.header.as_deref()), (L7Holds::Access, Some("x-real-ip")));
    assert_eq!(service.l7.unwrap().rules.trusted, ["10.0.0.0/8".parse().unwrap()]);
    let mut plain = without("next");
    plain.services.get_mut("web").unwrap().l7 = None;
    let (_, access, holds) = web(&start(&plain, by_header).0);
    assert_eq!((holds, access), (L7Holds::Refusal, refusing()));
}

#[test]
fn another_mode_serves_nobody_whom_access_may_have_denied() {
    let mut nat = base();
    nat.services.get_mut("web").unwrap().forward = Forward::Nat;
    nat.services.get_mut("web").unwrap().l7 = None;
    let (after, api) = start(&nat, DENY);
    let (service, _, holds) = web(&after);
    assert_eq!((holds, service.backends.len(), service.discovery), (L7Holds::Refusal, 0, None));
    let before = merged(&base(), &api).unwrap();
    assert!(after.may_follow(&before).unwrap_err().hint.unwrap().contains("weir l7 unset web"));
    let (_, file) = evolve(&nat, &api, unset("web")).unwrap();
    assert_eq!(file.desired.services["web"], nat.services["web"]);
    // Settings that denied nobody only wait.
    let (after, api) = start(&nat, "codec = \"bolt\"\n");
    assert_eq!(after.desired.services["web"], nat.services["web"]);
    assert_eq!(after.may_follow(&merged(&base(), &api).unwrap()), Ok(()));
}

#[test]
fn a_service_of_the_api_whose_name_the_file_takes_keeps_refusing() {
    let definition = definition();
    let routed = format!("{DENY}[[route]]\nto = \"next\"\n");
    let put = Change::PutService {
        service: "own".into(),
        definition,
        backends: Default::default(),
        l7: Some(l7(&routed)),
    };
    let api = evolve(&base(), &ApiState::default(), put).unwrap().0.api;
    let mut edited = without("next");
    let mut own = edited.services["web"].clone();
    own.vip = definition.vip;
    edited.services.insert("own".into(), own.clone());
    let after = merged(&edited, &api).unwrap();
    assert_eq!(after.stepped_back["own"].holds, L7Holds::Access);
    assert_eq!(after.desired.services["own"].l7.as_ref().unwrap().rules.access, l7(DENY).rules.access);
    own.forward = Forward::Nat;
    own.l7 = None;
    edited.services.insert("own".into(), own);
    let after = merged(&edited, &api).unwrap();
    assert_eq!(
        (after.stepped_back["own"].holds, after.desired.services["own"].backends.len()),
        (L7Holds::Refusal, 0)
    );
    assert_eq!(after.orphaned_services, ["own"]);
}

#[test]
fn a_reload_says_what_of_the_file_is_covered() {
    let api = start(&base(), DENY).1;
    let told = |base: &Desired| {
        let after = merge(base, &api, Timestamp::UNIX_EPOCH, Default::default()).unwrap();
        covered_l7(base, &after, &api)
    };
    let warnings = told(&base());
    assert!(warnings.len() == 1 && warnings[0].detail.contains("weir l7 unset web"), "{warnings:?}");
    let mut same = base();
    same.services.get_mut("web").unwrap().l7 = Some(l7(DENY));
    assert_eq!(told(&same), []);
}
