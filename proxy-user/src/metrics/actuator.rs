//! Health for probes: `/livez` and `/readyz` in plain text, and the same in the shapes of Layotto's actuator. Up is 200,
//! everything else 503.
//!
//! Live means that the daemon's loop lives: restarting weir helps if it does not. Ready means that every condition of
//! `weir status` holds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::door::View;
use crate::control::types::Condition;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Whether all is up.
    pub(super) up: bool,
    /// Media type.
    pub(super) kind: &'static str,
    pub(super) body: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Up,
    Down,
    Init,
}

#[derive(Serialize)]
struct Health {
    status: Status,
    components: BTreeMap<String, Component>,
}

#[derive(Serialize)]
struct Component {
    status: Status,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<&'static str, String>,
}

/// The answer at a path; `None`: nothing is served there. `alive`: the daemon's loop is.
pub(super) fn answer(path: &str, view: &View, alive: bool) -> Option<Answer> {
    let readiness = || {
        let mut conditions = vec![daemon(alive)];
        conditions.extend(view.conditions.iter().cloned());
        conditions
    };
    match path {
        "/livez" => Some(plain(&[daemon(alive)])),
        "/readyz" => Some(plain(&readiness())),
        "/actuator/health/liveness" => Some(health(&[daemon(alive)], false)),
        "/actuator/health/readiness" => Some(health(&readiness(), view.generation == 0)),
        "/actuator/info" => Some(info()),
        _ => None,
    }
}

fn daemon(alive: bool) -> Condition {
    let detail = (!alive).then(|| "the daemon is ending".to_owned());
    Condition { name: "daemon".into(), ok: alive, detail }
}

fn plain(conditions: &[Condition]) -> Answer {
    let up = conditions.iter().all(|condition| condition.ok);
    let mut body = String::from(if up { "ok\n" } else { "not ok\n" });
    for condition in conditions.iter().filter(|condition| !condition.ok) {
        let detail = condition.detail.as_deref().unwrap_or("does not hold");
        body.push_str(&format!("{}: {detail}\n", condition.name));
    }
    Answer { up, kind: "text/plain; charset=utf-8", body }
}

/// `starting`: what does not hold yet has not held before.
fn health(conditions: &[Condition], starting: bool) -> Answer {
    let bad = if starting { Status::Init } else { Status::Down };
    let status = |ok: bool| if ok { Status::Up } else { bad };
    let components = conditions.iter().map(|condition| {
        let details = condition.detail.iter().map(|detail| ("reason", detail.clone())).collect();
        (condition.name.clone(), Component { status: status(condition.ok), details })
    });
    let up = conditions.iter().all(|condition| condition.ok);
    json(up, &Health { status: status(up), components: components.collect() })
}

fn info() -> Answer {
    json(true, &serde_json::json!({ "app": { "name": "weir", "version": env!("CARGO_PKG_VERSION") } }))
}

/// Serializing to memory does not fail.
fn json(up: bool, value: &impl Serialize) -> Answer {
    let body = serde_json::to_string(value).unwrap_or_default() + "\n";
    Answer { up, kind: "application/json", body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(generation: u64, ok: bool) -> View {
        let mut view = View::starting(crate::control::fake::base().into(), jiff::Timestamp::UNIX_EPOCH);
        view.generation = generation;
        let detail = (!ok).then(|| "eth1 is down".to_owned());
        view.conditions = vec![
            Condition { name: "applied".into(), ok: true, detail: None },
            Condition { name: "attached".into(), ok, detail },
        ];
        view
    }

    fn body(path: &str, view: &View, alive: bool) -> (bool, String) {
        let found = answer(path, view, alive).unwrap();
        (found.up, found.body)
    }

    #[test]
    fn ready_is_what_the_conditions_say() {
        let up = r#"{"status":"UP","components":{"applied":{"status":"UP"},"attached":{"status":"UP"},"daemon":{"status":"UP"}}}"#;
        let (path, up) = ("/actuator/health/readiness", format!("{up}\n"));
        assert_eq!(body(path, &view(7, true), true), (true, up.clone()));
        let down = r#""attached":{"status":"DOWN","details":{"reason":"eth1 is down"}}"#;
        let (is_up, text) = body(path, &view(7, false), true);
        assert!(!is_up && text.contains(down) && text.starts_with(r#"{"status":"DOWN""#), "{text}");
        let (is_up, text) = body(path, &view(0, false), true);
        assert!(!is_up && text.starts_with(r#"{"status":"INIT""#), "{text}");
        assert_eq!(
            body("/readyz", &view(7, false), true),
            (false, "not ok\nattached: eth1 is down\n".into())
        );
        assert_eq!(body("/readyz", &view(7, true), true), (true, "ok\n".into()));
    }

    #[test]
    fn live_is_the_loop_alone() {
        assert_eq!(body("/livez", &view(0, false), true), (true, "ok\n".into()));
        assert!(!body("/livez", &view(7, true), false).0);
        let path = "/actuator/health/liveness";
        let up = r#"{"status":"UP","components":{"daemon":{"status":"UP"}}}"#;
        assert_eq!(body(path, &view(0, false), true), (true, format!("{up}\n")));
        let (is_up, text) = body(path, &view(7, true), false);
        assert!(!is_up && text.contains("the daemon is ending"), "{text}");
    }

    #[test]
    fn info_names_the_version_and_nothing_else_is_served() {
        let wanted =
            format!("{{\"app\":{{\"name\":\"weir\",\"version\":\"{}\"}}}}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(body("/actuator/info", &view(1, true), true), (true, wanted));
        assert!(answer("/actuator/health", &view(1, true), true).is_none());
        assert!(answer("/actuator/logger", &view(1, true), true).is_none());
    }
}
