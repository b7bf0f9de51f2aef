use super::*;
use crate::cli::rates::tests::reading;
use crate::control::types::{
    ChangeRecord, Condition, PacketTotals, Peer, ReloadRecord, SessionState, StatusCounts, Warning,
};
use crate::model::Origin;

fn plain() -> Output {
    Output { format: Format::Table, quiet: false, verbose: false, colour: false, terminal: false }
}

fn running() -> Status {
    Status {
        version: "0.1.0".into(),
        generation: 42,
        started_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        uptime_seconds: 7_260,
        pid: 4711,
        ready: true,
        conditions: vec![Condition { name: "attached".into(), ok: true, detail: None }],
        last_change: Some(ChangeRecord {
            at: "2026-01-01T02:00:00Z".parse().unwrap(),
            origin: Origin::Api,
            by: Some(Peer { uid: 0, gid: 0, pid: Some(9) }),
            what: "1 entry added to deny".into(),
            generation: 42,
        }),
        last_reload: None,
        interfaces: vec![InterfaceStatus {
            name: "eth0".into(),
            ifindex: Some(2),
            attached: true,
            mode: Some(XdpMode::Native),
            driver: Some("veth".into()),
            program_id: Some(366),
            detail: None,
            packets: PacketTotals { seen: 9_000, passed: 0, dropped: 6_000, steered: 3_000 },
        }],
        packets: PacketTotals::default(),
        registries: Vec::new(),
        counts: StatusCounts { lists: 2, acl_entries: 12_400, services: 1, backends: 3, backends_up: 2 },
        orphaned: Vec::new(),
        overrides: Vec::new(),
        warnings: Vec::new(),
    }
}

#[test]
fn one_screen() {
    let before = reading("2026-01-01T00:00:00Z", "a", 10, 1_000);
    let now = reading("2026-01-01T00:00:02Z", "a", 30, 3_000);
    assert_eq!(
        text(&running(), Some(&Readings::new(Some(&before), &now)), &plain()),
        "\
weir 0.1.0  ready  up 2h1m  generation 42  pid 4711
last change 1m ago, api by uid 0: 1 entry added to deny
2 lists with 12.4k entries, 1 services, 2/3 backends up

INTERFACE  MODE    DRIVER  PROG           SEEN  DROPPED  STEERED  PASSED
eth0       native  veth     366  packets    9k       6k       3k       0
                                 per s      3k       2k       1k       0
"
    );
}

#[test]
fn what_is_wrong_is_said() {
    let mut status = running();
    status.ready = false;
    status.conditions =
        vec![Condition { name: "attached".into(), ok: false, detail: Some("eth0 is gone".into()) }];
    status.last_reload = Some(ReloadRecord {
        at: "2026-01-01T02:00:00Z".parse().unwrap(),
        error: Some("weir.toml:3: unknown key\n3 | \u{1b}x".into()),
        last_success: None,
    });
    if let Some(eth0) = status.interfaces.first_mut() {
        *eth0 = InterfaceStatus {
            name: "eth0".into(),
            detail: Some("waiting for it".into()),
            ..Default::default()
        };
    }
    status.warnings =
        vec![Warning { code: "generic_mode".into(), detail: "eth1 runs in generic mode".into() }];
    status.overrides = vec!["web/10.0.0.11:8080".into()];
    let text = text(&status, None, &plain());
    for line in [
        "NOT READY",
        "  not attached: eth0 is gone",
        "last reload FAILED 1m ago, the state before it is in force: weir.toml:3: unknown key\n  3 | \u{fffd}x\n",
        "eth0       ABSENT",
        "  eth0: waiting for it",
        "warning generic_mode: eth1 runs in generic mode",
        "set by the API over the file: web/10.0.0.11:8080",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn warnings_are_coloured_on_a_terminal_only() {
    let mut status = running();
    status.warnings = vec![Warning { code: "generic_mode".into(), detail: "x".into() }];
    let coloured = Output { colour: true, ..plain() };
    assert!(text(&status, None, &coloured).contains("\u{1b}[33mgeneric_mode"));
    assert!(!text(&status, None, &plain()).contains('\u{1b}'));
}

#[test]
fn registries_are_one_line() {
    let summary = |name: &str, error: Option<&str>| crate::control::types::RegistrySummary {
        name: name.into(),
        kind: "sofa".into(),
        session: if error.is_some() { SessionState::Waiting } else { SessionState::Connected },
        queries: 4,
        unknown: if error.is_some() { 4 } else { 0 },
        last_success_age_seconds: error.is_none().then_some(3),
        error: error.map(ToOwned::to_owned),
    };
    let status =
        Status { registries: vec![summary("prod", None), summary("lab", Some("refused"))], ..running() };
    assert_eq!(
        registries(&status),
        "\nregistries: prod (sofa) connected, answered 3s ago; \
         lab (sofa) waiting, never answered, 4 of 4 names unknown: refused\n"
    );
}
