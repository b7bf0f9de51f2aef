use std::sync::Arc;

use super::*;
use crate::control::fake::{pool, session, then};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(then().as_second() + seconds).unwrap()
}

fn with(change: impl FnOnce(&mut Pooled)) -> Snapshot {
    let mut snapshot = pool();
    let mut web = Pooled::clone(&snapshot.services["web"]);
    change(&mut web);
    snapshot.services.insert("web".into(), Arc::new(web));
    snapshot
}

fn unknown(remembered: bool, last_success: Option<Timestamp>) -> Snapshot {
    with(|web| {
        web.sources[0].state = Knowledge::Unknown { why: "no answer".into(), remembered };
        web.sources[0].last_success = last_success;
    })
}

#[test]
fn ages_are_seconds_and_never_negative() {
    let shown = status(&pool(), "prod", &session(), at(90));
    assert_eq!(
        (shown.last_success_age_seconds, shown.queries[0].last_success_age_seconds),
        (Some(90), Some(90))
    );
    assert_eq!(status(&pool(), "prod", &session(), at(-5)).last_success_age_seconds, Some(0));
    assert_eq!(status(&pool(), "other", &session(), at(1)).last_success, None);
    assert_eq!(summary(&pool(), "prod", &session(), at(1)).error, None);
    let lost = RegistrySession { state: SessionState::Waiting, ..session() };
    assert_eq!(summary(&pool(), "prod", &lost, at(1)).error.as_deref(), Some("reset by peer"));
}

#[test]
fn ready_once_every_source_has_a_set_or_is_known_to_be_empty() {
    assert!(condition(&Snapshot::default()).is_none());
    assert!(condition(&pool()).unwrap().ok);
    assert!(condition(&unknown(true, Some(then()))).unwrap().ok);
    assert!(condition(&unknown(false, Some(then()))).unwrap().ok);
    assert!(condition(&with(|web| web.sources[0].state = Knowledge::Empty)).unwrap().ok);
    let missing = condition(&unknown(false, None)).unwrap();
    assert!(!missing.ok);
    assert_eq!(missing.detail.as_deref(), Some("registry prod has not answered yet for web"));
}

#[test]
fn holds_remembered_sets_and_panic_are_warned_of() {
    let codes = |pool: &Snapshot| warnings(pool).into_iter().map(|found| found.code).collect::<Vec<_>>();
    assert_eq!(codes(&pool()), ["removals_held"]);
    assert!(warnings(&pool())[0].detail.contains("1 removals wait until `weir registry accept web`"));
    assert_eq!(codes(&unknown(true, Some(then()))), ["removals_held", "registry_unknown"]);
    assert_eq!(codes(&with(|web| (web.hold, web.panic) = (None, true))), ["health_panic"]);
    let nothing = with(|web| {
        (web.hold, web.candidates) = (None, Default::default());
        web.sources[0].state = Knowledge::Empty;
    });
    assert_eq!(codes(&nothing), ["no_endpoints"]);
}
