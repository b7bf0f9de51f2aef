use super::*;
use crate::cli::rates::tests::reading;
use crate::control::types::BackendHealth;

fn backend(address: &str, weight: u16, up: bool, detail: Option<&str>) -> BackendDocument {
    BackendDocument {
        address: address.into(),
        weight,
        state: AdminState::Active,
        origin: Origin::File,
        overridden: false,
        health: BackendHealth { up, detail: detail.map(ToOwned::to_owned), ..BackendHealth::default() },
        sources: Vec::new(),
        standing: None,
        standing_detail: None,
        since: None,
        zone: None,
        labels: Default::default(),
        checked: None,
    }
}

fn web() -> ServiceDocument {
    ServiceDocument {
        name: "web".into(),
        vip: "tcp/198.51.100.10:80".into(),
        forward: Forward::Nat,
        announce: Announce::None,
        unknown_port: UnknownPort::Drop,
        syn_budget: 1,
        origin: Origin::File,
        backends: vec![
            backend("10.0.0.11:8080", 100, true, None),
            backend("10.0.0.12:8080", 0, true, None),
            backend("10.0.0.13:8080", 100, false, Some("no neighbour entry")),
        ],
        sources: Vec::new(),
        hold: None,
        publications: Vec::new(),
        withdrawn: false,
        codec: None,
        l7: None,
        host: None,
        route: None,
        l7_overridden: false,
    }
}

#[test]
fn a_discovered_backend_says_whence_and_since_when() {
    let now: Timestamp = "2026-01-01T00:03:12Z".parse().unwrap();
    let mut found = backend("10.0.0.11:8080", 100, true, None);
    found.sources = vec!["prod".into(), "dns".into()];
    found.since = Some("2026-01-01T00:00:00Z".parse().unwrap());
    let text = |standing, detail: Option<&str>, found: &BackendDocument| {
        let standing_detail = detail.map(ToOwned::to_owned);
        state_text(&BackendDocument { standing: Some(standing), standing_detail, ..found.clone() }, now)
    };
    assert_eq!(text(StandingState::Used, None, &found), "up 3m12s (prod, dns)");
    assert_eq!(text(StandingState::Held, Some("x"), &found), "up, removal held 3m12s (prod, dns)");
    assert_eq!(text(StandingState::Down, Some("refused"), &found), "down 3m12s (prod, dns): refused");
    assert_eq!(text(StandingState::Leaving, None, &found), "leaving 3m12s (prod, dns)");
}

#[test]
fn the_layout_of_ipvsadm() {
    let before = reading("2026-01-01T00:00:00Z", "a", 10, 1_000);
    let now = reading("2026-01-01T00:00:02Z", "a", 24_810, 1_921_000);
    let view = View::new(7, vec![web()], &Readings::new(Some(&before), &now));
    assert_eq!(
        view.render(false),
        "\
PROTO  VIP                  NAME  MODE    CPS   PPS   BPS  CONNS  FLOWS  STATE
tcp    198.51.100.10:80     web   nat   12.4k  960k  768M  24.8k      3  2/3 up
  ->   10.0.0.11:8080 w100              12.4k  960k  768M  24.8k      3  up
  ->   10.0.0.12:8080 w0                   --    --    --      0      -  draining
  ->   10.0.0.13:8080 w100                 --    --    --      0      -  down: no neighbour entry
"
    );
    assert!(view.render(true).contains(" 12400  960000  768000000  24810 "), "{}", view.render(true));
}

#[test]
fn no_services_says_how_to_add_one() {
    let now = reading("2026-01-01T00:00:02Z", "a", 0, 0);
    let view = View::new(7, Vec::new(), &Readings::new(None, &now));
    assert!(view.render(false).contains("weir service add"));
}

#[test]
fn json_keeps_the_document_and_adds_numbers() {
    let now = reading("2026-01-01T00:00:02Z", "a", 3, 5);
    let view = View::new(7, vec![web()], &Readings::new(None, &now));
    let json = serde_json::to_value(&view).unwrap();
    let service = &json["services"][0];
    assert_eq!(service["vip"], "tcp/198.51.100.10:80");
    assert_eq!(service["backends"][0]["address"], "10.0.0.11:8080");
    assert_eq!(service["backends"][0]["traffic"]["connections"], 3);
    assert!(service["rates"]["packets"].is_null());
}

#[test]
fn backends_of_an_l7_service_show_what_workers_have_counted() {
    let counted = |requests, active, ejected| {
        Some(L7Traffic {
            requests,
            requests_active: active,
            connections_active: 4,
            failures: 2,
            ejected,
            ..L7Traffic::default()
        })
    };
    let reading = |at, requests| {
        let mut reading = reading(at, "a", 0, 0);
        let service = &mut reading.services[0];
        (service.forward, service.flows, service.l7_traffic) = (Forward::L7, None, counted(requests, 3, 0));
        service.backends[0].flows = None;
        service.backends[0].l7_traffic = counted(requests, 1, 1);
        reading
    };
    let (before, now) = (reading("2026-01-01T00:00:00Z", 100), reading("2026-01-01T00:00:02Z", 1_500));
    let shop = ServiceDocument { forward: Forward::L7, ..web() };
    let view = View::new(7, vec![shop.clone()], &Readings::new(Some(&before), &now));
    assert_eq!(
        view.render(false),
        "\
PROTO  VIP                  NAME  MODE  RPS  REQUESTS  ACTIVE  CONNS  FAILED  STATE
tcp    198.51.100.10:80     web   l7    700      1.5k       3      4       2  2/3 up
  ->   10.0.0.11:8080 w100              700      1.5k       1      4       2  up; left out for its failures by 1 worker
  ->   10.0.0.12:8080 w0                 --         0       0      0       0  draining
  ->   10.0.0.13:8080 w100               --         0       0      0       0  down: no neighbour entry
"
    );
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["services"][0]["backends"][0]["l7_traffic"]["requests_active"], 1);
    // What XDP forwards stands in a table of its own.
    let both = View::new(7, vec![shop, web()], &Readings::new(Some(&before), &now)).render(false);
    assert!(
        both.starts_with("PROTO  VIP                  NAME  MODE  CPS") && both.contains("\n\nPROTO"),
        "{both}"
    );
    let details = crate::cli::service::details(&ServiceDocument { forward: Forward::L7, ..web() });
    assert!(details.contains("10.0.0.11:8080 over this host's own routes") && !details.contains("unknown,"));
}
